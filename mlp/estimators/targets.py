"""Validated samples on their way to the network."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from mlp import _core
from mlp.network import as_rows

__all__ = ["Targets", "check_weights"]

Array = NDArray[Any]


@dataclass
class Targets:
    """Inputs, and what the network is to learn from them.

    Attributes
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    y : ndarray
        As the user gave it, for scores.
    n_outputs : int
    output_activation : str or tuple
    values : ndarray of shape (n_samples, n_outputs) or None
    labels : int32 ndarray of shape (n_samples, n_tasks) or None
    sample_weight : ndarray of shape (n_samples,) or None
    given : dict
        ``X``, ``y`` and ``metadata`` as `fit` was given them, for callbacks.
    strata : ndarray or None
        Labels by which a validation set is stratified.
    groups : tuple of int or None
        Outputs of each task.
    smoothing : float
        Of labels, or of values towards `middle`.
    middle : float
        Between the values of the two classes.
    """

    X: Any
    y: Array
    n_outputs: int
    output_activation: Any
    values: Any = None
    labels: Any = None
    sample_weight: Array | None = None
    given: dict[str, Any] = field(default_factory=dict)
    strata: Array | None = None
    groups: tuple[int, ...] | None = None
    smoothing: float = 0.0
    middle: float = 0.5

    @property
    def sparse(self) -> bool:
        """Whether the inputs are CSR."""
        return hasattr(self.X, "indptr")

    def data(self) -> Any:
        """What the core works on."""
        values = self.values
        if values is not None and self.smoothing:
            values = values * (1 - self.smoothing) + self.smoothing * self.middle
        return _core.Data(
            self.X, values, self.labels, self.sample_weight, self.smoothing
        )

    def cast(self, dtype: Any) -> None:
        """Bring inputs, values and weights to the network's dtype."""
        self.X = as_rows(self.X, dtype)
        if self.values is not None:
            self.values = self.values.astype(dtype, copy=False)
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight.astype(dtype, copy=False)

    def take(self, samples: Array) -> "Targets":
        """Some of the samples, labels unsmoothed: for validation."""

        def rows(array: Any) -> Any:
            return None if array is None else array[samples]

        return replace(
            self,
            X=self.X[samples],
            y=self.y[samples],
            values=rows(self.values),
            labels=rows(self.labels),
            sample_weight=rows(self.sample_weight),
            strata=None,
            smoothing=0.0,
        )


def check_weights(sample_weight: Any, X: Any) -> Array | None:
    """Sample weights as a vector of X's dtype, or None.

    Raises
    ------
    ValueError
        If they are of the wrong shape, not finite, or don't add up to something.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    if not np.sum(weights) > 0:
        raise ValueError("sample_weight must add up to a positive number")
    return np.ascontiguousarray(weights)
