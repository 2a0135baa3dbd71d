from dataclasses import dataclass
from typing import Annotated

from pipehost import Out, Record, Reject, Setup, Stage


@dataclass
class Config:
    """What a pipeline may configure. Its JSON Schema is made of this."""

    word: Annotated[str, "Lines with this word are changed.", {"minLength": 1}]


class MyStage(Stage[Config]):
    """Shouts the lines that have a word in them."""

    def open(self, config: Config, setup: Setup) -> None:
        setup.keeps_nothing()  # So it runs on all cores.
        self.value = setup.value()
        self.word = config.word

    def process(self, record: Record, out: Out) -> None:
        line = record[self.value]
        if line is None:
            raise Reject("it has no value")
        row = out.keep()
        if self.word in line:
            row.value(line.upper())
