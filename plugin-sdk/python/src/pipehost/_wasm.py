"""From the contract's functions to a stage and back. Only what `python -m pipehost build` writes uses this."""

from __future__ import annotations

import gc
import json
import linecache
import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from componentize_py_types import Err  # type: ignore[import-not-found]

from . import _contract as contract
from ._config import schema_of
from ._driver import Opened, print_error
from ._errors import Error, describe
from ._stage import Stage

T = TypeVar("T")


class Exported:
    """Exports one stage; componentize-py makes one of these for each function."""

    # So what is kept from one call to the next is kept in the class.
    cls: type[Stage[Any]]
    description: Any
    opened: Opened | None = None

    def describe(self) -> Any:
        return self.description

    def open(self, config: str) -> Any:
        Exported.opened = _called(Opened, self.cls, config)
        return Exported.opened.plan

    def process(self, batch: Any) -> Any:
        return _called(self._opened().process, batch)

    def finish(self) -> Any:
        return _called(self._opened().finish)

    def advance(self, watermark: bytes) -> Any:
        return _called(self._opened().advance, int.from_bytes(watermark, "little", signed=True))

    def save(self, groups: Any) -> Any:
        from wit_world.exports.checkpoint import GroupState  # type: ignore[import-not-found]

        saved = _called(self._opened().save, groups.first, groups.end, groups.count)
        return [GroupState(number, state) for number, state in saved]

    def restore(self, saved: Any, by: Any) -> None:
        groups = [(group.number, group.state) for group in saved]
        _called(self._opened().restore, groups, by.version, by.config)

    def _opened(self) -> Opened:
        if self.opened is None:
            raise Err("called before open")
        return self.opened


def _called(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except SystemExit as error:
        raise Err(f"the stage exited: {describe(error)}") from None
    except Error as error:
        raise Err(describe(error)) from None
    except BaseException as error:
        print_error(error)
        raise Err(describe(error)) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def export(cls: type[Stage[Any]], description: dict[str, str]) -> type[Exported]:
    Exported.cls = cls
    Exported.description = contract.Description(**description, config_schema=json.dumps(schema_of(cls.Config)))
    # The lines of the sources, which tracebacks show: there are no files any more when the component runs.
    for module in list(sys.modules.values()):
        top = (getattr(module, "__name__", "") or "").partition(".")[0]
        file = getattr(module, "__file__", None)
        if file and top not in sys.stdlib_module_names and top not in ("wit_world", "pipehost"):
            linecache.getlines(file)
    linecache.checkcache = lambda filename=None: None
    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # What is there now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return Exported
