"""Tables from text files and `.npz` archives: named columns of numbers or text."""

import difflib
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.cli.text_tables import Source, TableError, read_text_table

__all__ = ["Table", "TableError", "listing", "read_table"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n_rows,)
        Numbers (integer or floating point), or text (object array of str).
    n_train : int or None
        Number of leading rows for training, the others being for testing, if the file
        specifies it.
    target : str or None
        The column to predict, if the file specifies it.
    decimal : {'.', ','}
        The usual decimal sign in files of this type.
    notes : tuple of str
        Messages about the file for the user.
    line : callable or None
        Returns the line of the file in which a row of the file begins.
    origin : ndarray of shape (n_rows,) or None
        Indices of the rows in the file; None if all rows are present.
    """

    columns: dict[str, Array]
    n_train: int | None = None
    target: str | None = None
    decimal: str = "."
    notes: tuple[str, ...] = ()
    line: Callable[[int], int | None] | None = None
    origin: Array | None = None

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
        origin = np.arange(self.n_rows) if self.origin is None else self.origin
        return replace(self, columns=columns, n_train=n_train, origin=origin[keep])

    def place(self, row: int) -> str:
        """Return the place of a row in the file, for messages."""
        row = row if self.origin is None else int(self.origin[row])
        line = None if self.line is None else self.line(row)
        return f"row {row + 1}" if line is None else f"line {line}"


def listing(names: Iterable[str], limit: int = 20) -> str:
    """Return the names in one line, cut after `limit` of them."""
    names = list(names)
    text = ", ".join(names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def read_table(
    path: Path,
    target: str | None = None,
    *,
    inputs: Collection[str] | None = None,
) -> Table:
    """Read a `.npz` archive, or any other file as text.

    Parameters
    ----------
    path : Path
        The file; `-` is the standard input. An archive contains `X` and `y`, or `x_train`,
        `y_train`, `x_test` and `y_test`, or one array per column; `X` may have any number
        of dimensions and its columns are called x0, x1, ... unless `feature_names` names
        them. Text has a header; cells are separated by commas, semicolons, tabs or bars.
    target : str or None
        Array to use instead of `y` together with `X`.
    inputs : collection of str or None
        The columns that a prediction needs. Only these are read from an archive, and
        `x_test` instead of `x_train`.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        If the file is missing, unreadable, ragged or without rows.
    """
    try:
        source = Source.of(path)
        is_archive = source.is_npz()
        table = _read_npz(source, target, inputs) if is_archive else _read_text(source)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    if not table.n_rows:
        raise TableError(f"{path} has no rows")
    return table


def _read_text(source: Source) -> Table:
    text = read_text_table(source)
    columns = dict(zip(text.header, text.columns, strict=True))
    decimal = "," if text.delimiter in ";\t" else "."
    return Table(columns, decimal=decimal, notes=tuple(text.notes), line=text.line)


def _read_npz(
    source: Source, target: str | None, inputs: Collection[str] | None
) -> Table:
    with source.open() as file:
        if not zipfile.is_zipfile(file):
            raise TableError("not an .npz archive")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                stored = archive.files
                names = stored if inputs is None else _needed(stored, inputs)
                arrays = {name: archive[name] for name in names}
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile and np.load can raise anything
            raise TableError(f"unreadable archive ({error})") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TableError(f"unreadable archive ({name!r} is not an array)")
    by_lower_case = {name.lower(): array for name, array in arrays.items()}
    if {"x", "x_train", "x_test"}.isdisjoint(by_lower_case):
        return _one_array_per_column(arrays)
    return _inputs_and_target(by_lower_case, target or "y")


def _needed(names: Sequence[str], inputs: Collection[str]) -> list[str]:
    """Return only those arrays of an archive that a prediction needs."""
    by_lower_case = {name.lower(): name for name in names}
    for name in ("x", "x_test", "x_train"):
        if name in by_lower_case:
            wanted = (name, "feature_names")
            return [by_lower_case[n] for n in wanted if n in by_lower_case]
    # if none of them exists, read all arrays, for a better error message
    return [name for name in names if name in inputs] or list(names)


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
                f"{target} has shape {y.shape}; only one target column is supported"
            )
        columns[target] = _plain_values(target, y.reshape(-1))
    return Table(columns, n_train, target)


def _joined(arrays: dict[str, Array], base: str) -> tuple[Array, int | None]:
    """Return array `base`, or its training part followed by its testing part."""
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
        raise TableError(f"array {name!r} contains neither numbers nor text")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return np.char.strip(values.astype(str)).astype(object)
