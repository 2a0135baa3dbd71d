"""Write a pipehost stage in Python: a class, its configuration, and a method that sees one record at a time.

    from dataclasses import dataclass
    from pipehost import Out, Record, Reject, Setup, Stage

    @dataclass
    class Config:
        level: str

    class OnlyLevel(Stage[Config]):
        \"\"\"Keeps the records of one level\"\"\"

        def open(self, config: Config, setup: Setup) -> None:
            setup.keeps_nothing()
            self.level = setup.attribute("level")
            self.wanted = config.level

        def process(self, record: Record, out: Out) -> None:
            if record[self.level] == self.wanted:
                out.keep()

Build it with ``python -m pipehost build``.
"""

from . import metrics
from ._config import Period
from ._errors import Error, Reject
from ._output import Out, Row
from ._record import Record
from ._setup import Field, Input, Port, Setup, Time
from ._stage import Stage
from ._state import ByKey, Saved
from ._time import parse_rfc3339, rfc3339

__all__ = [
    "ByKey",
    "Error",
    "Field",
    "Input",
    "Out",
    "Period",
    "Port",
    "Record",
    "Reject",
    "Row",
    "Saved",
    "Setup",
    "Stage",
    "Time",
    "metrics",
    "parse_rfc3339",
    "rfc3339",
]
