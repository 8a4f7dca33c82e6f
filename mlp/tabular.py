"""Tables from `.csv` and `.npz` files, and models that predict one column of them.

A table is read into named columns, each either numbers or text. Its columns are then
described once (`choose_features`), and the description travels with the fitted model,
so that another file with the same columns in any order can be predicted.
"""

import csv
import difflib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
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

__all__ = [
    "Feature",
    "Table",
    "TableError",
    "TableModel",
    "choose_features",
    "feature_matrix",
    "guess_task",
    "load_model",
    "make_preprocessor",
    "missing_values",
    "read_table",
    "target_values",
]

Array = NDArray[Any]

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
"""Cells that mean "no value", compared in lower case without surrounding blanks."""

LARGEST = 1e30
"""Numbers beyond it would overflow single precision on the way to the network."""

MAX_GUESSED_CLASSES = 20
"""A whole-number target with more distinct values is taken for a quantity."""

MAX_DISTINCT_TEXTS = 0.7
"""Share of distinct values above which a text column is taken for a name or an id."""


class TableError(ValueError):
    """What is wrong with the user's file, in one line."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n_rows,)
        Numbers (integer or floating point), or text (object array of str).
    n_train : int or None
        The first `n_train` rows are for training and the others for testing, if the
        file itself says so.
    target : str or None
        The column to predict, if the file itself says so.
    """

    columns: dict[str, Array]
    n_train: int | None = None
    target: str | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> Array:
        """Return the values of column `name`.

        Raises
        ------
        TableError
            If there is no such column; the message lists those that exist.
        """
        if name in self.columns:
            return self.columns[name]
        message = f"there is no column {name!r}"
        if close := difflib.get_close_matches(name, self.columns, n=1):
            message += f" (did you mean {close[0]!r}?)"
        raise TableError(f"{message}; the columns are {listing(self.columns)}")

    def rows(self, keep: NDArray[np.bool_]) -> "Table":
        """Return the rows where `keep` is True."""
        n_train = None if self.n_train is None else int(keep[: self.n_train].sum())
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Table(columns, n_train, self.target)


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
    if not path.is_file():
        raise TableError(f"no such file: {path}")
    try:
        model = joblib.load(path)
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise TableError(f"{path} is not a model saved by mlp") from error
    if not isinstance(model, TableModel):
        raise TableError(f"{path} is not a model saved by mlp")
    return model


def listing(names: Iterable[str], limit: int = 20) -> str:
    """Return the names in one line, cut after `limit` of them."""
    names = list(names)
    text = ", ".join(names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


# ---------------------------------------------------------------- reading files


def read_table(path: Path, target: str | None = None) -> Table:
    """Read a `.npz` archive, or any other file as comma-separated text.

    Parameters
    ----------
    path : Path
        The file. An archive holds `X` and `y`, or `x_train`, `y_train`, `x_test` and
        `y_test`, or one array per column; `X` may have any number of dimensions and
        its columns are called x0, x1, ... unless `feature_names` names them. Text has
        a header; semicolons and tabs are accepted in place of commas.
    target : str or None
        Array to use in place of `y` beside an `X`.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        If the file is missing, unreadable, ragged or without rows.
    """
    if not path.exists():
        raise TableError(f"no such file: {path}")
    try:
        read = _read_npz if path.suffix.lower() == ".npz" else _read_csv
        table = read(path, target)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    if not table.n_rows:
        raise TableError(f"{path} has no rows")
    return table


def _read_csv(path: Path, target: str | None) -> Table:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            return _parse_csv(csv.reader(file, delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise TableError("not a table (neither .npz nor UTF-8 text)") from error
    except csv.Error as error:
        raise TableError(f"not a table ({error})") from error


def _parse_csv(reader: Any) -> Table:
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise TableError("empty file; the first line must name the columns")
    for name in header:
        if name and header.count(name) > 1:
            raise TableError(f"two columns are called {name!r}")
    rows = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise TableError(
                f"line {reader.line_num} has {len(cells)} cells where the header "
                f"has {len(header)}"
            )
        rows.append([cell.strip() for cell in cells])
    columns = {}
    for j, name in enumerate(header):
        values = np.empty(len(rows), dtype=object)
        values[:] = [row[j] for row in rows]
        columns[name or f"unnamed column {j + 1}"] = values
    return Table(columns)


def _read_npz(path: Path, target: str | None) -> Table:
    if not zipfile.is_zipfile(path):
        raise TableError("not an .npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TableError(f"unreadable archive ({error})") from error
    by_lower_case = {name.lower(): array for name, array in arrays.items()}
    if {"x", "x_train", "x_test"}.isdisjoint(by_lower_case):
        return _one_array_per_column(arrays)
    return _inputs_and_target(by_lower_case, target or "y")


def _one_array_per_column(arrays: dict[str, Array]) -> Table:
    hint = "; expected X and y, or one array per column"
    if not arrays:
        raise TableError(f"the archive is empty{hint}")
    columns = {}
    for name, array in arrays.items():
        if array.ndim == 0 or array.size != len(array):
            raise TableError(f"array {name!r} has shape {array.shape}{hint}")
        columns[name] = _plain_values(name, array.reshape(-1))
    if len({len(values) for values in columns.values()}) > 1:
        lengths = listing(f"{name} {len(values)}" for name, values in columns.items())
        raise TableError(f"the arrays differ in length ({lengths}){hint}")
    return Table(columns)


def _inputs_and_target(arrays: dict[str, Array], target: str) -> Table:
    X, n_train = _joined(arrays, "x")
    n_rows = len(X)
    X = X.reshape(n_rows, int(np.prod(X.shape[1:])))
    names = [str(name) for name in np.ravel(arrays.get("feature_names", []))]
    if len(names) != X.shape[1] or len(set(names)) != len(names):
        names = [f"x{j}" for j in range(X.shape[1])]
    X = _plain_values("x", X)
    columns = {name: X[:, j] for j, name in enumerate(names)}
    base = target.lower()
    if any(base + part in arrays for part in ("", "_train", "_test")):
        y, _ = _joined(arrays, base)
        if len(y) != n_rows:
            raise TableError(f"{target} has {len(y)} rows where X has {n_rows}")
        if y.size != n_rows:
            raise TableError(
                f"{target} has shape {y.shape}; only one target column can be learned"
            )
        columns[target] = _plain_values(target, y.reshape(-1))
    return Table(columns, n_train, target)


def _joined(arrays: dict[str, Array], base: str) -> tuple[Array, int | None]:
    """Return array `base`, or its training part above its testing part."""
    if base in arrays:
        parts = [arrays[base]]
    else:
        names = (base + "_train", base + "_test")
        parts = [arrays[name] for name in names if name in arrays]
    if any(part.ndim == 0 for part in parts):
        raise TableError(f"array {base!r} has no rows")
    if len(parts) == 1:
        return parts[0], None
    try:
        return np.concatenate(parts), len(parts[0])
    except ValueError as error:
        raise TableError(
            f"{base}_train and {base}_test differ in shape: "
            f"{parts[0].shape} and {parts[1].shape}"
        ) from error


def _plain_values(name: str, values: Array) -> Array:
    """Return numbers as they are and everything else as an object array of str."""
    if values.dtype.kind in "iuf":
        return values
    if values.dtype.kind not in "bUS":
        raise TableError(f"array {name!r} holds neither numbers nor text")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return np.char.strip(values.astype(str)).astype(object)


# ------------------------------------------------------------ kinds of columns


def missing_values(values: Array) -> NDArray[np.bool_]:
    """Return where a column has no value."""
    if values.dtype == object:
        return np.array([value.lower() in MISSING for value in values], dtype=bool)
    return np.isnan(values)


def _as_numbers(values: Array) -> Array | None:
    """Return a column as numbers with NaN for missing, or None if it is text."""
    if values.dtype != object:
        return values
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
