"""Runs a stage natively, in a unit test: records in, records out, no WebAssembly.

from pipehost.testing import record, run

def test_errors_go_on():
    disk, started = record("disk full", attributes={"level": "ERROR"}), record("started")
    out = run(OnlyLevel, {"level": "ERROR"}, [disk, started])
    assert out.port("out") == [disk]
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from . import _contract as contract
from ._driver import Opened
from ._output import Out, Row
from ._setup import NO_TIME, Port
from ._stage import Stage, world_of


@dataclass(frozen=True, repr=False)
class TestRecord:
    """A record of a test: build it with `record`."""

    __test__ = False  # So that pytest does not take it for a test.

    value: bytes | None = None
    key: bytes | None = None
    timestamp: int | None = None
    attributes: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def text(self) -> str | None:
        """The value as text."""
        return None if self.value is None else self.value.decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        parts = [_shown(self.value)]
        if self.key is not None:
            parts.append(f"key={_shown(self.key)}")
        if self.timestamp is not None:
            parts.append(f"timestamp={self.timestamp}")
        if self.attributes:
            shown = ", ".join(f"{name!r}: {_shown(value)}" for name, value in self.attributes.items())
            parts.append(f"attributes={{{shown}}}")
        return f"record({', '.join(parts)})"


def _shown(value: bytes | None) -> str:
    try:
        return repr(value.decode()) if value is not None else "None"
    except UnicodeDecodeError:
        return repr(value)


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def record(
    value: str | bytes | None = None,
    *,
    key: str | bytes | None = None,
    timestamp: int | None = None,
    attributes: Mapping[str, str | bytes] | None = None,
) -> TestRecord:
    """A record with these parts and nothing else."""
    return TestRecord(
        None if value is None else _bytes(value),
        None if key is None else _bytes(key),
        timestamp,
        {name: _bytes(value) for name, value in (attributes or {}).items()},
    )


@dataclass
class Outputs:
    """What came out of a stage."""

    ports: dict[str, list[TestRecord]]
    #: The rows that were rejected, and why.
    rejected: list[tuple[int, str]] = field(default_factory=list)
    #: Those of them that may succeed later.
    retryable: list[int] = field(default_factory=list)

    def port(self, name: str) -> list[TestRecord]:
        """The records that went to a port."""
        if name not in self.ports:
            raise KeyError(f"the stage has no port {name!r}; it has {', '.join(self.ports)}")
        return self.ports[name]


def run(stage: type[Stage[Any]], config: Mapping[str, Any], records: Iterable[TestRecord]) -> Outputs:
    """Opens a stage, gives it the records in one batch, and finishes it."""
    driven = Driven(stage, config)
    out = driven.process(records)
    for port, finished in driven.finish().ports.items():
        out.ports[port].extend(finished)
    return out


class Driven:
    """An opened stage, to call it as the host does, but without a host."""

    def __init__(self, stage: type[Stage[Any]], config: Mapping[str, Any] | None = None) -> None:
        world_of(stage)
        self._cls = stage
        self._opened = opened = Opened(stage, json.dumps(config or {}))
        opened.out = _StrictOut(opened.record, len(opened.plan.ports))
        #: What the stage opened with: to look at what it holds.
        self.stage = opened.stage
        self.plan = opened.plan

    def process(self, records: Iterable[TestRecord], input: int = 0) -> Outputs:
        """Processes a batch, from the input of this number."""
        parents = list(records)
        return self._outputs(self._opened.process(self._batch(parents, input)), parents)

    def finish(self) -> Outputs:
        return self._outputs(self._opened.finish(), [])

    def advance(self, watermark: int) -> Outputs:
        return self._outputs(self._opened.advance(watermark), [])

    def restarted(self, config: Mapping[str, Any] | None = None, version: str = "0.0.0") -> Driven:
        """The same stage after a restart, with its state restored; maybe with another configuration.
        Raises what the stage raises if it refuses the state."""
        before = self._opened
        after = Driven(self._cls, json.loads(before.config) if config is None else config)
        after._opened.restore(before.save(), version, before.config)
        return after

    def _batch(self, records: list[TestRecord], input: int) -> Any:
        reads = self.plan.reads

        def column(of: Callable[[TestRecord], bytes | None]) -> Any:
            ends, data, nulls = array("I"), b"", array("I")
            for row, one in enumerate(records):
                value = of(one)
                if value is None:
                    nulls.append(row)
                else:
                    data += value
                ends.append(len(data))
            if len(nulls) == len(records):
                return None
            return SimpleNamespace(ends=ends.tobytes(), data=data, nulls=nulls.tobytes() or None)

        times = array("q", [NO_TIME if one.timestamp is None else one.timestamp for one in records])
        return SimpleNamespace(
            len=len(records),
            timestamps=times.tobytes() if reads.timestamps else None,
            key=column(lambda one: one.key) if reads.key else None,
            value=column(lambda one: one.value) if reads.value else None,
            attributes=[column(partial(_attribute, name)) for name in reads.attributes],
            input=input,
        )

    def _outputs(self, outcome: Any, parents: list[TestRecord]) -> Outputs:
        out = Outputs({port: [] for port in self.plan.ports})
        for rejection in sorted(outcome.rejected, key=lambda rejection: rejection.row):
            out.rejected.append((rejection.row, rejection.reason))
            if rejection.retryable:
                out.retryable.append(rejection.row)
        for output in outcome.outputs:
            out.ports[self.plan.ports[output.port]].extend(_joined(output, parents))
        return out


def _attribute(name: str, one: TestRecord) -> bytes | None:
    return one.attributes.get(name)


def _joined(output: Any, parents: list[TestRecord]) -> list[TestRecord]:
    """As the host does with an output: fills in all that it did not change."""
    if isinstance(output.rows, contract.Rows_All):
        rows = list(parents)
    elif isinstance(output.rows, contract.Rows_Picked):
        rows = [parents[row] for row in array("I", output.rows.value)]
    else:
        rows = [TestRecord()] * output.rows.value
    attributes = [dict(row.attributes) for row in rows]
    if output.key is not None:
        for i, value in _changes(output.key):
            rows[i] = replace(rows[i], key=value)
    if output.value is not None:
        for i, value in _changes(output.value):
            rows[i] = replace(rows[i], value=value)
    for name in output.removed:
        for some in attributes:
            some.pop(name, None)
    for changed in output.attributes:
        for i, value in _changes(changed.change):
            attributes[i].pop(changed.name, None)
            if value is not None:
                attributes[i][changed.name] = value
    if output.timestamps is not None:
        inherited = set(array("I", output.timestamps.inherited))
        for i, time in enumerate(array("q", output.timestamps.timestamps)):
            if i not in inherited:
                rows[i] = replace(rows[i], timestamp=None if time == NO_TIME else time)
    return [replace(row, attributes=some) for row, some in zip(rows, attributes, strict=True)]


def _changes(change: Any) -> Iterable[tuple[int, bytes | None]]:
    nulls, inherited = set(array("I", change.nulls)), set(array("I", change.inherited))
    start = 0
    for i, end in enumerate(array("I", change.ends)):
        if i not in inherited:
            yield i, None if i in nulls else change.data[start:end]
        start = end


class _StrictRow:
    """A row that notices when it is no longer the one that was emitted last."""

    def __init__(self, row: Row) -> None:
        self._row, self._number = row, len(row._parents)

    def __getattr__(self, name: str) -> Any:
        if len(self._row._parents) != self._number:
            raise RuntimeError("this record is no longer the one that was emitted last: change it before the next")
        change = getattr(self._row, name)

        def changed(*arguments: Any) -> _StrictRow:
            change(*arguments)
            return self

        return changed


class _StrictOut(Out):
    __slots__ = ()

    def keep(self) -> Any:
        return _StrictRow(super().keep())

    def send(self, port: Port) -> Any:
        return _StrictRow(super().send(port))

    def create_on(self, port: Port) -> Any:
        return _StrictRow(super().create_on(port))


__all__ = ["Driven", "Outputs", "TestRecord", "record", "run"]
