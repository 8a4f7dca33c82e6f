"""Models that predict one column of a table from the others.

A table's columns are described once (`choose_features`), and the description travels with
the fitted model, so that another file with the same columns in any order can be
predicted.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from mlp.container import write_atomically
from mlp.tables import Table, TableError, listing, missing_values

__all__ = [
    "Feature",
    "TableModel",
    "choose_features",
    "feature_matrix",
    "guess_task",
    "load_model",
    "make_preprocessor",
    "target_values",
]

Array = NDArray[Any]

LARGEST = 1e30
"""Numbers beyond it would overflow single precision on the way to the network."""

MAX_GUESSED_CLASSES = 20
"""A whole-number target with more distinct values is taken for a quantity."""

MAX_DISTINCT_TEXTS = 0.7
"""Share of distinct values above which a text column is taken for a name or an id."""


@dataclass(frozen=True)
class Feature:
    """An input column: its name, and whether it holds numbers or text."""

    name: str
    is_number: bool


@dataclass
class TableModel:
    """A fitted pipeline with the description of the columns it needs.

    Parameters
    ----------
    features : list of Feature
        The input columns, in the order of the pipeline's input.
    target : str
        Name of the column that is predicted.
    task : {'classify', 'regress'}
        Kind of the target.
    pipeline : sklearn.pipeline.Pipeline
        From the matrix of `feature_matrix` to predictions.
    """

    features: list[Feature]
    target: str
    task: str
    pipeline: Pipeline

    def save(self, path: Path) -> None:
        """Write the model to `path`, replacing what is there only when complete."""
        write_atomically(path, lambda file: joblib.dump(self, file))


def load_model(path: Path) -> TableModel:
    """Read a model written by `TableModel.save`.

    The file is a pickle: loading one runs what its author put into it.

    Raises
    ------
    TableError
        If the file is missing or is something else.
    """
    if not os.path.isfile(path):
        raise TableError(f"no such file: {path}")
    try:
        model = joblib.load(path)
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise TableError(f"{path} is not a model saved by mlp") from error
    if not isinstance(model, TableModel):
        raise TableError(f"{path} is not a model saved by mlp")
    return model


# ------------------------------------------------------------ kinds of columns


def _as_numbers(values: Array) -> Array | None:
    """Return a column as numbers with NaN for missing, or None if it is text."""
    if values.dtype != object:
        # half precision knows neither LARGEST nor 2**53
        return values.astype(np.float32) if values.dtype == np.float16 else values
    numbers = np.full(len(values), np.nan)
    present = ~missing_values(values)
    try:
        # Python takes 12_34 for a number; in a table it is an identifier.
        numbers[present] = [float(v.replace("_", "?")) for v in values[present]]
    except ValueError:
        return None
    return numbers


def _first_text(values: Array) -> int:
    """Return the first row that keeps a column from being numbers."""
    rows = range(len(values))
    return next(row for row in rows if _as_numbers(values[row : row + 1]) is None)


def _check_range(name: str, numbers: Array) -> None:
    if np.any(np.abs(numbers) > LARGEST):
        raise TableError(f"column {name!r} has infinite values or beyond {LARGEST:g}")


def _all_whole(numbers: Array) -> bool:
    # Beyond 2**53 a float no longer tells neighbouring whole numbers apart.
    return bool(np.all(np.abs(numbers) < 2.0**53) and np.all(numbers % 1 == 0))


def choose_features(table: Table, target: str) -> tuple[list[Feature], list[str]]:
    """Decide which columns to learn from, and as what.

    Parameters
    ----------
    table : Table
        The data.
    target : str
        Column to leave out.

    Returns
    -------
    features : list of Feature
        The columns to learn from.
    dropped : list of str
        For each column left out, its name and the reason.

    Raises
    ------
    TableError
        If a column holds infinite or huge values, or if no column is left.
    """
    features: list[Feature] = []
    dropped: list[str] = []
    for name, values in table.columns.items():
        if name == target:
            continue
        if name.startswith("unnamed column "):
            dropped.append(f"{name}: most likely a row number")
            continue
        present = values[~missing_values(values)]
        if not len(present):
            dropped.append(f"{name}: it has no values")
            continue
        numbers = _as_numbers(present)
        if numbers is not None:
            _check_range(name, numbers)
        n_texts = len(set(present)) if numbers is None else 0
        if n_texts > MAX_DISTINCT_TEXTS * len(present):
            dropped.append(f"{name}: {n_texts:,} different texts in {len(present):,}")
            continue
        features.append(Feature(name, numbers is not None))
    if not features:
        raise TableError("no column is left to learn from")
    return features, dropped


def feature_matrix(table: Table, features: Sequence[Feature]) -> Array:
    """Return the features as a matrix.

    Parameters
    ----------
    table : Table
        The data; columns that are no features are ignored.
    features : sequence of Feature
        The columns to take.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Floating point if all features are numbers; else objects, where text is str
        and a missing text is empty.

    Raises
    ------
    TableError
        If columns are missing, or text stands where numbers are needed.
    """
    absent = [f.name for f in features if f.name not in table.columns]
    if absent:
        raise TableError(f"missing columns: {listing(absent)}")
    columns = [_feature_values(f, table.columns[f.name]) for f in features]
    dtypes = {column.dtype for column in columns}
    dtype = np.result_type(np.float32, *dtypes)
    X = np.empty((table.n_rows, len(columns)), dtype=dtype)
    for j, column in enumerate(columns):
        X[:, j] = column
    return X


def _feature_values(feature: Feature, values: Array) -> Array:
    missing = missing_values(values)
    if not feature.is_number:
        texts = np.array([str(value) for value in values], dtype=object)
        texts[missing] = ""
        return texts
    numbers = _as_numbers(values)
    if numbers is None:
        row = _first_text(values)
        raise TableError(
            f"column {feature.name!r} must hold numbers, "
            f"but row {row + 1} has {values[row]!r}"
        )
    _check_range(feature.name, numbers)
    return numbers


def guess_task(values: Array) -> str:
    """Return 'classify' for text and for few whole numbers, else 'regress'."""
    numbers = _as_numbers(values[~missing_values(values)])
    if numbers is None:
        return "classify"
    few = len(np.unique(numbers)) <= MAX_GUESSED_CLASSES
    return "classify" if few and _all_whole(numbers) else "regress"


def target_values(values: Array, task: str, name: str) -> Array:
    """Return a column without missing values as labels or as numbers.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        The column.
    task : {'classify', 'regress'}
        Whether labels or numbers are needed.
    name : str
        Name of the column, for messages.

    Returns
    -------
    ndarray of shape (n_rows,)
        float64 for 'regress'; int64 or str for 'classify'.

    Raises
    ------
    TableError
        If there are fewer than two classes, or no usable numbers to regress on.
    """
    numbers = _as_numbers(values)
    if task == "regress":
        if numbers is None:
            raise TableError(
                f"target {name!r} is not numeric (it has "
                f"{values[_first_text(values)]!r}), so that --task regress is "
                f"impossible"
            )
        _check_range(name, numbers)
        return numbers.astype(np.float64)
    labels = values.astype(str)
    if numbers is not None and _all_whole(numbers):
        labels = numbers.astype(np.int64)
    if len(np.unique(labels)) < 2:
        raise TableError(f"target {name!r} has one class only ({labels[0]})")
    return labels


# ---------------------------------------------------------------- preprocessing


def make_preprocessor(features: Sequence[Feature]) -> Pipeline:
    """Return the steps from `feature_matrix` to the network's input.

    Numbers are standardised and, where missing, replaced by their mean; texts become
    one input per value, where a missing text is a value of its own and one that was
    never seen sets none of them.
    """
    numbers = [j for j, feature in enumerate(features) if feature.is_number]
    texts = [j for j, feature in enumerate(features) if not feature.is_number]
    # Imputing after scaling: the mean is 0 by then, and no median of a wide table of
    # pixels has to be found.
    scale = make_pipeline(
        StandardScaler(),
        SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True),
    )
    encode = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
    return make_pipeline(
        ColumnTransformer([("numbers", scale, numbers), ("texts", encode, texts)]),
        FunctionTransformer(_to_float32, accept_sparse=True),
    )


def _to_float32(X: Any) -> Any:
    return X.astype(np.float32)
