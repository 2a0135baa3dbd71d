"""Does what tests/conformance/README.md says."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from pipehost import ByKey, Error, Out, Record, Reject, Saved, Setup, Stage


@dataclass
class Config:
    mode: Literal["commands", "count", "count-by-key", "inputs"] = "commands"
    long_number: int = 0
    refuse: str = ""


class Conformance(Stage[Config]):
    """Does what the conformance cases ask for."""

    def open(self, config: Config, setup: Setup) -> None:
        if config.refuse:
            raise Error(config.refuse)
        self.config = config
        self.count = 0
        self.counts: Counter[str] = Counter()
        if config.mode == "count-by-key":
            self.key = setup.key()
            setup.keeps_by_key(self.key)
        elif config.mode == "inputs":
            setup.keeps_nothing()
            self.left = setup.input("left")
            setup.input("right")
        elif config.mode == "commands":
            setup.keeps_nothing()
            self.time = setup.timestamp()
            self.key = setup.key()
            self.value = setup.value()
            self.verb = setup.attribute("do")
            self.arg = setup.attribute("arg")
            self.extra = setup.attribute("extra")
            self.other = setup.port("other")

    def process(self, record: Record, out: Out) -> None:
        match self.config.mode:
            case "count":
                self.count += 1
                out.keep().attribute("count", str(self.count))
            case "count-by-key":
                key = record[self.key] or ""
                self.counts[key] += 1
                out.keep().attribute("count", str(self.counts[key]))
            case "inputs":
                out.keep().attribute("from", "left" if record.is_from(self.left) else "right")
            case _:
                self.command(record, out)

    def command(self, record: Record, out: Out) -> None:
        arg = record[self.arg] or ""
        match record[self.verb] or "keep":
            case "keep":
                out.keep()
            case "drop":
                pass
            case "twice":
                out.keep()
                out.keep().value(arg)
            case "echo":
                row = out.keep()
                if (value := record[self.value]) is not None:
                    row.value(value)
                if (extra := record.bytes(self.extra)) is not None:
                    row.attribute("extra", extra)
            case "upper":
                out.keep().value(record[self.value].upper())
            case "value":
                out.keep().value(arg)
            case "key":
                out.keep().key(arg)
            case "attribute":
                out.keep().attribute("made", arg)
            case "remove":
                out.keep().remove_attribute("extra")
            case "time":
                out.keep().timestamp(int(arg))
            case "later":
                row = out.keep()
                if (time := record[self.time]) is not None:
                    row.timestamp(time + 1_000_000_000)
            case "tell-time":
                time = record[self.time]
                out.keep().value("none" if time is None else str(time))
            case "number":
                out.keep().value(str(self.config.long_number))
            case "other":
                out.send(self.other)
            case "both":
                out.keep()
                out.send(self.other).value(arg)
            case "create":
                out.create().value(arg)
            case "create-other":
                out.keep()
                out.create_on(self.other).key(arg).attribute("made", arg).timestamp(1)
            case "reject":
                raise Reject(arg)
            case "retry":
                raise Reject(arg, retryable=True)
            case "keep-throw":
                out.keep().value("lost")
                raise ValueError(arg)
            case _:
                raise ValueError(arg)

    def finish(self, out: Out) -> None:
        if self.config.mode == "count":
            out.create().value(f"{self.count} at the end")

    def advance(self, watermark: int, out: Out) -> None:
        if self.config.mode == "count":
            out.create().value(f"{self.count} until {watermark}")
            self.count = 0

    def save(self) -> Any:
        match self.config.mode:
            case "count":
                return self.count
            case "count-by-key":
                return ByKey(self.counts)
        return None

    def restore(self, saved: Saved) -> None:
        match self.config.mode:
            case "count":
                self.count = saved.get()
            case "count-by-key":
                self.counts = Counter(dict(saved.by_key()))
