"""Loss surfaces around the trained parameters [B]."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from mlp.network.network import Network
from mlp.network.siamese import SiameseNetwork
from mlp.plot.canvas import axes_for, network_of, pyplot
from mlp.threads import resolve_threads

__all__ = ["LossSurfaceDisplay"]

Array = NDArray[Any]


def _loss_at(
    model: Any, X: Any, y: Any, sample_weight: Any
) -> Callable[[Array], float]:
    """Return a function from parameters to the mean loss, on a copy of the network.

    Of a Siamese network, the parameters of the branch vary and the head is constant.
    """
    whole = (model if isinstance(model, Network) else model.network).copy()
    network = whole.branch if isinstance(whole, SiameseNetwork) else whole
    threads = resolve_threads(getattr(model, "n_threads", None))
    if isinstance(model, Network):
        data = network.folded().data(X, y, sample_weight)
    else:
        targets = model._validation_targets(X, y, sample_weight)
        targets.cast(network.prediction_dtype)
        data = targets.data()

    def loss(params: Array) -> float:
        network.params[:] = params
        network.tie()
        network.refold()
        return float(whole.prediction_loss(data, threads))

    return loss


def _random_direction(network: Network, rng: np.random.RandomState) -> Array:
    """Draw a normal direction, scaled per unit to the length of the unit's weights.

    A step then has the same meaning for layers of different scale (Li, Xu, Taylor, Studer,
    Goldstein, Visualizing the loss landscape of neural nets, 2018).  Offsets and scales do
    not change.
    """
    direction = np.zeros(network.params.size)
    for part, W in zip(network.unpack(direction)[0], network.coefs, strict=True):
        if hasattr(W, "indptr"):
            part.data[:] = rng.normal(size=W.nnz)
            squares = [np.bincount(W.indices, m.data**2, W.shape[1]) for m in (W, part)]
            part.data *= np.sqrt(squares[0] / np.maximum(squares[1], 1e-300))[W.indices]
        else:
            part[:] = rng.normal(size=W.shape)
            part *= np.linalg.norm(W, axis=0) / np.linalg.norm(part, axis=0)
    return direction


def _parameter_direction(network: Network, place: Sequence[int]) -> tuple[Array, str]:
    """Return the unit vector of one parameter, and its name."""
    direction = np.zeros(network.params.size)
    weights, offsets, _ = network.unpack(direction)
    layer, *index = place
    arrays, letter = (weights, "W") if len(place) == 3 else (offsets, "b")
    try:
        if len(place) not in (2, 3) or min(place) < 0:
            raise IndexError
        array: Any = arrays[layer]
        if hasattr(array, "indptr"):  # sparse: only connections that exist
            row = np.arange(array.indptr[index[0]], array.indptr[index[0] + 1])
            at = row[array.indices[row] == index[1]]
            if not len(at):
                raise IndexError
            array.data[at] = 1
        else:
            array[tuple(index)] = 1
    except IndexError:
        raise ValueError(
            f"parameters: {tuple(place)} names no parameter of layers of "
            f"{network.layer_sizes} units; (layer, i, j) is a weight, (layer, j) an "
            "offset, counted from 0"
        ) from None
    return direction, f"${letter}_{{{layer}}}[{', '.join(map(str, index))}]$"


class LossSurfaceDisplay:
    """Plot of the loss over two parameters, or along two directions in parameter space.

    Parameters
    ----------
    x, y : array-like of shape (n_x,), (n_y,)
        Coordinates of the grid.
    loss : array-like of shape (n_y, n_x)
    center : pair of float, default=(0, 0)
        Coordinates of the trained network.
    labels : pair of str
        Labels of the two axes.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    surface_ : matplotlib QuadContourSet or Poly3DCollection
    lines_ : matplotlib QuadContourSet or None
        Thin lines between the filled contours.
    center_ : matplotlib Line2D
        The star at the trained network, in three dimensions a Line3D.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlp import MLPClassifier
    >>> from mlp.plot import LossSurfaceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> display = LossSurfaceDisplay.from_estimator(model, X, y)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        x: ArrayLike,
        y: ArrayLike,
        loss: ArrayLike,
        center: tuple[float, float] = (0.0, 0.0),
        labels: tuple[str, str] = ("direction 1", "direction 2"),
    ) -> None:
        self.x, self.y, self.loss = x, y, loss
        self.center, self.labels = center, labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        parameters: Sequence[Sequence[int]] | None = None,
        directions: Sequence[ArrayLike] | None = None,
        span: float = 1.0,
        grid_resolution: int = 41,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Evaluate the loss of the predictions on a grid, and draw it.

        The loss does not include penalties.  The network itself is not changed.

        Parameters
        ----------
        estimator : fitted estimator or Network
            The model. The loss of a `SiameseClassifier` is that of pairs; its parameters
            and directions are those of the branch, and the head is constant.
        X, y : array-like
            Samples and targets, as in `fit`, or as in ``Network.loss`` for a `Network`.
        sample_weight : array-like of shape (n_samples,), optional
        parameters : pair of tuple of int, optional
            Two parameters: ``(layer, i, j)`` is the weight W_layer[i, j], and ``(layer,
            j)`` the offset b_layer[j], counted from 0.
        directions : pair of array-like of shape (n_params,), optional
            Two directions in ``network_.params``.  If neither parameters nor directions are
            given, two random directions are drawn and scaled per unit to the length of the
            unit's weights (Li et al. 2018).
        span : float, default=1.0
            Distance from the center to each side of the grid, in units of the parameters or
            in lengths of the directions.
        grid_resolution : int, default=41
            Number of points along each side of the grid.
        random_state : int, RandomState instance or None, default=0
            Random state that draws the directions.
        ax, **kwargs
            See `plot`.

        Raises
        ------
        NotFittedError
        TypeError
            If the estimator has no network.
        ValueError
            If both directions and parameters are given, or if they are invalid.
        """
        pyplot(cls.__name__)
        network = network_of(estimator, cls.__name__)
        labels = ("direction 1", "direction 2")
        at_zero = [0.0, 0.0]
        if parameters is not None and directions is not None:
            raise ValueError("give parameters or directions, not both")
        for name, pair in (("parameters", parameters), ("directions", directions)):
            if pair is not None and len(pair) != 2:
                raise ValueError(f"{name} must be a pair, got {len(pair)} entries")
        if parameters is not None:
            named = [_parameter_direction(network, place) for place in parameters]
            along = [direction for direction, _ in named]
            labels = (named[0][1], named[1][1])
            at_zero = [float(network.params @ d) for d in along]
        elif directions is not None:
            along = [np.asarray(d, dtype=np.float64) for d in directions]
            if any(d.shape != network.params.shape for d in along):
                raise ValueError(
                    f"directions must have shape {network.params.shape}, got "
                    f"{[d.shape for d in along]}"
                )
        else:
            rng = check_random_state(random_state)
            along = [_random_direction(network, rng) for _ in range(2)]
        loss = _loss_at(estimator, X, y, sample_weight)
        start = network.params.astype(np.float64)
        steps = np.linspace(-span, span, grid_resolution)
        surface = [
            [loss(start + a * along[0] + b * along[1]) for a in steps] for b in steps
        ]
        display = cls(
            x=at_zero[0] + steps,
            y=at_zero[1] + steps,
            loss=np.array(surface),
            center=(at_zero[0], at_zero[1]),
            labels=labels,
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "contour",
        log: bool = False,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on, with ``projection="3d"`` if `kind` is 'surface'; a new figure
            if None.
        kind : {"contour", "surface"}, default="contour"
        log : bool, default=False
            Whether to draw log10 of the loss.
        colorbar : bool, default=True
            Whether to show the colour bar of the contours.
        **kwargs
            Arguments of ``ax.contourf`` or ``ax.plot_surface``.

        Returns
        -------
        self
        """
        if kind not in ("contour", "surface"):
            raise ValueError(f"kind must be 'contour' or 'surface', got {kind!r}")
        solid = kind == "surface"
        if ax is not None and solid != (ax.name == "3d"):
            raise ValueError(
                f"kind={kind!r} needs axes {'with' if solid else 'without'} "
                "projection='3d'"
            )
        ax = axes_for(self, ax, subplot_kw={"projection": "3d"} if solid else {})
        self.ax_, self.figure_ = ax, ax.figure
        height, what = np.array(self.loss, dtype=float), "loss"
        height[~np.isfinite(height)] = np.nan
        if log:
            height, what = np.log10(height), "log10 of the loss"
        self.lines_ = None
        if solid:
            self._draw_solid(ax, height, what, kwargs)
        else:
            self._draw_contours(ax, height, what, colorbar, kwargs)
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1], title="Loss surface")
        return self

    def _draw_contours(
        self, ax: Any, height: Array, what: str, colorbar: bool, kwargs: dict[str, Any]
    ) -> None:
        options = {"levels": 24, "cmap": "viridis", **kwargs}
        self.surface_ = ax.contourf(self.x, self.y, height, **options)
        self.lines_ = ax.contour(
            self.x, self.y, height, self.surface_.levels, colors="k", linewidths=0.3
        )
        (self.center_,) = ax.plot(
            *self.center, "*", color="w", mec="k", ms=14, label="trained"
        )
        ax.legend(loc="upper right")
        if colorbar:
            self.figure_.colorbar(self.surface_, ax=ax, label=what)

    def _draw_solid(
        self, ax: Any, height: Array, what: str, kwargs: dict[str, Any]
    ) -> None:
        x, y = np.meshgrid(self.x, self.y)
        n = max(x.shape)
        options = {"cmap": "viridis", "rcount": n, "ccount": n, "zorder": 1, **kwargs}
        self.surface_ = ax.plot_surface(x, y, height, **options)
        column = np.abs(np.asarray(self.x) - self.center[0]).argmin()
        row = np.abs(np.asarray(self.y) - self.center[1]).argmin()
        # the surface would hide the star, so it is placed above it and drawn last
        ax.computed_zorder = False
        (self.center_,) = ax.plot(
            *[[c] for c in (*self.center, height[row, column])],
            "*",
            color="w",
            mec="k",
            ms=14,
            zorder=2,
            label="trained",
        )
        ax.set_zlabel(what)
        ax.locator_params(nbins=5)
        ax.view_init(elev=38, azim=-55)
        ax.legend(loc="upper right")
