"""The weights of the first layer as images."""

from collections.abc import Sequence
from math import ceil, isqrt, prod, sqrt
from numbers import Integral
from operator import index
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp.plot.canvas import DIVERGING, axes_for, dense, layers_of, pyplot, symmetric

__all__ = ["WeightImageDisplay"]

Array = NDArray[Any]


def _image_shape(shape: Sequence[int] | None, n_features: int) -> tuple[int, ...]:
    """The shape given, checked; else that of a square image."""
    if shape is None:
        side = isqrt(n_features)
        if side * side != n_features:
            raise ValueError(
                f"{n_features} features make no square image; give shape=(height, width)"
            )
        return side, side
    shape = tuple(int(n) for n in shape)
    fits = shape[2:] in ((), (3,)) and len(shape) > 1 and prod(shape) == n_features
    if fits and min(shape) > 0:
        return shape
    raise ValueError(
        f"shape={shape} must be (height, width) or (height, width, 3) of {n_features} "
        "features in all"
    )


def _chosen(weights: Array, units: Any) -> Array:
    """The columns of `units`: how many of the first, or which ones."""
    n = weights.shape[1]
    try:
        if np.ndim(units) == 0 and index(units) > 0:
            return weights[:, :units]
        if np.size(units) > 0 and np.ndim(units) == 1:
            return weights[:, units]
    except (IndexError, TypeError):
        pass
    raise ValueError(
        f"units={units!r} must be a positive int or numbers of the layer's {n} units, "
        "counted from 0"
    )


class WeightImageDisplay:
    """What each unit of the first layer looks for: its weights as an image.

    The images share one scale of colours, red for positive weights, blue for negative.
    Images in colour show each channel's weights around a medium grey.

    Parameters
    ----------
    weights : array-like of shape (n_features, n_units)
    shape : (height, width) or (height, width, 3), optional
        How a sample's features lie in its image, row by row; square if None.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    image_ : matplotlib AxesImage
        All images, in rows, with a gap of one pixel between them.
    colorbar_ : matplotlib Colorbar or None

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mlp import MLPClassifier
    >>> from mlp.plot import WeightImageDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((40,), max_iter=500, random_state=0).fit(X / 16, y)
    >>> display = WeightImageDisplay.from_estimator(model)  # doctest: +SKIP
    """

    def __init__(
        self, *, weights: ArrayLike, shape: Sequence[int] | None = None
    ) -> None:
        if np.ndim(weights) != 2 or not np.size(weights):
            raise ValueError(
                "weights must be of shape (n_features, n_units), of one unit at least, "
                f"got {np.shape(weights)}"
            )
        self.weights = weights
        self.shape = _image_shape(shape, np.shape(weights)[0])

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        shape: Sequence[int] | None = None,
        units: int | Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the first weights of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator or Network
            Of a `SiameseClassifier`, the twin.
        shape : (height, width) or (height, width, 3), optional
            Of the images; square if None.
        units : int or sequence of int, optional
            How many of the first units, or which ones; all if None.
        ax, **kwargs
            See `plot`.

        Raises
        ------
        NotFittedError
        TypeError
            If the estimator has no network.
        ValueError
            If `shape` does not fit the features, or `units` the layer.
        """
        pyplot(cls.__name__)
        coefs, _ = layers_of(estimator, cls.__name__)
        weights = dense(coefs[0])
        if units is not None:
            weights = _chosen(weights, units)
        return cls(weights=weights, shape=shape).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int | None = None,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure's if None.
        n_columns : int, optional
            Images in a row; about as many as make a square of all if None.
        colorbar : bool, default=True
            Whether to show the scale of colours; images in colour have none.
        **kwargs
            Of ``ax.imshow``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `n_columns` is not positive.
        """
        if n_columns is not None and not (
            isinstance(n_columns, Integral) and n_columns > 0
        ):
            raise ValueError(
                f"n_columns must be None or a positive int, got {n_columns!r}"
            )
        ax = self.ax_ = axes_for(self, ax)
        self.figure_ = ax.figure
        weights = np.asarray(self.weights, dtype=float)
        largest = symmetric(weights)
        height, width, *_ = self.shape
        n_units = weights.shape[1]
        if n_columns is None:
            n_columns = max(1, ceil(sqrt(n_units * height / width)))
        mosaic = self._mosaic(weights, min(n_columns, n_units))
        if mosaic.ndim == 3:
            # what was NaN is between the images: white
            shown = np.nan_to_num(0.5 + mosaic / (2 * largest), nan=1.0)
            self.image_ = ax.imshow(shown, **kwargs)
        else:
            scale = {"cmap": DIVERGING, "vmin": -largest, "vmax": largest}
            self.image_ = ax.imshow(mosaic, **{**scale, **kwargs})
        self.colorbar_ = None
        if colorbar and mosaic.ndim == 2:
            self.colorbar_ = self.figure_.colorbar(
                self.image_, ax=ax, label="weight", shrink=0.8
            )
        ax.set(xticks=[], yticks=[], title=f"Weights of {n_units} first-layer units")
        ax.spines[:].set_visible(False)
        return self

    def _mosaic(self, weights: Array, n_columns: int) -> Array:
        """All images in rows, NaN between them."""
        height, width, *channels = self.shape
        n_rows = ceil(weights.shape[1] / n_columns)
        size = (n_rows * (height + 1) - 1, n_columns * (width + 1) - 1, *channels)
        mosaic = np.full(size, np.nan)
        for k, image in enumerate(weights.T):
            top = k // n_columns * (height + 1)
            left = k % n_columns * (width + 1)
            mosaic[top : top + height, left : left + width] = image.reshape(self.shape)
        return mosaic
