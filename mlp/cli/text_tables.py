"""Text files of tables: compression, encoding, delimiter, and the cells as text.

pandas parses the cells. This module recognises compressed files and encodings by their
first bytes, finds the delimiter, refuses ragged rows, and finds the line of the file in
which a row begins.
"""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Source", "TableError", "TextTable", "read_text_table"]

Array = NDArray[Any]


class TableError(ValueError):
    """An error in the user's file or command, described in one line."""


DELIMITERS = "\t;,|"
"""In the order in which they are preferred where several would fit."""

SAMPLE_ROWS = 20
"""Rows below the header that the delimiter is judged by."""

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is a prefix of it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

OTHER_FORMATS = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"SQLite format 3": "an SQLite database",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b'{"': "JSON",
    b"[{": "JSON",
}

CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a"))
END_OF_FILE = "\x1a"  # DOS ended text files with Control-Z, and some programs still do


@dataclass(frozen=True)
class Source:
    """The bytes of a file, or of a pipe, which can be read only once.

    Parameters
    ----------
    path : Path
        The file; `-` is the standard input.
    content : bytes or None
        The bytes that came through a pipe; None for a file that can be opened again.
    """

    path: Path
    content: bytes | None

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Open `path`, and read it if it can be read only once."""
        if str(path) == "-":
            if sys.stdin is None:
                raise TableError("there is no standard input")
            return cls(path, sys.stdin.buffer.read())
        if not os.path.exists(path):
            raise TableError("no such file")
        with open(path, "rb") as file:
            return cls(path, None if file.seekable() else file.read())

    def open(self) -> IO[bytes]:
        """Return the file as it is stored, at its beginning."""
        if self.content is not None:
            return io.BytesIO(self.content)
        return open(self.path, "rb")

    def is_npz(self) -> bool:
        """Return whether the file is an archive of arrays, by its name or its members."""
        if self.path.suffix.lower() == ".npz":
            return True
        names = self._members()
        return bool(names) and all(name.endswith(".npy") for name in names)

    def _members(self) -> list[str]:
        with self.open() as file:
            if file.read(4) != b"PK\x03\x04" or not zipfile.is_zipfile(file):
                return []
            try:
                with zipfile.ZipFile(file) as archive:
                    names = archive.namelist()
            except Exception as error:  # damaged archives raise many kinds
                raise TableError(f"a damaged archive ({error})") from error
        return [n for n in names if not n.endswith("/") and not n.startswith("__MAC")]

    @contextmanager
    def decompressed(self) -> Iterator[IO[bytes]]:
        """Open the content of a compressed file, or any other file as it is.

        Yields
        ------
        file
        """
        with ExitStack() as stack:
            file: Any = stack.enter_context(self.open())
            start = file.read(6)
            file.seek(0)
            if start.startswith(b"\x1f\x8b"):
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            elif start.startswith(b"BZh"):
                file = stack.enter_context(bz2.BZ2File(file))
            elif start.startswith(b"\xfd7zXZ\x00"):
                file = stack.enter_context(lzma.LZMAFile(file))
            elif names := self._members():
                if "xl/workbook.xml" in names:
                    raise TableError("an Excel workbook; save it as .csv")
                if len(names) > 1:
                    raise TableError(f"a .zip of {len(names)} files; unpack it first")
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(names[0]))
            yield file


@dataclass
class TextTable:
    """A table of text that can find its rows in the file again.

    Parameters
    ----------
    source : Source
        The file.
    encoding : str
        Encoding of the file.
    delimiter : str
        Separator of cells.
    n_skipped : int
        Number of lines before the header.
    header : list of str
        Names of the columns.
    columns : list of ndarray of shape (n_rows,)
        Cells of each column, of type str, without surrounding blanks.
    notes : list of str
        Messages for the user.
    """

    source: Source
    encoding: str
    delimiter: str = ","
    n_skipped: int = 0
    header: list[str] = field(default_factory=list)
    columns: list[Array] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def text(self) -> Iterator[IO[str]]:
        """Open the text after the skipped lines.

        Yields
        ------
        file
        """
        with self.source.decompressed() as file:
            text = io.TextIOWrapper(file, self.encoding, newline="")
            for _ in range(self.n_skipped):
                text.readline()
            yield text

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Read the rows again, from the header on.

        Yields
        ------
        line : int
            The line in which the row begins.
        cells : list of str
            The cells of the row.
        """
        with self.text() as text:
            reader = csv.reader(text, delimiter=self.delimiter, skipinitialspace=True)
            line = self.n_skipped + 1
            for cells in reader:
                if not _is_blank(cells):
                    yield line, cells
                line = self.n_skipped + reader.line_num + 1

    def line(self, row: int) -> int | None:
        """Return the line of the file in which a row begins, or None if csv cannot."""
        try:
            return next(islice(self.records(), row + 1, None))[0]
        except csv.Error:  # a cell has more than 128 KiB
            return None


def _is_blank(cells: list[str]) -> bool:
    return len(cells) <= 1 and "".join(cells).strip() in ("", END_OF_FILE)


def read_text_table(source: Source) -> TextTable:
    """Read all cells as text.

    Parameters
    ----------
    source : Source
        The file; UTF-8, UTF-16 or UTF-32 with a byte order mark, or Windows-1252;
        compressed by gzip, bzip2, xz or zip, or not.

    Returns
    -------
    TextTable

    Raises
    ------
    TableError
        If the file is not a table, has ragged rows, or pandas is missing.
    """
    try:
        with source.decompressed() as file:
            start = file.read(2**16)
        table = TextTable(source, _encoding(start))
        try:
            _parse(table)
        except UnicodeDecodeError:
            _check_windows_1252(table.encoding, start)
            table = TextTable(source, "cp1252")
            _parse(table)
            table.notes.append("Not UTF-8 text: read as Windows-1252 (cp1252)")
    except UnicodeDecodeError as error:
        raise TableError(
            "text in an unknown encoding; convert it to UTF-8 (iconv -f ENCODING "
            "-t UTF-8)"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise TableError(f"a damaged compressed file ({error})") from error
    except RuntimeError as error:  # from zipfile: a password, an unknown method
        raise TableError(f"cannot unpack the file ({error})") from error
    return table


def _encoding(start: bytes) -> str:
    """Return the encoding that the first bytes indicate."""
    for bom, encoding in BOMS.items():
        if start.startswith(bom):
            return encoding
    for magic, name in OTHER_FORMATS.items():
        if start.lstrip().startswith(magic):
            raise TableError(f"{name}; convert it to .csv")
    if 0 in start:
        raise TableError(
            "not a table (binary, or UTF-16 text without a byte order mark)"
        )
    return "utf-8"


def _check_windows_1252(encoding: str, start: bytes) -> None:
    """Refuse bytes that do not occur in text with one byte per character."""
    if encoding != "utf-8":
        raise TableError(f"not a table (it begins like {encoding} but is not)")
    if start.translate(None, CONTROLS) != start or 0x1A in start.rstrip()[:-1]:
        raise TableError("not a table (neither .npz nor text)")


def _parse(table: TextTable) -> None:
    """Find the delimiter, read all cells and check that no row is ragged."""
    try:
        import pandas as pd
    except ImportError as error:
        raise TableError(
            "reading text tables needs pandas: pip install 'fastmlp[table]' "
            "(from a checkout: pip install -e '.[table]')"
        ) from error
    with table.text() as text:
        announced = re.fullmatch(
            r'"?sep=([,;:|^~\t])"?\s*', text.readline(100)
        )  # by Excel
    if announced:
        table.n_skipped, table.delimiter = 1, announced[1]
    else:
        table.delimiter = _delimiter(table)
    try:
        with table.text() as text:
            # The header is read as a row, so that pandas compares the length of all
            # rows with it and uses no column as an index.
            frame = pd.read_csv(
                text,
                sep=table.delimiter,
                header=None,
                dtype=str,
                na_filter=False,
                skipinitialspace=True,
                low_memory=False,
            )
    except pd.errors.EmptyDataError as error:
        message = "empty file; the first line must name the columns"
        raise TableError(message) from error
    except pd.errors.ParserError as error:
        _refuse_ragged_rows(table)
        raise TableError(f"not a table ({error})") from error
    cells = frame.to_numpy(dtype=object)
    if len(cells) > 1 and cells[-1, 0] == END_OF_FILE and not any(cells[-1, 1:]):
        cells = cells[:-1]
    # pandas pads short rows
    if cells.shape[1] > 1 and np.any(cells[:, -1] == ""):
        _refuse_ragged_rows(table)
    table.header = _names(cells[0])
    table.columns = []
    for column in cells[1:].T:
        stripped = np.empty(len(column), dtype=object)
        stripped[:] = [cell.strip() for cell in column]
        table.columns.append(stripped)


def _names(header: Array) -> list[str]:
    names = [name.strip() for name in header]
    if not any(names):
        raise TableError("empty file; the first line must name the columns")
    name, count = Counter(filter(None, names)).most_common(1)[0]
    if count > 1:
        raise TableError(f"two columns are called {name!r}")
    return [name or f"unnamed column {j + 1}" for j, name in enumerate(names)]


def _delimiter(table: TextTable) -> str:
    """Return the delimiter that divides the most rows into as many cells as the header."""
    found, most_alike = ",", 0
    for delimiter in DELIMITERS:
        candidate = TextTable(table.source, table.encoding, delimiter)
        try:
            rows = [cells for _, cells in islice(candidate.records(), SAMPLE_ROWS + 1)]
        except csv.Error:  # an unclosed quotation mark with this delimiter
            continue
        n_alike = sum(len(cells) == len(rows[0]) for cells in rows)
        if n_alike > most_alike and len(rows[0]) > 1:
            found, most_alike = delimiter, n_alike
    return found


def _refuse_ragged_rows(table: TextTable) -> None:
    """Raise if a row and the header differ in the number of cells; name the line."""
    n_cells = None
    try:
        for line, cells in table.records():
            if n_cells is None:
                n_cells = len(cells)
            elif len(cells) != n_cells:
                message = f"line {line} has {len(cells)} cells where the header has "
                hint = "; a quotation mark may be open" if "\n" in cells[-1] else ""
                raise TableError(f"{message}{n_cells}{hint}")
    except csv.Error as error:
        raise TableError(f"not a table ({error})") from error
