"""Pairs of samples: validated, converted for the network, and drawn at random."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.random import sample_without_replacement

from mlp import _core
from mlp.estimators.training_data import TrainingData
from mlp.estimators.validation import validate_data
from mlp.network.samples import as_rows

__all__ = ["PairTrainingData", "Pairs", "check_pairs", "sample_pairs", "two_labels"]

Array = NDArray[Any]


@dataclass
class Pairs:
    """Pairs of the rows of a matrix; subsets of the pairs share the matrix.

    Attributes
    ----------
    rows : ndarray or CSR array of shape (n_samples, n_features)
        The samples.
    index : int64 ndarray of shape (n_pairs, 2)
        Indices of each pair's rows.
    """

    rows: Any
    index: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array of these pairs."""
        return len(self.index), 2, self.rows.shape[1]

    @property
    def dtype(self) -> Any:
        """Dtype of the rows."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> "Pairs":
        return Pairs(self.rows, np.ascontiguousarray(self.index[which]))


@dataclass
class PairTrainingData(TrainingData):
    """`TrainingData` whose inputs are `Pairs`."""

    @property
    def sparse(self) -> bool:
        """Whether the samples are CSR."""
        return hasattr(self.X.rows, "indptr")

    def data(self) -> Any:
        """Return the pairs as data of the core."""
        samples = _core.Data(self.X.rows)
        return _core.PairData(samples, self.X.index, self.values, self.sample_weight)

    def cast(self, dtype: Any, *, inputs: bool = True, values: bool = True) -> None:
        """Convert weights, and optionally samples and values, to a network's dtype."""
        super().cast(dtype, inputs=False, values=values)
        if inputs:
            self.X = Pairs(as_rows(self.X.rows, dtype), self.X.index)

    def samples(self) -> TrainingData:
        """Return the individual samples, each with the sum of its pairs' weights."""
        rows, weights = self.X.rows, self.sample_weight
        if weights is not None:
            weights = np.bincount(
                self.X.index.ravel(), np.repeat(weights, 2), rows.shape[0]
            )
        return TrainingData(
            rows, np.empty(rows.shape[0]), 0, "identity", sample_weight=weights
        )


def check_pairs(estimator: Any, X: Any, dtype: Any, *, reset: bool) -> Pairs:
    """Validate pairs of samples.

    Parameters
    ----------
    estimator : estimator
        Estimator whose number and names of features are set or compared.
    X : array-like of shape (n_pairs, 2, n_features), or tuple (X1, X2) of array-likes or
        CSR arrays of shape (n_pairs, n_features)
        The pairs.
    dtype : dtype or tuple of dtypes
        Dtypes of the samples, as for scikit-learn's `validate_data`.
    reset : bool
        Whether the estimator's number and names of features are set to those of X; they are
        compared with them otherwise.

    Raises
    ------
    ValueError
        If X has another shape, values that are not finite, or other features than the
        estimator was fitted to.
    """
    if isinstance(X, Pairs):
        return X
    if isinstance(X, tuple):
        return _check_two(estimator, X, dtype, reset)
    if hasattr(X, "tocsr"):
        raise ValueError("X is one sparse array; pass sparse pairs as a tuple (X1, X2)")
    arrays = isinstance(X, list) and any(hasattr(part, "__array__") for part in X)
    X = np.asarray(X)
    if arrays and X.ndim == 3 and X.shape[:2] == (2, 2):
        raise ValueError(
            "X is a list of two arrays of two rows, which may be two pairs or the first "
            "and second samples of two pairs; pass numpy.stack(X) for the former, the "
            "tuple (X1, X2) for the latter"
        )
    if X.ndim != 3 or X.shape[1] != 2:
        raise ValueError(
            "X must have shape (n_pairs, 2, n_features) or be a tuple (X1, X2) of two "
            f"arrays of shape (n_pairs, n_features); got shape {X.shape}"
        )
    n, _, n_features = X.shape
    rows = validate_data(
        estimator, X.reshape(2 * n, n_features), dtype=dtype, reset=reset
    )
    return Pairs(rows, np.arange(2 * n, dtype=np.int64).reshape(n, 2))


def _check_two(estimator: Any, X: tuple[Any, ...], dtype: Any, reset: bool) -> Pairs:
    if len(X) != 2:
        raise ValueError(f"X must be a tuple of two arrays (X1, X2), got {len(X)}")
    options = {"accept_sparse": ["csr", "csc"], "dtype": dtype}
    first = validate_data(estimator, X[0], reset=reset, **options)
    second = validate_data(estimator, X[1], reset=False, **options)
    if first.shape[0] != second.shape[0]:
        raise ValueError(
            "X1 and X2 must have the same number of rows, got "
            f"{first.shape[0]} and {second.shape[0]}"
        )
    sparse = [hasattr(part, "tocsr") for part in (first, second)]
    if sparse[0] != sparse[1]:
        raise ValueError("X1 and X2 must both be sparse or both be dense")
    if sparse[0]:
        rows = scipy.sparse.vstack([first, second], format="csr")
    else:
        rows = np.vstack([first, second])
    n = first.shape[0]
    index = np.arange(2 * n, dtype=np.int64).reshape(2, n).T
    return Pairs(rows, np.ascontiguousarray(index))


def two_labels(y: Array, classes: Any, known: Array | None) -> Array:
    """Return the labels of different and of same pairs, in this order.

    They are `known`, or the sorted `classes`, or the sorted labels of y; the first of these
    that is not None.

    Raises
    ------
    ValueError
        If there are not exactly two labels, or y has others.
    """
    labels = np.unique(y)
    if known is None:
        known = labels if classes is None else np.unique(classes)
        if len(known) != 2:
            raise ValueError(
                "y must have two labels, for different and for same pairs; got "
                f"{known.tolist()[:5]}"
            )
    if len(np.setdiff1d(labels, known)):
        raise ValueError(
            f"y has the labels {labels.tolist()[:5]}, but classes_ is {known.tolist()}"
        )
    return known


def sample_pairs(
    y: Any, n_pairs: int, *, same: float = 0.5, random_state: Any = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw distinct pairs of samples, some of the same class and some of different ones.

    All pairs of the same class are equally likely, and so are all pairs of different
    classes.  No pair is drawn twice, and no sample is paired with itself.  The order of the
    pairs, and of the two samples of each pair, is random.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Classes of the samples.
    n_pairs : int
        Number of pairs to draw.
    same : float, default=0.5
        Proportion of the pairs whose samples are of the same class.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the draws; an int gives the same pairs in each call.

    Returns
    -------
    pairs : int64 ndarray of shape (n_pairs, 2)
        Indices of samples: ``X[pairs]`` are the pairs for `SiameseClassifier`.
    labels : int64 ndarray of shape (n_pairs,)
        1 for same, 0 for different.

    Raises
    ------
    ValueError
        If y has fewer pairs of a kind than are to be drawn.

    Examples
    --------
    >>> from mlp import sample_pairs
    >>> pairs, labels = sample_pairs(["a", "a", "b", "b"], 4, random_state=0)
    >>> pairs.shape, labels.sum().item()
    ((4, 2), 2)
    """
    y = column_or_1d(y)
    if not (isinstance(n_pairs, Integral) and n_pairs >= 1):
        raise ValueError(f"n_pairs must be an int >= 1, got {n_pairs!r}")
    if not (isinstance(same, Real) and 0 <= float(same) <= 1):
        raise ValueError(f"same must lie in [0, 1], got {same!r}")
    rng = check_random_state(random_state)
    n_same = round(int(n_pairs) * float(same))
    codes = np.unique(y, return_inverse=True)[1]
    # in the order of classes, a sample's partners of the same class are those after it up
    # to the end of the class, and its partners of other classes those after that end: each
    # unordered pair is counted once
    by_class = np.argsort(codes, kind="stable")
    position = np.arange(len(y))
    class_end = np.cumsum(np.bincount(codes))[codes[by_class]]
    drawn = [
        _draw(position + 1, class_end, n_same, "of the same class", rng),
        _draw(
            class_end,
            np.full(len(y), len(y)),
            int(n_pairs) - n_same,
            "of different classes",
            rng,
        ),
    ]
    pairs = by_class[np.concatenate(drawn)]
    labels = np.repeat([1, 0], [len(part) for part in drawn])
    swap = rng.randint(2, size=len(pairs)) == 1
    pairs[swap] = pairs[swap, ::-1]
    order = rng.permutation(len(pairs))
    return pairs[order].astype(np.int64), labels[order].astype(np.int64)


def _draw(begin: Array, end: Array, n_pairs: int, kind: str, rng: Any) -> Array:
    """Draw `n_pairs` distinct pairs (i, j) with begin[i] ≤ j < end[i]."""
    counts = end - begin
    bounds = np.cumsum(counts)
    total = int(bounds[-1]) if len(bounds) else 0
    if n_pairs > total:
        raise ValueError(
            f"n_pairs and same ask for {n_pairs} pairs {kind}, but y has only {total}"
        )
    if n_pairs == 0:
        return np.empty((0, 2), np.int64)
    chosen = sample_without_replacement(total, n_pairs, random_state=rng)
    i = np.searchsorted(bounds, chosen, side="right")
    return np.column_stack([i, begin[i] + chosen - (bounds[i] - counts[i])])
