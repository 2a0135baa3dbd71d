"""A stage that has been opened, and the loop over the rows of a batch. Components and tests drive it alike."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from . import _config
from . import _contract as contract
from ._errors import Reject, clean, describe, place_of
from ._output import FreshOut, Out
from ._record import Record, clear, fill
from ._setup import Column, Setup
from ._stage import Stage
from ._state import Saved, encode


class Opened:
    """An opened stage. The contract's functions, which raise what goes wrong."""

    def __init__(self, cls: type[Stage[Any]], config: str) -> None:
        self.config = config
        self.stage = stage = cls()
        setup = Setup()
        stage.open(_config.load(cls.Config, json.loads(config)), setup)
        self.plan = setup._plan()
        self.setup = setup
        self.record = Record()
        self.out = Out(self.record, len(self.plan.ports))

    def process(self, batch: Any) -> Any:
        setup, record, out = self.setup, self.record, self.out
        n = batch.len
        fields: list[tuple[Column, Any]] = list(zip(setup._attributes.values(), batch.attributes, strict=True))
        if setup._value is not None:
            fields.append((setup._value, batch.value))
        if setup._key is not None:
            fields.append((setup._key, batch.key))
        if setup._time is not None:
            fields.append((setup._time, batch.timestamps))
        for field, column in fields:
            fill(field, column, n)
        record.input = batch.input
        rejected: list[Any] = []
        seen: dict[Any, int] = {}
        process = self.stage.process
        for record.row in range(n):
            try:
                process(record, out)
            except Reject as error:
                out._take_back_record()
                rejected.append(contract.Rejection(record.row, clean(str(error)), bool(error.retryable)))
            except Exception as error:
                out._take_back_record()
                rejected.append(contract.Rejection(record.row, describe(error), False))
                report(error, seen)
        for (kind, place), count in seen.items():
            if count > 1:
                print(f"{count - 1} more of {kind.__qualname__} at {place}", file=sys.stderr)
        for field, _ in fields:
            clear(field)
        return out._outcome(n, rejected)

    def finish(self) -> Any:
        out = self._fresh()
        self.stage.finish(out)
        return out._outcome_of_new()

    def advance(self, watermark: int) -> Any:
        out = self._fresh()
        self.stage.advance(watermark, out)  # type: ignore[attr-defined]
        return out._outcome_of_new()

    def _fresh(self) -> FreshOut:
        record = Record()
        record.row = 0
        return FreshOut(record, len(self.plan.ports))

    def save(self, first: int = 0, end: int = 1, count: int = 1) -> list[tuple[int, bytes]]:
        return encode(self.stage.save(), first, end, count)  # type: ignore[attr-defined]

    def restore(self, groups: list[tuple[int, bytes]], version: str, config: str) -> None:
        saved = Saved((data for _, data in groups), version, config, self.config)
        self.stage.accepts(saved)
        self.stage.restore(saved)  # type: ignore[attr-defined]


def report(error: BaseException, seen: dict[Any, int]) -> None:
    """Prints a traceback, but one of each place: a stage that fails does so at every record."""
    what = (type(error), place_of(error.__traceback__))
    seen[what] = seen.get(what, 0) + 1
    if seen[what] == 1:
        print_error(error)


def print_error(error: BaseException) -> None:
    """Prints the traceback of an error without the frames of the SDK, and of many the last ones: each
    costs a parser's run, and a recursion that does not end has thousands."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_globals.get("__package__") == "pipehost":
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace), limit=-10)
