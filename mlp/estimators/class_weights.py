"""Sample weights from class weights."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_factors"]

Array = NDArray[Any]

ZERO_AND_ONE = np.array([0, 1])


def class_factors(class_weight: Any, classes: Array, y: Array) -> Array:
    """Return the weight of each sample, which is the weight of its class.

    Parameters
    ----------
    class_weight : dict, list of dict or 'balanced'
        The parameter ``class_weight`` of `MLPClassifier`.
    classes : ndarray of shape (n_classes,)
        All classes, sorted.
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Labels that are among the classes, or a label matrix of 0 and 1.

    Returns
    -------
    ndarray of shape (n_samples,)
        The weights; for a label matrix the product over its columns, as in scikit-learn.

    Raises
    ------
    ValueError
        If class_weight does not match y.
    """
    if y.ndim == 1:
        if isinstance(class_weight, list):
            raise ValueError(
                "class_weight must be a dict or 'balanced' where y has one label per "
                f"sample, got the list {class_weight!r}"
            )
        return _factors(class_weight, classes, y, "class_weight")
    n = y.shape[1]
    if isinstance(class_weight, str):
        class_weight = [class_weight] * n
    elif not (
        isinstance(class_weight, list)
        and len(class_weight) == n
        and all(isinstance(weight, dict) for weight in class_weight)
    ):
        raise ValueError(
            f"class_weight must be a list of {n} dicts where y is a matrix of {n} labels, "
            "one per column with the weights of its values 0 and 1, such as "
            f"{[{0: 1, 1: 5}] * n!r}, or 'balanced'; got {class_weight!r}"
        )
    columns = [
        _factors(weight, ZERO_AND_ONE, column, f"class_weight[{k}]")
        for k, (weight, column) in enumerate(zip(class_weight, y.T, strict=True))
    ]
    product: Array = np.prod(columns, axis=0)
    return product


def _factors(weight: Any, classes: Array, labels: Array, name: str) -> Array:
    codes = np.searchsorted(classes, labels)
    if isinstance(weight, dict):
        by_class = _by_class(weight, classes, name)
    else:  # balanced
        counts = np.bincount(codes, minlength=len(classes))
        n_present = np.count_nonzero(counts)
        by_class = len(codes) / (n_present * np.maximum(counts, 1))
    return by_class[codes]


def _by_class(weight: dict[Any, Any], classes: Array, name: str) -> Array:
    """Return the weights of the classes in their order; 1 for those without a key."""
    unknown = sorted(set(weight) - set(classes.tolist()), key=str)
    if unknown:
        raise ValueError(
            f"{name} has the keys {unknown}, but the classes are {classes}"
        )
    for label, value in weight.items():
        if not (isinstance(value, Real) and 0 <= float(value) < np.inf):
            raise ValueError(
                f"{name}: the weight of {label!r} must be a finite number >= 0, got "
                f"{value!r}"
            )
    return np.array([weight.get(label, 1) for label in classes.tolist()], np.float64)
