"""Graph of a small network."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mlp.plot.canvas import (
    DIVERGING,
    axes_for,
    compares_pairs,
    dense,
    layers_of,
    pyplot,
    symmetric,
)

__all__ = ["NetworkDisplay"]


def _names(given: Any, default: Sequence[str], what: str) -> list[str]:
    names = list(default) if given is None else [str(name) for name in given]
    if len(names) != len(default):
        raise ValueError(f"{what} has {len(names)} names for {len(default)} units")
    return names


def _output_names(estimator: Any, n: int) -> list[str]:
    """Return the classes of a classifier if they are the outputs, else y."""
    classes: Sequence[Any] = getattr(estimator, "classes_", ())
    if compares_pairs(estimator) or (len(classes) and np.ndim(classes[0])):
        classes = ()  # classes of pairs, or of several tasks
    if len(classes) == n:
        return [str(c) for c in classes]
    if n == 1 and len(classes) == 2:
        return [str(classes[1])]
    return ["y"] if n == 1 else [f"y{k}" for k in range(n)]


class NetworkDisplay:
    """Graph of a small network: units as circles, weights as lines.

    Positive weights are red and negative ones blue; larger weights have wider and darker
    lines. A circle is filled with the colour of its unit's offset.

    Parameters
    ----------
    coefs : list of array-like or sparse array of shape (n_in, n_out)
    intercepts : list of array-like of shape (n_out,)
    feature_names, output_names : sequence of str, optional
        Names of inputs and outputs; "x0", "x1", … and "y0", "y1", … if None.
    layer_names : sequence of str, optional
        Names of the layers of units, inputs first.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    edges_ : list of matplotlib LineCollection
        The lines, one collection per layer of weights, in the order of W's entries, row by
        row.
    nodes_ : list of matplotlib PathCollection
        The circles, one collection per layer, inputs first, from top to bottom.
    texts_ : list of matplotlib Text
        The names of inputs and outputs.
    colorbar_ : matplotlib Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlp import MLPClassifier
    >>> from mlp.plot import NetworkDisplay
    >>> iris = load_iris()
    >>> model = MLPClassifier((5,), solver="lbfgs", max_iter=1000, random_state=0)
    >>> model = model.fit(iris.data, iris.target_names[iris.target])
    >>> display = NetworkDisplay.from_estimator(
    ...     model, feature_names=iris.feature_names
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        coefs: Sequence[ArrayLike],
        intercepts: Sequence[ArrayLike],
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        layer_names: Sequence[str] | None = None,
    ) -> None:
        self.coefs = [dense(W) for W in coefs]
        self.intercepts = [np.asarray(b, dtype=float) for b in intercepts]
        sizes = [len(self.coefs[0]), *(W.shape[1] for W in self.coefs)]
        self.layer_sizes = sizes
        self.feature_names = _names(
            feature_names, [f"x{k}" for k in range(sizes[0])], "feature_names"
        )
        self.output_names = _names(
            output_names, _output_names(None, sizes[-1]), "output_names"
        )
        hidden = [f"hidden {k}" for k in range(1, len(sizes) - 1)]
        self.layer_names = _names(
            layer_names, ["inputs", *hidden, "outputs"], "layer_names"
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        max_units: int = 32,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a fitted estimator's network.

        Parameters
        ----------
        estimator : fitted estimator or Network
            The model. Of a `SiameseClassifier`, the branch is drawn.
        feature_names, output_names : sequence of str, optional
            Names of inputs and outputs; if None, ``feature_names_in_`` and the classes, if
            the estimator has them.
        max_units : int, default=32
            Largest number of units per layer; larger networks raise an error.
        ax, **kwargs
            See `plot`.

        Raises
        ------
        NotFittedError
        TypeError
            If the estimator has no network.
        ValueError
            If a layer has more than `max_units` units, or names don't fit the layers.
        """
        pyplot(cls.__name__)
        coefs, intercepts = layers_of(estimator, cls.__name__)
        sizes = [coefs[0].shape[0], *(W.shape[1] for W in coefs)]
        if max(sizes) > max_units:
            raise ValueError(
                f"layers of {sizes} units are too large to draw; max_units={max_units}"
            )
        if feature_names is None:
            feature_names = getattr(estimator, "feature_names_in_", None)
        if output_names is None:
            output_names = _output_names(estimator, sizes[-1])
        display = cls(
            coefs=coefs,
            intercepts=intercepts,
            feature_names=feature_names,
            output_names=output_names,
        )
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        max_width: float = 4.0,
        node_size: float = 320.0,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; a new figure, large enough for the units, if None.
        max_width : float, default=4.0
            Line width of the largest weight, in points.
        node_size : float, default=320.0
            Area of the circles, in square points.
        colorbar : bool, default=True
            Whether to show the colour bar of weights and offsets.
        **kwargs
            Arguments of ``LineCollection`` for the lines.

        Returns
        -------
        self
        """
        sizes = self.layer_sizes
        if ax is None:
            size = (2.2 * len(sizes) + 1.5, max(2.5, 0.55 * max(sizes) + 0.9))
            ax = axes_for(self, None, figsize=size)
        self.ax_, self.figure_ = ax, ax.figure
        places = [
            np.column_stack([np.full(n, float(k)), (n - 1) / 2 - np.arange(n)])
            for k, n in enumerate(sizes)
        ]
        spread = max(sizes) - 1
        for points in places:  # a narrow layer is spread out a little
            n = len(points)
            if n > 1:
                points[:, 1] *= (spread / (n - 1)) ** 0.5
        self._draw(ax, places, max_width, node_size, kwargs)
        self._write(ax, places, spread, node_size)
        self.colorbar_ = None
        if colorbar:
            largest = symmetric(*self.coefs)
            beyond = any(np.abs(b).max() > largest for b in self.intercepts)
            self.colorbar_ = self.figure_.colorbar(
                self.edges_[0],
                ax=ax,
                label="weight, offset",
                shrink=0.8,
                pad=0.02,
                extend="both" if beyond else "neither",
            )
        return self

    def _draw(
        self,
        ax: Any,
        places: list[Any],
        max_width: float,
        node_size: float,
        kwargs: dict[str, Any],
    ) -> None:
        from matplotlib.collections import LineCollection

        largest = symmetric(*self.coefs)  # larger offsets have the same colour
        colours = {"cmap": DIVERGING, "clim": (-largest, largest)}
        self.edges_, self.nodes_ = [], []
        for k, W in enumerate(self.coefs):
            ends = [(a, b) for a in places[k] for b in places[k + 1]]
            lines = LineCollection(
                ends,
                array=W.ravel(),
                linewidths=max_width * np.abs(W.ravel()) / largest,
                zorder=1,
                **{**colours, **kwargs},
            )
            self.edges_.append(ax.add_collection(lines))
        for k, points in enumerate(places):
            filled: dict[str, Any] = {"color": "0.85"}
            if k:
                filled = {
                    "c": self.intercepts[k - 1],
                    "cmap": DIVERGING,
                    "vmin": -largest,
                    "vmax": largest,
                }
            self.nodes_.append(
                ax.scatter(*points.T, s=node_size, edgecolors="k", zorder=2, **filled)
            )

    def _write(
        self, ax: Any, places: list[Any], spread: float, node_size: float
    ) -> None:
        away = node_size**0.5 / 2 + 6  # points
        self.texts_ = []
        for names, points, side in (
            (self.feature_names, places[0], -1),
            (self.output_names, places[-1], 1),
        ):
            for name, point in zip(names, points, strict=True):
                text = ax.annotate(
                    name,
                    point,
                    xytext=(side * away, 0),
                    textcoords="offset points",
                    ha="right" if side < 0 else "left",
                    va="center",
                )
                self.texts_.append(text)
        for k, name in enumerate(self.layer_names):
            ax.annotate(
                name,
                (k, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                color="0.35",
            )
        ax.set_xlim(-0.35, len(places) - 0.65)
        ax.set_ylim(-spread / 2 - 0.6, spread / 2 + 0.6)
        ax.set_title("Network", pad=20)
        ax.axis("off")
