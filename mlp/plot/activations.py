"""Activations and their derivatives as curves [S table 65.1]."""

from collections.abc import Sequence
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp.network.activations import ACTIVATIONS, Activation, resolve_activation
from mlp.network.network import Network
from mlp.plot.canvas import network_of, pyplot

__all__ = ["ActivationDisplay"]

Array = NDArray[Any]

#: not functions of one number
EXCLUDED = ("rbf", "softmax")


def _curves(f: Activation, z: Array) -> tuple[Array, Array]:
    """Return f(z) and f′(z), computed by a network with the offsets z."""
    network = Network([1, len(z)], output_activation=f)
    network.coefs[0][:] = 1
    network.intercepts[0][:] = z
    nothing = np.zeros((1, 1))
    y = network.forward(nothing)[0]
    if not f.entry.trainable:
        return y, np.zeros_like(z)
    return y, network.jacobian(nothing, mode="forward")[0, :, 0]


def _label(f: Activation) -> str:
    """Return the name, with the parameters that differ from the defaults."""
    if f == resolve_activation(f.name):
        return f.name
    return f"{f.name}({', '.join(f'{value:.4g}' for value in f.parameters)})"


class ActivationDisplay:
    """Plot of activations f and their derivatives f′, one panel each [S table 65.1].

    Parameters
    ----------
    z : array-like of shape (n_points,)
    values, derivatives : array-like of shape (n_activations, n_points)
    names : sequence of str

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The axes, one per activation.
    figure_ : matplotlib Figure
    lines_ : list of pair of matplotlib Line2D
        The lines of f and f′ of each activation.

    Examples
    --------
    >>> from mlp.plot import ActivationDisplay
    >>> display = ActivationDisplay.from_names(
    ...     ["relu", ("leaky_relu", 0.1), "gelu"]
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        z: ArrayLike,
        values: ArrayLike,
        derivatives: ArrayLike,
        names: Sequence[str],
    ) -> None:
        self.z, self.values, self.derivatives = z, values, derivatives
        self.names = names

    @classmethod
    def from_names(
        cls,
        names: Sequence[Any] | None = None,
        *,
        z: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw activations of the table.

        Parameters
        ----------
        names : sequence of str or tuple, optional
            Activations as in the parameter ``activation``: names, or tuples of name and
            parameters.  None draws all activations that are functions of one number.
        z : array-like of shape (n_points,), optional
            Points at which the activations are drawn; 401 points from −4 to 4 if None.
        ax, **kwargs
            See `plot`.

        Raises
        ------
        ValueError
            If a name is not in the table, or is not a function of one number.
        """
        pyplot(cls.__name__)
        if names is None:
            names = [name for name in ACTIVATIONS if name not in EXCLUDED]
        chosen = [resolve_activation(name, "names") for name in names]
        for f in chosen:
            if f.name in EXCLUDED:
                raise ValueError(f"names: {f.name!r} is not a function of one number")
        if not chosen:
            raise ValueError("names must name at least one activation")
        points = np.linspace(-4, 4, 401) if z is None else np.asarray(z, dtype=float)
        curves = [_curves(f, points) for f in chosen]
        display = cls(
            z=points,
            values=np.array([f for f, _ in curves]),
            derivatives=np.array([slope for _, slope in curves]),
            names=[_label(f) for f in chosen],
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        z: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw each activation of a fitted estimator's layers once.

        Parameters
        ----------
        estimator : fitted estimator or Network
            The model. Of a `SiameseClassifier`, the layers of the branch are used.
        z, ax, **kwargs
            See `from_names`.

        Raises
        ------
        NotFittedError
        TypeError
            If the estimator has no network.
        ValueError
            If none of the activations is a function of one number.
        """
        pyplot(cls.__name__)
        network = network_of(estimator, cls.__name__)
        kinds = [
            f
            for layer in network.spec.layers
            for f in (layer if isinstance(layer, tuple) else (layer,))
        ]
        names = [f for f in dict.fromkeys(kinds) if f.name not in EXCLUDED]
        if not names:
            found = " and ".join(dict.fromkeys(f.name for f in kinds))
            raise ValueError(
                f"{cls.__name__} draws functions of one number; the network has "
                f"only {found}"
            )
        return cls.from_names(names, z=z, ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes from ``plt.subplots``, which are divided into one panel per activation; a
            new figure if None.
        **kwargs
            Arguments of ``ax.plot`` for the curves.

        Returns
        -------
        self
        """
        plt = pyplot(type(self).__name__)
        n = len(self.names)
        n_columns = min(n, 6 if n > 10 else 4)
        n_rows = ceil(n / n_columns)
        if ax is None:
            self.figure_ = plt.figure(
                figsize=(2.1 * n_columns + 0.4, 1.9 * n_rows + 0.6),
                layout="constrained",
            )
            grid = self.figure_.add_gridspec(n_rows, n_columns)
        else:
            place = ax.get_subplotspec()
            if place is None:
                raise ValueError("ax must be one of plt.subplots, to be divided")
            ax.axis("off")
            self.figure_ = ax.figure
            grid = place.subgridspec(n_rows, n_columns)
        panels: list[Any] = []
        for k in range(n):
            shared = {"sharex": panels[0], "sharey": panels[0]} if panels else {}
            panels.append(
                self.figure_.add_subplot(grid[k // n_columns, k % n_columns], **shared)
            )
        self.axes_ = np.array(panels)
        self.lines_ = [self._panel(panel, k, kwargs) for k, panel in enumerate(panels)]
        for k, panel in enumerate(panels):
            panel.tick_params(
                labelleft=k % n_columns == 0, labelbottom=k + n_columns >= n
            )
        panels[0].locator_params(integer=True)
        panels[0].legend(fontsize="small")
        return self

    def _panel(self, panel: Any, k: int, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        values, slopes = np.asarray(self.values)[k], np.asarray(self.derivatives)[k]
        for line in (panel.axhline, panel.axvline):
            line(0, color="0.85", linewidth=0.8, zorder=0)
        (f,) = panel.plot(self.z, values, **{"color": "C0", "label": "f", **kwargs})
        (slope,) = panel.plot(
            self.z, slopes, **{"color": "C1", **kwargs, "ls": "--", "label": "f′"}
        )
        panel.set(title=self.names[k], ylim=(-2.2, 3.2))
        return f, slope
