"""What an author writes."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from ._config import schema_of
from ._output import Out
from ._record import Record
from ._setup import Setup
from ._state import Saved

C = TypeVar("C")


class Stage(Generic[C]):
    """A stage: what happens to each record. ``class Name(Stage[Config])`` takes its configuration as an object of the
    dataclass `Config`; ``class Name(Stage)`` has none, or has a JSON Schema as its ``Config``.

    A stage whose state outlives its instance has two methods more, ``save`` and ``restore``, and
    maybe a third:

    ``save(self)``
        returns the state, or a `ByKey` of a stage that keeps by key. Whatever `pickle` takes can be
        saved. It must change nothing.
    ``restore(self, saved: Saved)``
        takes it over, after ``open`` and before the first record.
    ``accepts(self, saved: Saved)``
        raises an error if the stage cannot go on with a state that another version of it or another
        configuration has made. Without it, another configuration is refused.

    One that sees time pass has a fourth:

    ``advance(self, watermark: int, out: Out)``
        All records before the watermark, in nanoseconds since the Unix epoch, have come.
    """

    #: What ``pipehost inspect`` shows. By default they are those of the ``pyproject.toml`` beside it.
    name: ClassVar[str] = ""
    version: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    #: The configuration: a dict with a JSON Schema, if ``open`` should get a dict. Otherwise it is the dataclass of
    #: ``Stage[Config]``.
    Config: ClassVar[Any] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            found = [one for one in get_args(base) if is_dataclass(one)]
            if found and isinstance(origin, type) and issubclass(origin, Stage) and "Config" not in cls.__dict__:
                cls.Config = found[0]

    def open(self, config: C, setup: Setup) -> None:
        """Takes the configuration and declares what the stage reads and which ports it has. An error
        is shown to the operator, and nothing runs."""

    def process(self, record: Record, out: Out) -> None:
        """Processes one record. The record is emitted each time it is kept; one that is never kept is
        dropped. An exception rejects the record, and takes back what was emitted for it."""
        raise NotImplementedError(f"{type(self).__name__} has no method `process`")

    def finish(self, out: Out) -> None:
        """Called after the last record: creates the records that the stage still holds."""

    def accepts(self, saved: Saved) -> None:
        saved.accept_changes_of()


def world_of(stage: type[Stage[Any]]) -> str:
    """The world of `packed.wit` that a stage needs."""
    saves, restores = (callable(getattr(stage, name, None)) for name in ("save", "restore"))
    advances = callable(getattr(stage, "advance", None))
    if saves != restores:
        have, lack = ("save", "restore") if saves else ("restore", "save")
        raise TypeError(f"{stage.__name__} has `{have}`, but no `{lack}`")
    if advances and not saves:
        raise TypeError(
            f"{stage.__name__} has `advance`, but neither `save` nor `restore`: what it holds until time passes "
            "would be lost with its instance. If that is right, let both do nothing"
        )
    if advances:
        return "packed-timed-transform"
    return "packed-stateful-transform" if saves else "packed-transform"


def description_of(stage: type[Stage[Any]], project: dict[str, Any] | None = None) -> dict[str, str]:
    """Name, version and summary: those of the class, of the project, or what can be guessed."""
    project = project or {}
    doc = stage.__dict__.get("__doc__") or ""
    first = " ".join(doc.strip().partition("\n\n")[0].split()).removesuffix(".")
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", stage.__name__).lower()
    for attribute in ("name", "version", "summary"):
        if not isinstance(getattr(stage, attribute), str):
            raise TypeError(f"`{attribute}` of {stage.__name__} says what the stage is called: it has to be a text")
    return {
        "name": stage.name or project.get("name") or kebab,
        "version": stage.version or project.get("version") or "0.0.0",
        "summary": stage.summary or first or project.get("description") or "",
    }


__all__ = ["Stage", "description_of", "schema_of", "world_of"]
