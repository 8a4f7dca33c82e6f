"""Columns of a table: numbers or text, formats of numbers, missing cells.

A column of text is read as numbers if every cell that is not missing is a number. Numbers
have a decimal point, as in 1,234.5, or a decimal comma, as in 1.234,5; in both formats a
blank or an apostrophe may separate thousands. If the cells of a column fit both formats, as
1,234 does, the model that was trained on the column, the other columns and the delimiter of
the file decide, in this order.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "OddCell", "Reading", "read_columns"]

Array = NDArray[Any]

MISSING = frozenset(
    [
        *("", "?", "na", "n/a", "nan", "-nan", "+nan", "null", "<na>", "nat", "\\n"),
        *("#n/a", "#n/a n/a", "#na", "#div/0!", "#value!", "#ref!", "#name?", "#num!"),
        *("#null!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    ]
)
"""Cells without a value, in lower case, of pandas, spreadsheets, C and MySQL."""

MISSING_NUMBERS = MISSING | frozenset(
    ["none", "missing", "n.a.", "n.a", ".", "-", "--", "---", "–", "—", "(null)"]
)
"""Cells without a value among numbers; in columns of text they are texts."""

MOST = 0.9
"""Share of numbers among the cells from which the others are taken for mistakes."""

DECIMAL_COMMAS = "decimal commas"
THOUSANDS = "thousands separators"
CURRENCY = "currency signs"
PERCENT = "percent signs"

CURRENCIES = "$€£¥₩₹₽₺₪₫฿¢"
BLANKS = " \u00a0\u2009\u202f"


def _number(decimal: str, other: str) -> re.Pattern[str]:
    """Return a pattern of digits with this decimal sign; the other separates thousands."""
    point = re.escape(decimal)
    separator = f"[{re.escape(other)}{BLANKS}'’]"
    return re.compile(
        rf"[0-9]+(?:{point}[0-9]*)?(?:[eE][-+]?[0-9]+)?"
        rf"|{point}[0-9]+(?:[eE][-+]?[0-9]+)?"
        rf"|[1-9][0-9]{{,2}}({separator})[0-9]{{3}}(?:\1[0-9]{{3}})*(?:{point}[0-9]*)?"
    )


NUMBERS = {".": _number(".", ","), ",": _number(",", ".")}

DRESSED = re.compile(
    rf"(?P<sign>[-+−]?)(?P<before>[{CURRENCIES}]?)[{BLANKS}]*(?P<late_sign>[-+−]?)"
    rf"(?P<digits>[0-9.,].*?)[{BLANKS}]*(?P<after>[{CURRENCIES}%]?)"
)

INFINITE = re.compile(r"[-+]?inf(?:inity)?", re.IGNORECASE)


class _Dressed(NamedTuple):
    """A parsed cell: its sign, its digits, and a sign of currency or percent."""

    sign: str
    digits: str
    mark: str


def _undress(text: str) -> _Dressed | None:
    match = DRESSED.fullmatch(text)
    if match is None:
        return _Dressed("", text, "") if INFINITE.fullmatch(text) else None
    sign, before, late_sign, digits, after = match.groups()
    if (sign and late_sign) or (before and after):
        return None
    return _Dressed((sign or late_sign).replace("−", "-"), digits, before or after)


def _fits(digits: str, decimal: str) -> bool:
    return bool(NUMBERS[decimal].fullmatch(digits) or INFINITE.fullmatch(digits))


def _other(decimal: str) -> str:
    return "," if decimal == "." else "."


class OddCell(NamedTuple):
    """The first cell that is not a number, in a column where most cells are numbers.

    Parameters
    ----------
    row : int
        Row of the cell.
    text : str
        Content of the cell.
    n_different : int
        Number of distinct cells that are not numbers.
    n_numbers, n_present : int
        Number of cells that are numbers with this decimal sign, and that are not
        missing.
    decimal : str
        The decimal sign of the numbers.
    """

    row: int
    text: str
    n_different: int
    n_numbers: int
    n_present: int
    decimal: str


@dataclass(frozen=True)
class Column:
    """A column whose cells have been read.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        The cells: numbers, or objects of type str.
    missing : ndarray of shape (n_rows,) of bool
        True where the value is missing.
    numbers : ndarray of shape (n_rows,) or None
        The values as numbers, NaN for missing ones; None for a column of text.
    odd : OddCell or None
        The first cell that is not a number, if most cells are numbers.
    n_numbers : int
        Number of numbers in a column of text.
    is_code : bool
        Whether a text consists of digits with leading zeros, such as 00501.
    decimal : str or None
        The decimal sign, if the cells show one.
    marks : tuple of str
        Other signs in the cells than digits and a decimal point.
    """

    values: Array
    missing: NDArray[np.bool_]
    numbers: Array | None = None
    odd: OddCell | None = None
    n_numbers: int = 0
    is_code: bool = False
    decimal: str | None = None
    marks: tuple[str, ...] = ()

    def texts(self) -> Array:
        """Return the cells as str, and as "" where they are missing."""
        values = self.values
        if values.dtype != object:
            whole = values.dtype.kind == "f" and np.all(values[~self.missing] % 1 == 0)
            cells = [str(int(v) if whole and v == v else v) for v in values.tolist()]
            values = np.array(cells, dtype=object)
        return np.where(self.missing, "", values)


@dataclass(frozen=True)
class Reading:
    """Instructions of the user or the model for reading cells.

    Parameters
    ----------
    numeric, categorical : collection of str
        Columns to read as numbers, and as text, regardless of their cells.
    missing : collection of str
        Further contents of missing cells; a number matches all cells of the same value
        in columns of numbers.
    decimal : str or None
        The decimal sign of all columns; None to infer it from the cells.
    assumed : mapping of str to str
        The decimal sign of columns whose cells do not determine it.
    """

    numeric: Collection[str] = ()
    categorical: Collection[str] = ()
    missing: Collection[str] = ()
    decimal: str | None = None
    assumed: Mapping[str, str] = field(default_factory=dict)


def read_columns(
    columns: Mapping[str, Array], fallback: str = ".", reading: Reading | None = None
) -> dict[str, Column]:
    """Read the cells of all columns.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n_rows,)
        Numbers, or objects of type str without surrounding blanks.
    fallback : {'.', ','}
        The decimal sign to assume if the cells do not determine it.
    reading : Reading or None
        Instructions for reading the cells.

    Returns
    -------
    dict of str to Column
    """
    reading = reading or Reading()
    cells = {
        name: _Cells(values, reading)
        for name, values in columns.items()
        if values.dtype == object and name not in reading.categorical
    }
    proofs = {cell.proof for cell in cells.values() if cell.mostly_numbers} - {None}
    proof = proofs.pop() if len(proofs) == 1 else None
    read = {}
    for name, values in columns.items():
        if name in cells:
            known = reading.decimal or cells[name].proof or reading.assumed.get(name)
            decimal = known or cells[name].likely_decimal(proof, fallback)
            read[name] = cells.pop(name).column(decimal, name in reading.numeric)
        elif values.dtype == object:
            missing = _is_missing(values, MISSING, reading.missing)
            read[name] = Column(values, missing)
        else:
            read[name] = _column_of_numbers(
                values, reading.missing, name in reading.categorical
            )
    return read


def _is_missing(
    texts: Iterable[str], signs: Collection[str], further: Collection[str]
) -> NDArray[np.bool_]:
    missing = [text in further or text.lower() in signs for text in texts]
    return np.array(missing, dtype=bool)


def _as_floats(texts: Iterable[str]) -> list[float]:
    """Return those of the texts that are plain numbers."""
    dressed = (_undress(text) for text in texts)
    return [
        float(d.sign + d.digits)
        for d in dressed
        if d is not None and not d.mark and re.fullmatch(r"[0-9.eE+-]+", d.digits)
    ]


def _column_of_numbers(
    values: Array, further: Collection[str], categorical: bool
) -> Column:
    """Read a column of an archive."""
    # half precision cannot hold the largest number that is accepted
    numbers = values.astype(np.float32) if values.dtype == np.float16 else values
    missing = np.isnan(numbers)
    if signs := _as_floats(further):
        missing |= np.isin(numbers, signs)
    if missing.any():
        numbers = np.where(missing, np.nan, numbers)
    if categorical:
        return Column(values, missing)
    return Column(values, missing, numbers)


class _Cells:
    """The distinct cells of a column of text, and which of them are numbers.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        The cells.
    reading : Reading
        Instructions, which include the contents of missing cells.
    """

    def __init__(self, values: Array, reading: Reading) -> None:
        self.values = values
        self.further = reading.missing
        self.texts: Any = values
        self.codes: Any = slice(None)  # from the distinct texts to the rows
        self.missing = np.zeros(len(values), dtype=bool)
        self.plain = None if self.further else self._plain_numbers()
        if self.plain is None:
            index: dict[str, int] = {}
            codes = (index.setdefault(value, len(index)) for value in values)
            self.codes = np.fromiter(codes, np.intp, len(values))
            self.texts = np.array(list(index), dtype=object)
            self.missing = _is_missing(self.texts, MISSING_NUMBERS, self.further)
            self.plain = self._plain_numbers()
        present = self.texts[~self.missing]
        joined = "".join(present)
        self.signs = {sign for sign in ".," if sign in joined}
        self.dressed = None if self.plain else [_undress(t) for t in self.texts]
        self.mark = ""
        if self.dressed:
            self.mark = self._common_mark()
        self.mostly_numbers = self.plain is not None
        self.proof = self._proof()

    def _plain_numbers(self) -> tuple[str, Array] | None:
        """Return the decimal sign and the numbers, if float() reads all cells.

        This is the case for most columns of numbers, and the fastest way.
        """
        present = self.texts[~self.missing]
        joined = "".join(present)
        # float() accepts 12_34, nan, inf and the digits of all scripts
        if not joined.isascii() or re.search("[_nN]", joined):
            return None
        decimal = "," if "," in joined else "."
        if decimal == ",":
            if "." in joined:
                return None
            present = np.array([text.replace(",", ".") for text in present], object)
        numbers = np.full(len(self.texts), np.nan)
        try:
            numbers[~self.missing] = present.astype(np.float64)
        except ValueError:
            return None
        return decimal, numbers

    def _plain_with(self, decimal: str) -> Array | None:
        """Return the plain numbers, if they have this decimal sign or none."""
        if self.plain is None or (self.signs and self.plain[0] != decimal):
            return None
        return self.plain[1]

    def _weights(self) -> Array:
        """Return the number of rows with each of the texts."""
        if isinstance(self.codes, slice):
            return np.ones(len(self.texts), dtype=np.intp)
        counts: Array = np.bincount(self.codes, minlength=len(self.texts))
        return counts

    def _common_mark(self) -> str:
        """Return the sign of currency or percent of the column's numbers."""
        assert self.dressed is not None
        counts: Counter[str] = Counter()
        for dressed, weight in zip(self.dressed, self._weights(), strict=True):
            if dressed is not None:
                counts[dressed.mark] += int(weight)
        marks = [mark for mark, _ in counts.most_common() if mark]
        # 12% and 12 are different numbers; $12 and 12 are not
        if not marks or (marks[0] == "%" and counts["%"] < counts[""]):
            return ""
        return marks[0]

    def _fit(self, decimal: str) -> NDArray[np.bool_]:
        """Return which texts are numbers with this decimal sign."""
        if self._plain_with(decimal) is not None:
            return ~self.missing
        dressed = self.dressed or (_undress(text) for text in self.texts)
        marks = (self.mark,) if self.mark == "%" else ("", self.mark)
        fit = [
            d is not None and d.mark in marks and _fits(d.digits, decimal)
            for d in dressed
        ]
        return np.array(fit, dtype=bool) & ~self.missing

    def _proof(self) -> str | None:
        """Return the decimal sign, if the cells determine it."""
        if not self.signs:
            return None
        if self.plain:
            other = _other(self.plain[0])
            present = self.texts[~self.missing]
            both = all(_fits(text.lstrip("+-"), other) for text in present)
            return None if both else self.plain[0]
        weights = self._weights()
        point, comma = (int(weights[self._fit(sign)].sum()) for sign in ".,")
        n_present = int(weights[~self.missing].sum())
        self.mostly_numbers = max(point, comma) >= MOST * n_present
        return None if point == comma else "." if point > comma else ","

    def likely_decimal(self, proof: str | None, fallback: str) -> str:
        """Return the decimal sign of cells that fit both.

        Parameters
        ----------
        proof : {'.', ','} or None
            The sign that other columns determine.
        fallback : {'.', ','}
            The usual sign in this type of file.
        """
        if not self.signs:
            return proof or fallback
        # 1,234 beside 56789: the comma does not separate thousands everywhere
        uneven = any(re.fullmatch("[-+]?[0-9]{4,}", text) for text in self.texts)
        if self.signs == {"."}:
            return "," if proof == "," and not uneven else "."
        if self.signs == {","} and uneven:
            return proof or ","
        return proof or fallback

    def column(self, decimal: str, numeric: bool) -> Column:
        """Return the column: numbers if all cells are, or if it must be `numeric`."""
        fit = self._fit(decimal)
        all_fit = bool(np.all(fit | self.missing)) and (numeric or bool(np.any(fit)))
        codes = not numeric and self._are_codes(self.texts[fit])
        if all_fit and not codes:
            return self._numbers(decimal)
        weights = self._weights()
        n_present = int(weights[~self.missing].sum())
        n_fit = int(weights[fit].sum())
        # a decimal comma among points is a typing error rather than text
        either = fit if all_fit else fit | self._fit(_other(decimal))
        n_numbers = int(weights[either].sum())
        mostly = n_numbers >= MOST * n_present
        odd = None
        if numeric or (mostly and n_present and not codes):
            wrong = np.flatnonzero(~fit & ~self.missing)
            rows = np.arange(len(self.texts))[self.codes]
            row = int(np.flatnonzero(np.isin(rows, wrong))[0])
            text = str(self.values[row])
            odd = OddCell(row, text, len(wrong), n_fit, n_present, decimal)
        missing = self.missing
        if odd is None and n_present:
            missing = _is_missing(self.texts, MISSING, self.further)
        return Column(
            self.values, missing[self.codes], None, odd, n_numbers, codes and mostly
        )

    @staticmethod
    def _are_codes(texts: Array) -> bool:
        """Distinguish digits with leading zeros from numbers."""
        if not "".join(texts).isdecimal():
            return False
        return any(len(text) > 1 and text[0] == "0" for text in texts)

    def _numbers(self, decimal: str) -> Column:
        marks = []
        numbers = self._plain_with(decimal)
        if numbers is None:
            numbers = np.full(len(self.texts), np.nan)
            grouped = False
            for i in np.flatnonzero(~self.missing):
                dressed = _undress(self.texts[i])
                assert dressed is not None
                digits = re.sub(f"[{_other(decimal)}{BLANKS}'’]", "", dressed.digits)
                grouped = grouped or len(digits) < len(dressed.digits)
                numbers[i] = float(dressed.sign + digits.replace(",", "."))
            if grouped:
                marks.append(THOUSANDS)
        if decimal == "," and "," in self.signs:
            marks.append(DECIMAL_COMMAS)
        if self.mark:
            marks.append(PERCENT if self.mark == "%" else CURRENCY)
        signs = {t for t in self.texts[self.missing] if t.lower() not in MISSING}
        signs = signs.difference(self.further)
        marks += [f"{sign!r} for missing values" for sign in sorted(signs)]
        if self.further:
            lookalikes = np.isin(numbers, _as_floats(self.further))
            numbers = np.where(lookalikes, np.nan, numbers)
        numbers = numbers[self.codes]
        missing = np.isnan(numbers)
        shown = decimal if self.signs else None
        return Column(self.values, missing, numbers, decimal=shown, marks=tuple(marks))
