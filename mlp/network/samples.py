"""Samples and targets as the core reads them."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlp.network.network import Network

__all__ = ["as_rows", "as_targets", "refuse_dates"]

Array = NDArray[Any]

#: pandas' scalars, NaT too, are of datetime's classes
DATES = (date, timedelta, np.datetime64, np.timedelta64)


def refuse_dates(values: Any, name: str) -> None:
    """Refuse dates and durations, which NumPy casts to whole numbers of their unit, and
    NaT to the smallest of these.

    Parameters
    ----------
    values : array-like, sparse array or data frame
        What is no array of any kind passes: it is refused where it is made one.
    name : str
        What errors call it.

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
    """X as the core reads it: CSR, or an array of contiguous rows; no needless copy."""
    if hasattr(X, "tocsr"):
        X = X.tocsr()
        # asking scipy about repeated entries leaves a mark on the object asked
        twin = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
        if not twin.has_canonical_format:  # they mean their sum
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
    """y as the core reads it: targets or labels, whichever it is.

    Parameters
    ----------
    network : Network
        What the targets are for.
    y : ndarray
        As `Network.data` takes it.
    n : int
        Number of samples.

    Raises
    ------
    ValueError
        If y has not the network's outputs or labels.
    """
    refuse_dates(y, "y")
    if y.shape[:1] != (n,):
        raise ValueError(f"y has {y.shape[:1]} rows, X has {n}")
    if y.ndim == 1 and network.output_name == "softmax" and len(network.groups) == 1:
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
        and y.shape == (n, len(network.groups))
    ):
        n_classes = np.maximum(network.groups, 2)  # one logistic output tells two apart
        if ((y < -1) | (y >= n_classes)).any():
            raise ValueError(
                f"labels must be integers below {n_classes.tolist()} in each group, or "
                "-1 where missing"
            )
        return None, np.ascontiguousarray(y, dtype=np.int32)
    if y.shape != (n, network.n_outputs):
        raise ValueError(f"y must have shape ({n}, {network.n_outputs}), got {y.shape}")
    return np.ascontiguousarray(y, dtype=network.dtype), None
