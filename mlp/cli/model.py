"""Models that predict one column of a table from the others.

The columns of a table are described once (`choose_features`), and the description is saved
with the fitted model, so that it can predict another file with the same columns in any
order.
"""

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
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

from mlp.cli.columns import Column, OddCell, Reading
from mlp.cli.tables import TableError, listing
from mlp.files.container import write_atomically

__all__ = [
    "Feature",
    "TableModel",
    "choose_features",
    "feature_matrix",
    "guess_task",
    "load_model",
    "make_preprocessor",
    "notes_on",
    "target_scaler",
    "target_values",
]

Array = NDArray[Any]

LARGEST = 1e30
"""Numbers beyond it would overflow single precision on the way to the network."""

MAX_GUESSED_CLASSES = 20
"""A whole-number target with more distinct values is taken for a quantity."""

VERSION = 2
"""Of the description that a saved model holds."""

MAX_DISTINCT_TEXTS = 0.7
"""Share of distinct values above which a text column is taken for a name or an id."""


@dataclass(frozen=True)
class Feature:
    """An input column.

    Parameters
    ----------
    name : str
        Name of the column.
    is_number : bool
        Whether the column contains numbers or text.
    decimal : str or None
        The decimal sign of the training cells, if they have one.
    """

    name: str
    is_number: bool
    decimal: str | None = None


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
        Pipeline from the matrix of `feature_matrix` to predictions.
    missing : tuple of str
        Contents of missing cells in addition to the usual ones.
    version : int
        Version of this description.
    """

    features: list[Feature]
    target: str
    task: str
    pipeline: Pipeline
    missing: tuple[str, ...] = ()
    version: int = VERSION

    def reading(self, missing: Sequence[str] = ()) -> Reading:
        """Return the instructions for reading the cells of a table to be predicted.

        Parameters
        ----------
        missing : sequence of str
            Further contents of missing cells.
        """
        names = {True: set[str](), False: set[str]()}
        for feature in self.features:
            names[feature.is_number].add(feature.name)
        assumed = {f.name: f.decimal for f in self.features if f.decimal}
        return Reading(
            names[True], names[False], (*self.missing, *missing), None, assumed
        )

    def save(self, path: Path) -> None:
        """Write the model to `path`; an existing file is replaced when it is complete."""
        write_atomically(path, lambda file: joblib.dump(self, file))


def load_model(path: Path) -> TableModel:
    """Read a model written by `TableModel.save`.

    The file is a pickle: loading it can execute any code that its author put into it.

    Raises
    ------
    TableError
        If the file is missing or is not a saved model.
    """
    if not os.path.isfile(path):
        raise TableError(f"no such file: {path}")
    try:
        model = joblib.load(path)
    except Exception as error:  # unpickling other files can raise any exception
        raise TableError(f"{path} is not a model saved by mlp") from error
    if not isinstance(model, TableModel):
        raise TableError(f"{path} is not a model saved by mlp")
    if vars(model).get("version") != VERSION:
        raise TableError(
            f"{path} was saved by another version of the command line; train the "
            f"model again"
        )
    return model


# ------------------------------------------------------------ kinds of columns


def _check_range(name: str, numbers: Array) -> None:
    if np.any(np.abs(numbers) > LARGEST):
        raise TableError(f"column {name!r} has infinite values or beyond {LARGEST:g}")


def _odd_cell(subject: str, odd: OddCell, place: Callable[[int], str]) -> str:
    """Return a message about a column of numbers with other cells, and --missing."""
    kind = "numbers with decimal commas" if odd.decimal == "," else "numbers"
    others = f" (and {odd.n_different - 1} other values)" if odd.n_different > 1 else ""
    return (
        f"{subject} has {kind} in {odd.n_numbers:,} of {odd.n_present:,} cells, and "
        f"{odd.text!r} in {place(odd.row)}{others}; --missing={shlex.quote(odd.text)} "
        f"treats {odd.text!r} as missing"
    )


def notes_on(columns: Mapping[str, Column]) -> list[str]:
    """Return messages about how cells were read, one line per kind."""
    found: dict[str, list[str]] = {}
    for name, column in columns.items():
        for mark in column.marks:
            found.setdefault(mark, []).append(name)
        if column.is_code:
            found.setdefault("codes with leading zeros, read as text,", []).append(name)
    return [
        f"{mark[0].upper()}{mark[1:]} in {len(names)} "
        f"{'column' if len(names) == 1 else 'columns'} ({listing(names, 5)})"
        for mark, names in found.items()
    ]


def choose_features(
    columns: Mapping[str, Column], place: Callable[[int], str]
) -> tuple[list[Feature], list[str]]:
    """Decide which columns are features, and of which kind.

    Parameters
    ----------
    columns : mapping of str to Column
        The columns without the target.
    place : callable
        Returns the place of a row in the file, for messages.

    Returns
    -------
    features : list of Feature
        The features.
    dropped : list of str
        For each column left out, its name and the reason.

    Raises
    ------
    TableError
        If a column of numbers has other cells, infinite or huge values, or if no column
        is left.
    """
    features: list[Feature] = []
    dropped: list[str] = []
    for name, column in columns.items():
        n_present = len(column.missing) - int(np.count_nonzero(column.missing))
        if not n_present:
            dropped.append(f"{name}: it has no values")
            continue
        if name.startswith("unnamed column "):
            dropped.append(f"{name}: most likely a row number")
            continue
        if column.odd is not None:
            raise TableError(
                f"{_odd_cell(f'column {name!r}', column.odd, place)}, "
                f"--categorical={shlex.quote(name)} treats the column as text"
            )
        if column.numbers is not None:
            _check_range(name, column.numbers)
        else:
            n_texts = len(set(column.texts()[~column.missing]))
            if n_texts > MAX_DISTINCT_TEXTS * n_present:
                reason = f"{name}: {n_texts:,} different texts in {n_present:,}"
                if column.n_numbers:
                    reason += f", of which {column.n_numbers:,} are numbers"
                dropped.append(reason)
                continue
        is_number = column.numbers is not None
        features.append(Feature(name, is_number, column.decimal))
    if not features:
        raise TableError("no column is left as a feature")
    return features, dropped


def feature_matrix(
    columns: Mapping[str, Column],
    features: Sequence[Feature],
    place: Callable[[int], str],
) -> Array:
    """Return the features as a matrix.

    Parameters
    ----------
    columns : mapping of str to Column
        The columns; those that are not features are ignored.
    features : sequence of Feature
        The columns to take.
    place : callable
        Gives the place of a row in the file, for messages.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Floating point if all features are numbers; else objects, where text is str
        and a missing text is empty.

    Raises
    ------
    TableError
        If columns are missing, or contain text where numbers are needed.
    """
    absent = [f.name for f in features if f.name not in columns]
    if absent:
        raise TableError(f"missing columns: {listing(absent)}")
    taken = [_feature_values(f, columns[f.name], place) for f in features]
    dtype = np.result_type(np.float32, *{values.dtype for values in taken})
    X = np.empty((len(taken[0]), len(taken)), dtype=dtype)
    for j, values in enumerate(taken):
        X[:, j] = values
    return X


def _feature_values(
    feature: Feature, column: Column, place: Callable[[int], str]
) -> Array:
    if not feature.is_number:
        return column.texts()
    if column.numbers is None:
        assert column.odd is not None
        raise TableError(_odd_cell(f"column {feature.name!r}", column.odd, place))
    _check_range(feature.name, column.numbers)
    return column.numbers


def guess_task(column: Column, name: str, place: Callable[[int], str]) -> str:
    """Return 'classify' for text and for few whole numbers, else 'regress'.

    Raises
    ------
    TableError
        If most cells are numbers and some are not.
    """
    if column.odd is not None:
        raise TableError(
            f"{_odd_cell(f'target {name!r}', column.odd, place)}, --task classify "
            f"treats every value as a class"
        )
    if column.numbers is None:
        return "classify"
    numbers = np.unique(column.numbers)
    if len(numbers) > MAX_GUESSED_CLASSES:
        return "regress"
    # 1.1 and 1.10 are the same number, but not the same version
    n_different = len(set(column.values.tolist()))
    whole = np.all(numbers % 1 == 0)
    return "classify" if whole or n_different > len(numbers) else "regress"


def target_values(
    column: Column, task: str, name: str, place: Callable[[int], str]
) -> Array:
    """Return a column without missing values as labels or as numbers.

    Parameters
    ----------
    column : Column
        The target.
    task : {'classify', 'regress'}
        Whether labels or numbers are needed.
    name : str
        Name of the column, for messages.
    place : callable
        Gives the place of a row in the file, for messages.

    Returns
    -------
    ndarray of shape (n_rows,)
        float64 for 'regress'; integers or str for 'classify'. Text becomes an integer only
        if it is the usual form of the integer: 00501, 1.0 and 1E2 remain text.

    Raises
    ------
    TableError
        If there are fewer than two classes, or the target of a regression is not numeric.
    """
    if task == "regress":
        if column.numbers is None:
            assert column.odd is not None
            raise TableError(
                f"--task regress needs a numeric target, but "
                f"{_odd_cell(f'{name!r}', column.odd, place)}"
            )
        _check_range(name, column.numbers)
        return column.numbers.astype(np.float64)
    labels = _labels(column.values)
    if len(np.unique(labels)) < 2:
        raise TableError(f"target {name!r} has one class only ({labels[0]})")
    return labels


def _labels(values: Array) -> Array:
    """Return integers if all labels are written as Python writes integers, else text."""
    if values.dtype.kind in "iu":
        return values
    if values.dtype != object:
        exact = np.all(values % 1 == 0) and np.all(np.abs(values) < np.float64(2**63))
        return values.astype(np.int64) if exact else values.astype(str)
    different = set(values.tolist())
    if all(re.fullmatch("-?[1-9][0-9]{,17}|0", text) for text in different):
        return values.astype(np.int64)
    return values.astype(str)


# ---------------------------------------------------------------- preprocessing


def make_preprocessor(features: Sequence[Feature]) -> Pipeline:
    """Return the steps from `feature_matrix` to the network's input.

    Numbers are standardised, and missing ones are replaced by their mean. Texts become one
    input per value; a missing text is a separate value, and a value that did not occur in
    training sets no input.
    """
    numbers = [j for j, feature in enumerate(features) if feature.is_number]
    texts = [j for j, feature in enumerate(features) if not feature.is_number]
    # Imputation follows scaling, when the mean is 0; medians of a wide table of pixels
    # would take long.
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


def target_scaler() -> Pipeline:
    """Return the steps from a target to the network's target, and back in float64.

    The network's outputs may be float32, in which deviations from a large mean, as of dates
    or coordinates, would be rounded away.
    """
    widen = FunctionTransformer(inverse_func=_to_float64, check_inverse=False)
    return make_pipeline(StandardScaler(), widen)


def _to_float64(y: Any) -> Any:
    return y.astype(np.float64)
