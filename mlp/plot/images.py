"""Images of the weights of the first layer."""

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
    """Check and return the given shape, or return that of a square image."""
    if shape is None:
        side = isqrt(n_features)
        if side * side != n_features:
            raise ValueError(
                f"{n_features} features are not a square image; give shape=(height, width)"
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
    """Return the columns of `units`, the number of leading units or their indices."""
    n = weights.shape[1]
    try:
        if np.ndim(units) == 0 and index(units) > 0:
            return weights[:, :units]
        if np.size(units) > 0 and np.ndim(units) == 1:
            return weights[:, units]
    except (IndexError, TypeError):
        pass
    raise ValueError(
        f"units must be a positive int or indices from 0 to {n - 1}, got {units!r}"
    )


class WeightImageDisplay:
    """Images of the weights of each unit of the first layer.

    The images share one colour scale, red for positive weights and blue for negative ones.
    Images with three channels show the weights of each channel around a medium grey.

    Parameters
    ----------
    weights : array-like of shape (n_features, n_units)
    shape : (height, width) or (height, width, 3), optional
        Shape of the image that the features of a sample form, row by row; square if None.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, Figure
    image_ : matplotlib AxesImage
        All images in rows, with a gap of one pixel between them.
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
                "weights must be of shape (n_features, n_units) with at least one unit, "
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
            The model. Of a `SiameseClassifier`, the branch is used.
        shape : (height, width) or (height, width, 3), optional
            Shape of the images; square if None.
        units : int or sequence of int, optional
            Number of leading units, or indices of units; all units if None.
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
        """Draw the data on axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; a new figure if None.
        n_columns : int, optional
            Number of images per row; if None, all images together form about a square.
        colorbar : bool, default=True
            Whether to show the colour bar; images with three channels have none.
        **kwargs
            Arguments of ``ax.imshow``.

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
            # NaN, between the images, becomes white
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
        """Return all images in rows, with NaN between them."""
        height, width, *channels = self.shape
        n_rows = ceil(weights.shape[1] / n_columns)
        size = (n_rows * (height + 1) - 1, n_columns * (width + 1) - 1, *channels)
        mosaic = np.full(size, np.nan)
        for k, image in enumerate(weights.T):
            top = k // n_columns * (height + 1)
            left = k % n_columns * (width + 1)
            mosaic[top : top + height, left : left + width] = image.reshape(self.shape)
        return mosaic
