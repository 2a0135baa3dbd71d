"""Why a record could not be processed."""

from __future__ import annotations

import os
import sys
from types import TracebackType


class Reject(Exception):
    """Raise it in ``process`` to reject the record: ``raise Reject("the level is missing")``.

    What was emitted for the record is taken back, and the pipeline decides what becomes of it
    (``on_error``). ``retryable=True`` says that the same record may succeed later; ``retry`` of the
    pipeline then applies.
    """

    def __init__(self, reason: str, retryable: bool = False) -> None:
        self.args = (reason,)
        self.retryable = retryable

    @property
    def reason(self) -> str:
        """What was wrong with the record."""
        return str(self)


class Error(ValueError):
    """Raise it outside of ``process`` for what the operator can mend, such as a mistake in the configuration: the
    message is shown as it is. Of any other exception, type and place are shown too."""


def clean(text: str) -> str:
    """A text that is one in UTF-8: lone surrogates, which stand for bytes, are written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def describe(error: BaseException) -> str:
    """``ValueError: boom (stage.py:12 in process)``."""
    text = str(error)
    if isinstance(error, Error):
        return clean(text)
    name = type(error).__qualname__
    place = place_of(error.__traceback__)
    if isinstance(error, ImportError) and sys.platform == "wasi":
        text += "; a component has the modules that were imported when it was built: import it at the top"
    return clean((f"{name}: {text}" if text else name) + (f" ({place})" if place else ""))


def place_of(traceback: TracebackType | None) -> str | None:
    """The last frame of the stage's own code: of those below it, people know less."""
    own = last = None
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__") or ""
        top = module.partition(".")[0]
        if top != "pipehost":
            last = (module, frame.f_code, traceback.tb_lineno)
            if top not in sys.stdlib_module_names or top == "__main__":
                own = last
        traceback = traceback.tb_next
    if (found := own or last) is None:
        return None
    module, code, line = found
    file = os.path.basename(code.co_filename)
    package = module.split(".")[:-1]
    return f"{'/'.join([*package, file])}:{line} in {code.co_name}"
