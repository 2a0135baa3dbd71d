"""The view of a record: a row number over the columns of a batch."""

from __future__ import annotations

import builtins
from array import array
from typing import Any, overload

from ._setup import NO_TIME, NOTHING, Column, Field, Input, Time


class Record:
    """One record. The stage sees the columns that it declared in `Stage.open`.

    There is one object for all records, which the SDK moves on: keep what you read, not the record.
    """

    __slots__ = ("input", "row")
    row: int
    input: int

    @overload
    def __getitem__(self, field: Time) -> int | None: ...
    @overload
    def __getitem__(self, field: Field) -> str | None: ...
    def __getitem__(self, field: Any) -> Any:
        """The text of a field, or `None` if the record has none there. Bytes that are not UTF-8 are
        there as lone surrogates, and become the same bytes again when they are written
        (``errors="surrogateescape"``). Of a timestamp: nanoseconds since the Unix epoch."""
        return field.rows[self.row]

    def bytes(self, field: Field) -> builtins.bytes | None:
        """The bytes of a field, or `None` if the record has none there."""
        return field.raw[self.row]  # type: ignore[no-any-return]

    def is_from(self, input: Input) -> bool:
        """Whether the record came in by this input."""
        return self.input == input


class _Lazy:
    """Stands for the rows of a column until one of them is asked for."""

    __slots__ = ("column", "field")

    def __init__(self, field: Column, column: Any) -> None:
        self.field = field
        self.column = column


class _LazyText(_Lazy):
    __slots__ = ()

    def __getitem__(self, row: int) -> str | None:
        self.field.rows = rows = texts(self.column)
        return rows[row]


class _LazyRaw(_Lazy):
    __slots__ = ()

    def __getitem__(self, row: int) -> bytes | None:
        self.field.raw = rows = raws(self.column)
        return rows[row]


class _LazyTimes(_Lazy):
    __slots__ = ()

    def __getitem__(self, row: int) -> int | None:
        self.field.rows = rows = times(self.column)
        return rows[row]


def fill(field: Column, column: Any, n: int) -> None:
    """Gives a field the column of a batch."""
    if column is None:
        field.rows = field.raw = [None] * n
    elif isinstance(field, Time):
        field.rows = _LazyTimes(field, column)
    else:
        field.rows = _LazyText(field, column)
        field.raw = _LazyRaw(field, column)


def clear(field: Column) -> None:
    field.rows = field.raw = NOTHING


# An array makes the numbers one by one, as they are needed, so that Python uses one object again and
# again: in a sandbox that is twice as fast as a list of them.


def texts(column: Any) -> list[str | None]:
    start = 0
    rows: list[str | None]
    try:
        text = column.data.decode("ascii")
    except UnicodeDecodeError:
        data = column.data
        try:
            rows = [data[start : (start := end)].decode() for end in array("I", column.ends)]
        except UnicodeDecodeError:
            start = 0
            rows = [data[start : (start := end)].decode("utf-8", "surrogateescape") for end in array("I", column.ends)]
    else:
        rows = [text[start : (start := end)] for end in array("I", column.ends)]
    if column.nulls:
        for row in array("I", column.nulls):
            rows[row] = None
    return rows


def raws(column: Any) -> list[bytes | None]:
    data, start = column.data, 0
    rows: list[bytes | None] = [data[start : (start := end)] for end in array("I", column.ends)]
    if column.nulls:
        for row in array("I", column.nulls):
            rows[row] = None
    return rows


def times(packed: bytes) -> list[int | None]:
    rows: list[int | None] = array("q", packed).tolist()  # type: ignore[assignment]
    if NO_TIME in rows:
        rows = [None if time == NO_TIME else time for time in rows]
    return rows
