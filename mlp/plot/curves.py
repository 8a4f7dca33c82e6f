"""Curves of the training: losses and gradient norms by epoch."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from mlp.plot.canvas import axes_for, compares_pairs, network_of, pyplot
from mlp.training.full_batch import FULL_BATCH_SOLVERS

__all__ = ["GradientFlowDisplay", "LossCurveDisplay"]

#: with more layers than this, a colour bar replaces the legend
LEGEND_LINES = 8


def _layer_names(estimator: Any, n_layers: int) -> list[str]:
    """Return the names of a network's layers, or of a branch's and its head's."""
    if compares_pairs(estimator):
        parts = zip(("branch", "head"), estimator.network_.networks, strict=False)
        return [f"{who} {k + 1}" for who, net in parts for k in range(len(net.coefs))]
    return [*(f"hidden {k}" for k in range(1, n_layers)), "output"]


def _unit(estimator: Any) -> str:
    """Return the unit of the solver's curves: iteration or epoch."""
    full = getattr(estimator, "solver", None) in FULL_BATCH_SOLVERS
    return "iteration" if full else "epoch"


class LossCurveDisplay:
    """Plot of the loss by epoch, in training and on validation samples.

    As in ``loss_curve_`` and ``validation_loss_curve_``, the training loss includes
    penalties, and the validation loss does not.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,)
    validation_loss : array-like of shape (n_epochs,), optional
    best_epoch : int, optional
        The best epoch, counted from 1, which is marked by a line.
    best_score : float, optional
        The validation score of the best epoch, for the legend.
    unit : str, default="epoch"
        Unit of the x axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    line_ : matplotlib Line2D
        The curve of the training loss.
    validation_line_ : matplotlib Line2D or None
    best_line_ : matplotlib Line2D or None
        The vertical line at the best epoch.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mlp import MLPClassifier
    >>> from mlp.plot import LossCurveDisplay
    >>> model = MLPClassifier(early_stopping=True, random_state=0)
    >>> model = model.fit(*load_digits(return_X_y=True))
    >>> display = LossCurveDisplay.from_estimator(model)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        loss: ArrayLike,
        validation_loss: ArrayLike | None = None,
        best_epoch: int | None = None,
        best_score: float | None = None,
        unit: str = "epoch",
    ) -> None:
        self.loss, self.validation_loss = loss, validation_loss
        self.best_epoch, self.best_score = best_epoch, best_score
        self.unit = unit

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, log: bool = False, **kwargs: Any
    ) -> Self:
        """Draw the loss curves of a fitted estimator.

        The best epoch is that of the best validation score; without validation samples,
        that of the smallest loss.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with a ``loss_curve_``; scikit-learn's have one too.
        ax, log, **kwargs
            See `plot`.

        Raises
        ------
        NotFittedError
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator, "loss_curve_")
        loss = np.asarray(estimator.loss_curve_, dtype=float)
        scores = getattr(estimator, "validation_scores_", None)
        validation = getattr(estimator, "validation_loss_curve_", None)
        best_score = None
        if scores:
            best, best_score = int(np.nanargmax(scores)), float(np.nanmax(scores))
        else:
            best = int(np.nanargmin(loss))
        display = cls(
            loss=loss,
            validation_loss=np.asarray(validation, dtype=float) if validation else None,
            best_epoch=best + 1,
            best_score=best_score,
            unit=_unit(estimator),
        )
        return display.plot(ax, log=log, **kwargs)

    def plot(self, ax: Any = None, *, log: bool = False, **kwargs: Any) -> Self:
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; a new figure if None.
        log : bool, default=False
            Whether the losses have a logarithmic scale.
        **kwargs
            Arguments of ``ax.plot`` for both curves.

        Returns
        -------
        self
        """
        ax = self.ax_ = axes_for(self, ax)
        self.figure_ = ax.figure
        loss = np.asarray(self.loss)
        (self.line_,) = ax.plot(
            np.arange(1, len(loss) + 1), loss, **{"label": "training", **kwargs}
        )
        self.validation_line_ = self.best_line_ = None
        if self.validation_loss is not None:
            values = np.asarray(self.validation_loss)
            (self.validation_line_,) = ax.plot(
                np.arange(1, len(values) + 1),
                values,
                **{**kwargs, "label": "validation"},
            )
        if self.best_epoch is not None:
            label = f"best: {self.unit} {self.best_epoch}"
            if self.best_score is not None:
                label += f", score {self.best_score:.4g}"
            self.best_line_ = ax.axvline(
                self.best_epoch, color="0.5", linestyle="--", linewidth=1, label=label
            )
        ax.set(xlabel=self.unit, ylabel="loss", title="Loss by " + self.unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if log:
            ax.set_yscale("log")
        ax.legend()
        return self


class GradientFlowDisplay:
    """Plot of the gradient norm of each layer by epoch [S 65.8].

    Parameters
    ----------
    norms : array-like of shape (n_epochs, n_layers)
        Norm of each layer's gradient in an epoch's last batch.
    layer_names : sequence of str, optional
        Names of the layers; "layer 1", "layer 2", … from the inputs on if None.
    unit : str, default="epoch"
        Unit of the x axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    lines_ : list of matplotlib Line2D
        The curves, one per layer, from dark (at the inputs) to light.
    colorbar_ : matplotlib Colorbar or None
        The colour bar, which replaces the legend if there are many layers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mlp import MLPClassifier
    >>> from mlp.plot import GradientFlowDisplay
    >>> from mlp.progress import GradientNorms
    >>> model = MLPClassifier((30, 30, 30), tol=0.01, random_state=0)
    >>> model = model.set_callbacks(GradientNorms())
    >>> model = model.fit(*load_digits(return_X_y=True))
    >>> display = GradientFlowDisplay.from_estimator(model)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        norms: ArrayLike,
        layer_names: Sequence[str] | None = None,
        unit: str = "epoch",
    ) -> None:
        self.norms, self.layer_names, self.unit = norms, layer_names, unit

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the gradient norms that `fit` has recorded.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``gradient_norms_``, which `fit` records with ``verbose=2`` or
            ``set_callbacks(mlp.progress.GradientNorms())``.
        ax, **kwargs
            See `plot`.

        Raises
        ------
        NotFittedError
        TypeError
            If the estimator has no network.
        ValueError
            If the norms were not recorded.
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator)
        norms = getattr(estimator, "gradient_norms_", None)
        if not norms:
            network_of(estimator, cls.__name__)
            raise ValueError(
                f"{cls.__name__} needs gradient_norms_: call "
                "set_callbacks(mlp.progress.GradientNorms()) before fit"
            )
        names = _layer_names(estimator, len(norms[0]))
        display = cls(
            norms=np.asarray(norms),
            layer_names=names,
            unit=_unit(estimator),
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; a new figure if None.
        **kwargs
            Arguments of ``ax.plot`` for the curves.

        Returns
        -------
        self
        """
        norms = np.asarray(self.norms)
        ax = self.ax_ = axes_for(self, ax)
        self.figure_ = ax.figure
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import BoundaryNorm, ListedColormap
        from matplotlib.ticker import MaxNLocator

        n_epochs, n_layers = norms.shape
        names = self.layer_names or [f"layer {k}" for k in range(1, n_layers + 1)]
        shades = colormaps["viridis"](np.linspace(0, 0.9, n_layers))
        # dead units have a gradient of 0, which a logarithmic axis cannot show
        shown = np.ma.masked_less_equal(norms, 0)
        self.lines_ = [
            ax.plot(
                np.arange(1, n_epochs + 1),
                shown[:, k],
                **{"color": shades[k], "label": names[k], **kwargs},
            )[0]
            for k in range(n_layers)
        ]
        ax.set(
            xlabel=self.unit,
            ylabel="norm of the gradient",
            title="Gradient by layer",
            yscale="log",
        )
        ax.xaxis.get_major_locator().set_params(integer=True)
        self.colorbar_ = None
        if n_layers <= LEGEND_LINES:
            ax.legend()
        else:
            layers = ScalarMappable(
                BoundaryNorm(np.arange(0.5, n_layers + 1), n_layers),
                ListedColormap(shades),
            )
            self.colorbar_ = self.figure_.colorbar(
                layers, ax=ax, label="layer (1: from the inputs)"
            )
            self.colorbar_.locator = MaxNLocator(integer=True)
            self.colorbar_.minorticks_off()
        return self
