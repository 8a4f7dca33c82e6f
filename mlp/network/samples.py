"""Samples and targets as the core reads them."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp import _core

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["as_rows", "as_targets", "data", "refuse_dates"]

Array = NDArray[Any]

#: pandas' scalars, NaT too, are of datetime's classes
DATES = (date, timedelta, np.datetime64, np.timedelta64)


def refuse_dates(values: Any, name: str) -> None:
    """Refuse dates and durations, which NumPy casts to whole numbers of their unit, and
    NaT to the smallest of these.

    Parameters
    ----------
    values : array-like, sparse array or data frame
        Values that can't be made an array pass; they are refused later.
    name : str
        Their name in errors.

    Raises
    ------
    ValueError
    """
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        for k, dtype in enumerate(values.dtypes):
            if getattr(dtype, "kind", "O") in "mMO":
                column = f"column {values.columns[k]!r} of {name}"
                refuse_dates(values.iloc[:, k], column)
        return
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "O") == "O":
        try:
            array = np.asarray(values)
        except (TypeError, ValueError, RuntimeError):
            return
        dtype = array.dtype
        if dtype.kind == "O":
            found = next((v for v in array.flat if isinstance(v, DATES)), None)
            dtype = dtype if found is None else type(found).__name__
    if isinstance(dtype, str) or dtype.kind in "mM":
        raise ValueError(
            f"{name} holds dates or durations ({dtype}), not numbers; give a duration as "
            "a float, such as the days of duration / numpy.timedelta64(1, 'D'), and a "
            "date as the duration since some other date (NaT becomes NaN)"
        )


def as_rows(X: Any, dtype: Any) -> Any:
    """X as the core reads it: CSR, or an array of contiguous rows, copied if need be."""
    if hasattr(X, "tocsr"):
        X = X.tocsr()
        # scipy notes on the object asked whether it has repeated entries
        same = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
        if not same.has_canonical_format:  # repeated entries stand for their sum
            X = X.copy()
            X.sum_duplicates()
        return X if X.dtype == dtype else X.astype(dtype)
    refuse_dates(X, "X")
    X = np.asarray(X, dtype=dtype)
    if X.ndim == 2 and X.shape[1] > 1 and X.strides[1] != X.itemsize:
        X = np.ascontiguousarray(X)
    if not X.flags.aligned or (X.ndim == 2 and X.strides[0] % X.itemsize):
        X = X.copy(order="C")
    if X.ndim == 2 and X.shape[0] > 1 and X.strides[0] < X.shape[1] * X.itemsize:
        X = np.ascontiguousarray(X)
    return X


def as_targets(
    network: "Network", y: Array, n: int
) -> tuple[Array | None, Array | None]:
    """y as the core reads it: (targets, None) or (None, labels).

    Parameters
    ----------
    network : Network
        The network that the targets are for.
    y : ndarray
        Targets or labels, see `data`.
    n : int
        Number of samples.

    Raises
    ------
    ValueError
        If y does not fit the network's outputs or groups.
    """
    refuse_dates(y, "y")
    if y.shape[:1] != (n,):
        raise ValueError(f"y has {y.shape[:1]} rows, X has {n}")
    if (
        y.ndim == 1
        and network.output_name == "softmax"
        and len(network.spec.groups) == 1
    ):
        labels = y.astype(np.int32)
        if (labels != y).any() or labels.min() < 0 or labels.max() >= network.n_outputs:
            raise ValueError(
                f"class labels must be integers from 0 to {network.n_outputs - 1}"
            )
        return None, np.ascontiguousarray(labels[:, None])
    y = y[:, None] if y.ndim == 1 else y
    if (
        network.output_name == "softmax"
        and y.dtype.kind in "iu"
        and y.shape == (n, len(network.spec.groups))
    ):
        n_classes = np.maximum(
            network.spec.groups, 2
        )  # one logistic output tells two apart
        if ((y < -1) | (y >= n_classes)).any():
            raise ValueError(
                f"labels must be integers below {n_classes.tolist()} in each group, or "
                "-1 where missing"
            )
        return None, np.ascontiguousarray(y, dtype=np.int32)
    if y.shape != (n, network.n_outputs):
        raise ValueError(f"y must have shape ({n}, {network.n_outputs}), got {y.shape}")
    return np.ascontiguousarray(y, dtype=network.dtype), None


def data(
    network: "Network",
    X: Any,
    y: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Any:
    """`_core.Data` of these samples, converted only where dtype or order ask for it.

    Parameters
    ----------
    network : Network
        The network.
    X : array-like or sparse array of shape (n_samples, n_features)
    y : array-like of shape (n_samples, n_outputs) or (n_samples,), optional
        Targets, NaN where missing; with softmax outputs also integer labels of shape
        (n_samples,), or (n_samples, n_groups): the class within each group's own, −1
        where missing.
    sample_weight : array-like of shape (n_samples,), optional

    Raises
    ------
    ValueError
        If shapes don't fit the network or each other.
    """
    X = as_rows(X, network.dtype)
    if network.has_rbf and hasattr(X, "indptr"):
        raise ValueError(
            "X is sparse: activation='rbf' measures distances, give an array"
        )
    if X.ndim != 2 or X.shape[1] != network.n_features:
        raise ValueError(
            f"X must have shape (n_samples, {network.n_features}), got {X.shape}"
        )
    targets = labels = None
    if y is not None:
        targets, labels = as_targets(network, np.asarray(y), X.shape[0])
    if sample_weight is not None:
        sample_weight = np.ascontiguousarray(sample_weight, dtype=network.dtype)
        if sample_weight.shape != (X.shape[0],):
            raise ValueError(
                f"sample_weight must have shape ({X.shape[0]},), "
                f"got {sample_weight.shape}"
            )
    return _core.Data(X, targets, labels, sample_weight)
