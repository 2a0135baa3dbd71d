"""Collects what a stage emits, column by column."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any, NoReturn

from . import _contract as contract
from ._record import Record
from ._setup import NO_TIME, Port

_MOST = 2**63 - 1


class Bad(Exception):
    """What was set in some rows cannot be written: why, by the row."""

    def __init__(self, rows: dict[int, str]) -> None:
        super().__init__(next(iter(rows.values())))
        self.rows = rows


class Row:
    """A record to be emitted: change what should be different.

    It is the one that was emitted last: change it before the next one. Texts are written as UTF-8;
    `None` takes the value away.
    """

    # Of each row, the input row that it descends from; of the columns, what was set by the number of the
    # row, beginning with 1.
    __slots__ = ("_attributes", "_keys", "_parents", "_record", "_times", "_values")
    _parents: list[int]
    _values: dict[int, Any]
    _keys: dict[int, Any]
    _times: dict[int, Any]
    _attributes: dict[str, dict[int, Any]]

    def __init__(self, record: Record) -> None:
        self._record = record
        self._reset()

    def value(self, value: str | bytes | None) -> Row:
        """Sets the value."""
        self._values[len(self._parents)] = value
        return self

    def key(self, key: str | bytes | None) -> Row:
        """Sets the key."""
        self._keys[len(self._parents)] = key
        return self

    def attribute(self, name: str, value: str | bytes | None) -> Row:
        """Adds an attribute, or changes it."""
        try:
            self._attributes[name][len(self._parents)] = value
        except KeyError:
            if not isinstance(name, str) or not name:
                raise TypeError("the name of an attribute is a text that is not empty") from None
            name.encode()  # An error if it has lone surrogates.
            self._attributes[name] = {len(self._parents): value}
        return self

    def remove_attribute(self, name: str) -> Row:
        """Removes an attribute."""
        return self.attribute(name, None)

    def timestamp(self, nanoseconds: int | None) -> Row:
        """Sets the timestamp, in nanoseconds since the Unix epoch."""
        self._times[len(self._parents)] = nanoseconds
        return self

    def _reset(self) -> None:
        self._parents = []
        self._values = {}
        self._keys = {}
        self._times = {}
        self._attributes = {}

    def _columns(self) -> list[dict[int, Any]]:
        return [self._values, self._keys, self._times, *self._attributes.values()]

    def _take_back(self, row: int) -> None:
        """Removes the rows at the end that descend from this one."""
        parents = self._parents
        if not parents or parents[-1] != row:
            return
        while parents and parents[-1] == row:
            parents.pop()
        n = len(parents)
        for column in self._columns():
            while column and next(reversed(column)) > n:
                column.popitem()

    def _take_out(self, rows: set[int]) -> None:
        """Removes all rows that descend from these, wherever they are."""
        if rows.isdisjoint(self._parents):
            return
        numbers, kept = {}, []
        for number, parent in enumerate(self._parents, 1):
            if parent not in rows:
                kept.append(parent)
                numbers[number] = len(kept)
        for column in self._columns():
            left = {numbers[number]: value for number, value in column.items() if number in numbers}
            column.clear()
            column.update(left)
        self._parents = kept

    def _output(self, port: int, fresh: bool, all_rows: bytes) -> Any:
        n = len(self._parents)
        attributes, removed = [], []
        for name, column in self._attributes.items():
            if not fresh and len(column) == n and not any(value is not None for value in column.values()):
                removed.append(name)
            elif column:
                attributes.append(contract.AttributeChange(name, _change(column, n, fresh)))
        if fresh:
            rows: Any = contract.Rows_Fresh(n)
        else:
            packed = array("I", self._parents).tobytes()
            rows = contract.Rows_All() if packed == all_rows else contract.Rows_Picked(packed)
        return contract.Output(
            port,
            rows,
            _times(self._times, n, fresh) if self._times else None,
            _change(self._keys, n, fresh) if self._keys else None,
            _change(self._values, n, fresh) if self._values else None,
            attributes,
            removed,
            [],
        )


def _change(column: dict[int, Any], n: int, fresh: bool) -> Any:
    if len(column) == n and 0 not in column:
        # The usual case: every row was set, to texts.
        values = column.values()
        try:
            text = "".join(values)
            parts: Any = values if text.isascii() else [value.encode() for value in values]
            ends = array("I", accumulate(map(len, parts))).tobytes()
            return contract.Change(ends, text.encode(), b"", b"")
        except (TypeError, UnicodeEncodeError):
            pass  # Something else than texts: bytes, nothing, or what is not allowed; or lone surrogates.
    return _mixed_change(column, n, fresh)


def _mixed_change(column: dict[int, Any], n: int, fresh: bool) -> Any:
    parts, ends, nulls, inherited = [], array("I"), array("I"), array("I")
    bad: dict[int, str] = {}
    end = 0
    for number in range(1, n + 1):
        value = column.get(number, ...)
        if isinstance(value, str):
            try:
                value = value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                bad[number] = f"UnicodeEncodeError: {error}"
            else:
                parts.append(value)
                end += len(value)
        elif isinstance(value, bytes):
            parts.append(value)
            end += len(value)
        elif value is None or (value is ... and fresh):
            nulls.append(number - 1)
        elif value is ...:
            inherited.append(number - 1)
        else:
            bad[number] = f"TypeError: a column takes str, bytes or None, not {type(value).__qualname__}"
        ends.append(end)
    if bad:
        raise Bad(bad)
    return contract.Change(ends.tobytes(), b"".join(parts), nulls.tobytes(), inherited.tobytes())


def _times(column: dict[int, Any], n: int, fresh: bool) -> Any:
    times, inherited = array("q"), array("I")
    bad: dict[int, str] = {}
    for number in range(1, n + 1):
        time = column.get(number, ...)
        if time is ... and not fresh:
            inherited.append(number - 1)
        if time is ... or time is None:
            time = NO_TIME
        elif not isinstance(time, int):
            bad[number] = f"TypeError: a timestamp takes int or None, not {type(time).__qualname__}"
            continue
        elif not -_MOST <= time <= _MOST:
            bad[number] = "OverflowError: the timestamp is not between the years 1677 and 2262"
            continue
        times.append(time)
    if bad:
        raise Bad(bad)
    return contract.TimestampsChange(times.tobytes(), inherited.tobytes())


class Out(Row):
    """Takes what a stage emits. By itself, it is also the row of the default port."""

    __slots__ = ("_all", "_created", "_ports")
    _created: dict[int, Row]

    def __init__(self, record: Record, ports: int) -> None:
        super().__init__(record)
        self._ports: list[Row] = [self, *(Row(record) for _ in range(1, ports))]
        self._created = {}
        self._all: tuple[int, bytes] = (0, b"")

    def keep(self) -> Row:
        """Emits the current record on the default port. All that the returned row does not change is
        inherited. Call it again to emit the record once more."""
        self._parents.append(self._record.row)
        return self

    def send(self, port: Port) -> Row:
        """As `keep`, on another port."""
        row = self._ports[port]
        row._parents.append(self._record.row)
        return row

    def create(self) -> Row:
        """Emits a new record on the default port. It inherits nothing: parts that are not set are
        absent. The new records of a batch come after those that were kept."""
        return self.create_on(Port(0))

    def create_on(self, port: Port) -> Row:
        """As `create`, on another port."""
        try:
            row = self._created[port]
        except KeyError:
            self._ports[port]  # An IndexError if there is no such port.
            row = self._created[port] = Row(self._record)
        row._parents.append(self._record.row)  # To remove it if the record is rejected.
        return row

    def _take_back_record(self) -> None:
        for row in (*self._ports, *self._created.values()):
            row._take_back(self._record.row)

    def _outcome(self, n: int, rejected: list[Any]) -> Any:
        """What was emitted for a batch of `n` records."""
        if self._all[0] != n:
            self._all = (n, array("I", range(n)).tobytes())
        outputs: list[Any] = []
        kept = [(port, row, False) for port, row in enumerate(self._ports)]
        created = [(port, row, True) for port, row in self._created.items()]
        while True:
            try:
                for port, row, fresh in kept + created:
                    if row._parents:
                        outputs.append(row._output(port, fresh, self._all[1]))
                break
            except Bad as bad:
                outputs.clear()
                parents = {row._parents[number - 1]: reason for number, reason in bad.rows.items()}
                for _, other, _ in kept + created:
                    other._take_out(set(parents))
                rejected.extend(contract.Rejection(parent, reason, False) for parent, reason in parents.items())
        for row in self._ports:
            row._reset()
        self._created.clear()
        return contract.Outcome(outputs, rejected)


class FreshOut(Out):
    """Takes what a stage emits between batches: new records alone."""

    __slots__ = ()

    def keep(self) -> NoReturn:
        raise RuntimeError("there is no record that could be kept: out.create() makes a new one")

    def send(self, port: Port) -> NoReturn:
        raise RuntimeError("there is no record that could be sent: out.create_on(port) makes a new one")

    def _outcome_of_new(self) -> Any:
        outputs = [row._output(port, True, b"") for port, row in self._created.items() if row._parents]
        return contract.Outcome(outputs, [])
