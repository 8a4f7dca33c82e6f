"""The validated samples of a fit: inputs, targets and weights."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from mlp import _core
from mlp.network.losses import check_callable
from mlp.network.samples import as_rows

__all__ = [
    "RANGES",
    "TrainingData",
    "check_loss",
    "check_weights",
    "lies_in",
    "value_range",
]

Array = NDArray[Any]

#: output activation -> range of the values that it is suited to
RANGES = {
    "logistic": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "exp": (0.0, np.inf),
}


@dataclass
class TrainingData:
    """Inputs, targets and weights of samples, converted for a network.

    Attributes
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        The inputs.
    y : ndarray or None
        The targets as the user gave them, for scores.
    n_outputs : int
        Number of the network's outputs.
    output_activation : str or tuple
        Activation of the network's outputs.
    values : ndarray of shape (n_samples, n_outputs) or None
        The targets as numbers.
    labels : int32 ndarray of shape (n_samples, n_tasks) or None
        The targets as codes of classes.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the samples; None for equal weights.
    given : dict
        ``X``, ``y`` and ``metadata`` as passed to `fit`, for callbacks.
    strata : ndarray or None
        Labels by which a validation set is stratified if that is possible; an array of
        shape (n_samples, 1) if it is required.
    groups : tuple of int or None
        Number of outputs of each task.
    smoothing : float
        Smoothing of the labels, or of the values towards `middle`.
    middle : float
        Midpoint between the values of the two classes.
    raw_X : ndarray or CSR array, or None
        The original inputs, where `X` are the outputs of frozen layers.
    autoencode : bool
        Whether the inputs are the targets.
    kept : ndarray of int or None
        Indices of these samples among the given ones, if some were left out.
    """

    X: Any
    y: Array | None
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
    raw_X: Any = None
    autoencode: bool = False
    kept: Array | None = None

    @property
    def sparse(self) -> bool:
        """Whether the inputs are CSR."""
        return hasattr(self.X, "indptr")

    def data(self) -> Any:
        """Return the samples as data of the core."""
        values = self.values
        if values is not None and self.smoothing:
            values = values * (1 - self.smoothing) + self.smoothing * self.middle
        return _core.Data(
            self.X,
            values,
            self.labels,
            self.sample_weight,
            self.smoothing,
            self.autoencode,
        )

    def cast(self, dtype: Any, *, inputs: bool = True, values: bool = True) -> None:
        """Convert weights, and optionally inputs and values, to a network's dtype."""
        if inputs:
            self.X = as_rows(self.X, dtype)
        if values and self.values is not None:
            self.values = self.values.astype(dtype, copy=False)
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight.astype(dtype, copy=False)

    def take(self, samples: Array) -> "TrainingData":
        """Return a subset of the samples without label smoothing, as for validation."""

        def rows(array: Any) -> Any:
            return None if array is None else array[samples]

        return replace(
            self,
            X=self.X[samples],
            raw_X=rows(self.raw_X),
            y=rows(self.y),
            values=rows(self.values),
            labels=rows(self.labels),
            sample_weight=rows(self.sample_weight),
            strata=None,
            smoothing=0.0,
        )

    def where_known(self, known: Array) -> "TrainingData":
        """Return the samples with at least one known target; there may be none.

        Parameters
        ----------
        known : bool ndarray of shape (n_samples, n_targets)
            Whether each target is known.

        Raises
        ------
        ValueError
            If there are such samples, but their weights are all 0.
        """
        informed = known.any(axis=1)
        if informed.all():
            return self
        kept = self.take(np.flatnonzero(informed))
        kept.smoothing, kept.kept = self.smoothing, np.flatnonzero(informed)
        weights = kept.sample_weight
        if weights is not None and len(weights) and not weights.sum() > 0:
            raise ValueError(
                "sample_weight must have a positive sum where y is known, got "
                f"{weights.sum()}"
            )
        return kept

    def check_any_known(self) -> None:
        """Raise ValueError if `where_known` has left no sample."""
        if self.X.shape[0] == 0:
            raise ValueError("y: every target is missing")


def check_weights(sample_weight: Any, X: Any) -> Array | None:
    """Return the sample weights as a vector of X's dtype, or None.

    Raises
    ------
    ValueError
        If they have the wrong shape, are not finite, or their sum is not positive.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    if not np.sum(weights) > 0:
        raise ValueError(
            f"sample_weight must have a positive sum, got {np.sum(weights)}"
        )
    return np.ascontiguousarray(weights)


def check_loss(network: Any, loss: Any, targets: TrainingData) -> None:
    """Compare the gradient of a user's loss with differences, at a few samples.

    Raises
    ------
    ValueError
        If they differ, or the loss returns something else than values and a gradient.
    """
    first = np.arange(min(8, targets.X.shape[0]))
    if targets.values is not None:  # and at some with missing values
        incomplete = np.flatnonzero(np.isnan(targets.values).any(axis=1))
        first = np.union1d(first, incomplete[:8])
    few = targets.take(first)
    y_out = network.forward(few.X)
    y_true = few.values
    if few.autoencode:
        y_true = few.X.toarray() if few.sparse else few.X
    elif y_true is None:
        y_true = np.zeros_like(y_out)
        labels = few.labels[:, 0]
        if y_out.shape[1] == 1:
            y_true[:, 0] = labels
        else:
            y_true[np.arange(len(labels)), labels] = 1
    check_callable(loss, y_true, y_out)


def value_range(X: Any) -> tuple[float, float]:
    """Return the smallest and the largest value."""
    return float(X.min()), float(X.max())


def lies_in(output: Any, X: Any) -> bool:
    """Whether the values of X are in the range of the outputs, up to rounding errors."""
    if not isinstance(output, str) or output not in RANGES:
        return True
    slack = 8 * float(np.finfo(X.dtype).eps)
    (low, high), (smallest, largest) = RANGES[output], value_range(X)
    return low - slack <= smallest and largest <= high + slack
