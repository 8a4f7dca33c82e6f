"""Class labels as integer codes, also of several tasks or missing; label matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

__all__ = [
    "MISSING",
    "UNKNOWN",
    "TaskLabels",
    "as_classes",
    "indicators",
    "stack_columns",
]

Array = NDArray[Any]

#: codes of missing labels, and of labels that are not among the task's classes
MISSING, UNKNOWN = -1, -2


@dataclass
class TaskLabels:
    """The labels of one task.

    Attributes
    ----------
    name : str
        Name of the task in error messages.
    labels : ndarray of shape (n_samples,)
        The labels as given.
    known : bool ndarray of shape (n_samples,)
        Whether each label is known, that is, not missing.
    """

    name: str
    labels: Array
    known: Array

    @classmethod
    def of(cls, y: Any, missing_label: Any) -> "list[TaskLabels]":
        """Split y into its columns, one per task.

        Parameters
        ----------
        y : array-like or data frame of shape (n_samples, n_tasks)
            The labels.
        missing_label : object
            Value that marks a missing label; None and NaN always do.

        Raises
        ------
        ValueError
            If y is not two-dimensional, or has no columns.
        """
        if issparse(y):
            raise ValueError(
                "y is sparse, where an absent entry can mean 0 or a missing label; pass "
                "y.toarray()"
            )
        if hasattr(y, "columns"):
            at = y.iloc if hasattr(y, "iloc") else y
            names = [f"column {k} of y ({name!r})" for k, name in enumerate(y.columns)]
            columns = [np.asarray(at[:, k]) for k in range(len(names))]
        else:
            # a list may have labels of several types, which an array would make one type
            y = np.asarray(y, dtype=None if hasattr(y, "__array__") else object)
            if y.ndim != 2:
                raise ValueError(
                    "y must have shape (n_samples, n_tasks), a column of class labels per "
                    f"task, got shape {y.shape}; y.reshape(-1, 1) is one task"
                )
            names = [f"column {k} of y" for k in range(y.shape[1])]
            columns = list(y.T)
        if not columns:
            raise ValueError("y must have one column per task, got no columns")
        return [
            cls(name, labels, ~_is_missing(labels, missing_label))
            for name, labels in zip(names, columns, strict=True)
        ]

    def classes(self) -> Array:
        """The classes that occur, sorted.

        Raises
        ------
        ValueError
            If every label is missing, or the labels can't be classes.
        """
        if not self.known.any():
            raise ValueError(f"{self.name}: every label is missing")
        return as_classes(self._values(), self.name)

    def codes(self, classes: Array) -> Array:
        """Index of each label's class, or `MISSING` or `UNKNOWN` (int32)."""
        codes = np.full(len(self.labels), MISSING, np.int32)
        values = self._values()
        if _kind(values) != _kind(classes):
            codes[self.known] = UNKNOWN
            return codes
        place = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
        codes[self.known] = np.where(classes[place] == values, place, UNKNOWN)
        return codes

    def _values(self) -> Array:
        """The known labels, as an array of their common type."""
        return _simplest(self.labels[self.known], self.name)


def as_classes(labels: Any, name: str) -> Array:
    """Return the distinct labels, sorted.

    Raises
    ------
    ValueError
        If there are no labels, if one is missing or is a number that can't be a class, or
        if they are of several types.
    """
    labels = np.asarray(labels, dtype=None if hasattr(labels, "__array__") else object)
    if labels.ndim != 1 or not len(labels) or _is_missing(labels, None).any():
        raise ValueError(
            f"{name} must be a list of labels, at least one and none missing"
        )
    labels = _simplest(labels, name)
    if labels.dtype.kind in "fc":
        odd = labels[~np.isfinite(labels) | (labels != np.rint(labels))]
        if len(odd):
            raise ValueError(
                f"{name}: Unknown label type: continuous, with values such as {odd[0]}; "
                "classes are integers, strings or booleans"
            )
    try:
        return np.unique(labels)
    except TypeError as error:
        raise ValueError(f"{name}: labels can't be sorted: {error}") from error


def indicators(y: Any) -> Array:
    """Convert a label matrix to 0 and 1: a sample has each label whose entry is not 0.

    Parameters
    ----------
    y : array-like or sparse array of shape (n_samples, n_labels)
        The label matrix, with at most two values.

    Raises
    ------
    ValueError
        If it has two values and neither is 0: every sample would have every label.
    """
    matrix: Array = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    has: Array = matrix != 0
    if np.array_equal(has, matrix):
        return matrix
    values = np.unique(matrix).tolist()
    if has.all() and len(values) > 1:
        raise ValueError(
            f"y is a matrix of labels with the values {values[0]} and {values[1]}; a label "
            f"that a sample does not have must be 0: pass (y == {values[1]}).astype(int)"
        )
    return has.astype(int)


def stack_columns(columns: Sequence[Array]) -> Array:
    """Stack columns into one array; it is of objects if they are of different kinds."""
    alike = len({column.dtype.kind for column in columns}) == 1
    dtype = np.result_type(*columns) if alike else np.dtype(object)
    both = np.empty((len(columns[0]), len(columns)), dtype)
    for k, column in enumerate(columns):
        both[:, k] = column
    return both


def _is_missing(labels: Array, missing_label: Any) -> Array:
    """Whether each label is None, NaN, NaT, pandas.NA or `missing_label`."""
    own = not _is_nothing(missing_label)
    if labels.dtype.kind not in "OT":
        missing = np.zeros(len(labels), bool)
        if labels.dtype.kind in "fcmM":
            missing = labels != labels
        return missing | (labels == missing_label) if own else missing
    return np.array(
        [_is_nothing(v) or (own and bool(v == missing_label)) for v in labels.tolist()],
        dtype=bool,
    )


def _is_nothing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.generic)) and bool(value != value)


def _simplest(labels: Array, name: str) -> Array:
    """Convert an array of objects to their common type."""
    if labels.dtype.kind not in "OT":
        return labels
    values = labels.tolist()
    texts = [value for value in values if isinstance(value, str)]
    if texts and len(texts) < len(values):
        other = next(value for value in values if not isinstance(value, str))
        raise ValueError(
            f"{name} mixes strings and other types, such as {texts[0]!r} and {other!r}; "
            "labels must be of one type"
        )
    try:
        simple = np.array(values)
    except ValueError:
        simple = labels[:, None]
    if simple.ndim != 1:
        raise ValueError(f"{name}: labels must be single numbers or strings")
    return simple


def _kind(labels: Array) -> str:
    """Return the kind of labels; labels of different kinds are never equal."""
    return "number" if labels.dtype.kind in "biuf" else labels.dtype.kind
