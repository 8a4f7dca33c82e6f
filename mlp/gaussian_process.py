"""Gaussian-process kernel of an infinitely wide network [S 65.191-65.197, P65.25]."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from mlp.network.samples import refuse_dates

FloatArray = NDArray[np.float64]
Bounds = tuple[float, float] | ArrayLike | Literal["fixed"]


class ArcsineKernel(Kernel):
    r"""Covariance of a one-hidden-layer erf network as its width K goes to infinity.

    For ``g(h) = w @ erf(W.T @ h - theta) - theta_2`` with independent Gaussian hidden
    parameters, zero-mean output weights of variance ``output_weight_variance / K`` and
    an output offset of variance ``output_bias_variance`` [S 65.193, 65.197]:

    .. math::
        k(h, h') = \sigma_\theta^2 + \frac{2\sigma_w^2}{\pi} \arcsin
        \frac{2 s(h, h')}{\sqrt{(1 + 2 s(h, h))(1 + 2 s(h', h'))}},

    .. math::
        s(h, h') = \sigma_\alpha^2 + \sum_d \sigma_d^2 h_d h'_d.

    Here erf is the usual error function with :math:`e^{-t^2}`. Random networks agree with
    this formula, and not with the :math:`e^{-t^2/2}` of [S 65.192].

    Parameters
    ----------
    weight_variance : float or array-like of shape (n_features,), default=1.0
        Variance of the hidden weights, one for all features or one per feature. A feature
        with a small weight variance has little influence.
    bias_variance : float, default=1.0
        Variance of the hidden offsets.
    output_weight_variance : float, default=1.0
        Variance of the sum of the output weights.
    output_bias_variance : float, default=1.0
        Variance of the output offset. It may be 0 if its bounds are 'fixed'.
    weight_variance_bounds, bias_variance_bounds : 'fixed' or pair, default=(1e-5, 1e5)
        Range of the hyperparameter in optimisation; 'fixed' keeps its value.
    output_weight_variance_bounds, output_bias_variance_bounds : default=(1e-5, 1e5)
        Range of the hyperparameter in optimisation; 'fixed' keeps its value.

    Notes
    -----
    For feature vectors much longer than
    ``sqrt((1 + 2 bias_variance) / (2 weight_variance))`` the covariance depends only on
    their angle: k tends to
    ``output_bias_variance + output_weight_variance * (1 - 2 * angle / pi)``
    [S P65.25].

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from mlp import ArcsineKernel
    >>> X = np.linspace(-2, 2, 20)[:, None]
    >>> gp = GaussianProcessRegressor(ArcsineKernel(), alpha=1e-6, optimizer=None)
    >>> gp = gp.fit(X, np.tanh(X[:, 0]))
    >>> bool(abs(gp.predict([[0.5]])[0] - np.tanh(0.5)) < 1e-3)
    True
    """

    def __init__(
        self,
        weight_variance: float | ArrayLike = 1.0,
        bias_variance: float = 1.0,
        output_weight_variance: float = 1.0,
        output_bias_variance: float = 1.0,
        weight_variance_bounds: Bounds = (1e-5, 1e5),
        bias_variance_bounds: Bounds = (1e-5, 1e5),
        output_weight_variance_bounds: Bounds = (1e-5, 1e5),
        output_bias_variance_bounds: Bounds = (1e-5, 1e5),
    ) -> None:
        self.weight_variance = weight_variance
        self.bias_variance = bias_variance
        self.output_weight_variance = output_weight_variance
        self.output_bias_variance = output_bias_variance
        self.weight_variance_bounds = weight_variance_bounds
        self.bias_variance_bounds = bias_variance_bounds
        self.output_weight_variance_bounds = output_weight_variance_bounds
        self.output_bias_variance_bounds = output_bias_variance_bounds

    @property
    def anisotropic(self) -> bool:
        """Whether every feature has its own weight variance."""
        return np.ndim(self.weight_variance) > 0 and np.size(self.weight_variance) > 1

    @property
    def hyperparameter_weight_variance(self) -> Hyperparameter:
        """The hyperparameter `weight_variance` for optimisers."""
        n_elements = np.size(self.weight_variance) if self.anisotropic else 1
        return Hyperparameter(
            "weight_variance", "numeric", self.weight_variance_bounds, n_elements
        )

    @property
    def hyperparameter_bias_variance(self) -> Hyperparameter:
        """The hyperparameter `bias_variance` for optimisers."""
        return Hyperparameter("bias_variance", "numeric", self.bias_variance_bounds)

    @property
    def hyperparameter_output_weight_variance(self) -> Hyperparameter:
        """The hyperparameter `output_weight_variance` for optimisers."""
        return Hyperparameter(
            "output_weight_variance", "numeric", self.output_weight_variance_bounds
        )

    @property
    def hyperparameter_output_bias_variance(self) -> Hyperparameter:
        """The hyperparameter `output_bias_variance` for optimisers."""
        return Hyperparameter(
            "output_bias_variance", "numeric", self.output_bias_variance_bounds
        )

    def __call__(
        self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False
    ) -> Any:
        """Return the covariance, and optionally its gradient.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
            Left argument.
        Y : array-like of shape (n_samples_Y, n_features), optional
            Right argument; ``X`` if None.
        eval_gradient : bool, default=False
            Whether to return the gradient too; this requires ``Y=None``.

        Returns
        -------
        K : ndarray of shape (n_samples_X, n_samples_Y)
            The covariance.
        K_gradient : ndarray of shape (n_samples_X, n_samples_X, n_dims)
            Derivatives with respect to the logarithms of the free hyperparameters, in the
            order of ``theta``. Returned only with ``eval_gradient=True``.

        Raises
        ------
        ValueError
            If ``eval_gradient=True`` and ``Y`` is given, or if ``weight_variance`` has
            neither one entry nor one per feature.
        """
        if Y is not None and eval_gradient:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        X = _rows(X)
        variance = self._variances(X)
        if Y is None:
            inner = (X * variance) @ X.T + self.bias_variance
            left = right = inner.diagonal()
        else:
            Y = _rows(Y)
            inner = (X * variance) @ Y.T + self.bias_variance
            left = self._inner_diagonal(X)
            right = self._inner_diagonal(Y)
        angle, cosine = _arcsine(inner, left[:, None], right)
        K = self.output_bias_variance + 2 / np.pi * self.output_weight_variance * angle
        if not eval_gradient:
            return K
        return K, self._gradient(X, variance, inner, angle, cosine)

    def diag(self, X: ArrayLike) -> FloatArray:
        """Return the variances, the diagonal of ``self(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        inner = self._inner_diagonal(_rows(X))
        angle, _ = _arcsine(inner, inner, inner)
        scale = 2 / np.pi * self.output_weight_variance
        return self.output_bias_variance + scale * angle

    def is_stationary(self) -> bool:
        """Return False: the covariance depends on more than ``h - h'``."""
        return False

    def __repr__(self) -> str:
        values = np.atleast_1d(np.asarray(self.weight_variance, dtype=np.float64))
        weight = ", ".join(f"{value:.3g}" for value in values)
        return (
            f"{type(self).__name__}(weight_variance="
            f"{f'[{weight}]' if self.anisotropic else weight}, "
            f"bias_variance={self.bias_variance:.3g}, "
            f"output_weight_variance={self.output_weight_variance:.3g}, "
            f"output_bias_variance={self.output_bias_variance:.3g})"
        )

    def _variances(self, X: FloatArray) -> FloatArray:
        variance = np.asarray(self.weight_variance, dtype=np.float64)
        if variance.size not in (1, X.shape[1]) or variance.ndim > 1:
            raise ValueError(
                f"weight_variance must be a number or have one entry for each of the "
                f"{X.shape[1]} features, got shape {variance.shape}."
            )
        return variance

    def _inner_diagonal(self, X: FloatArray) -> FloatArray:
        squares: FloatArray = (X * self._variances(X) * X).sum(axis=1)
        return squares + self.bias_variance

    def _gradient(
        self,
        X: FloatArray,
        variance: FloatArray,
        inner: FloatArray,
        angle: FloatArray,
        cosine: FloatArray,
    ) -> FloatArray:
        """Return the derivatives by log-hyperparameters, in alphabetical order.

        ``inner`` depends on variance v_d by h_d h'_d; with N, A, B the numerator and
        the two factors under the root, d arcsin = (dN - N/2 (dA/A + dB/B)) / cosine.
        """
        scale = 2 / np.pi * self.output_weight_variance
        norm = 1 + 2 * inner.diagonal()

        def along(change: FloatArray) -> FloatArray:
            own = change.diagonal() / norm
            slope = 2 * change - 2 * inner * (own[:, None] + own)
            return scale * slope / cosine

        parts = []
        if not self.hyperparameter_bias_variance.fixed:
            parts.append(along(np.full_like(inner, self.bias_variance)))
        if not self.hyperparameter_output_bias_variance.fixed:
            parts.append(np.full_like(inner, self.output_bias_variance))
        if not self.hyperparameter_output_weight_variance.fixed:
            parts.append(scale * angle)
        if not self.hyperparameter_weight_variance.fixed:
            if self.anisotropic:
                pairs = zip(variance, X.T, strict=True)
                parts += [along(v * np.outer(x, x)) for v, x in pairs]
            else:
                parts.append(along(inner - self.bias_variance))
        return np.dstack(parts) if parts else np.empty((*inner.shape, 0))


def _rows(X: ArrayLike) -> FloatArray:
    refuse_dates(X, "X")
    return np.atleast_2d(np.asarray(X, dtype=np.float64))


def _arcsine(
    inner: FloatArray, left: FloatArray, right: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the arcsine and ``sqrt(A B - N**2)``, which is its cosine times sqrt(A B).

    From the arctangent of the two, since for long vectors N / sqrt(A B) rounds to 1,
    where the arcsine loses half the digits and its derivative is infinite.
    """
    gram = np.maximum(left * right - inner**2, 0)
    cosine = np.sqrt(1 + 2 * left + 2 * right + 4 * gram)
    return np.arctan2(2 * inner, cosine), cosine
