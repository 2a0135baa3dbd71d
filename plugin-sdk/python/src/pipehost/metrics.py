"""Metrics of the stage's own: the host shows them with those of the pipeline, as ``stage_NAME``, with the stage as a
label. What a call tells counts once, with the answer that the host accepts. In a unit test, nothing is told.

    metrics.add("cache_misses", table="countries")

Names are of a-z, 0-9 and ``_``. A stage has at most 256 series.
"""

from __future__ import annotations

import importlib
from typing import Any


def add(name: str, by: float = 1.0, **labels: str) -> None:
    """Adds to a counter: a positive number."""
    _tell("add", name, by, labels)


def set(name: str, to: float, **labels: str) -> None:
    """Sets a gauge."""
    _tell("set", name, to, labels)


def observe(name: str, value: float, **labels: str) -> None:
    """Adds a value to a histogram, whose buckets end at 0.001, 0.01, 0.1, 1, 10, 100 and 1000."""
    _tell("observe", name, value, labels)


_host: Any
try:
    _host = importlib.import_module("wit_world.imports.metrics")
except ImportError:
    _host = None  # Not in a component.


def _tell(what: str, name: str, value: float, labels: dict[str, str]) -> None:
    if _host is None:
        return
    given = [_host.Label(_text(label), _text(str(text))) for label, text in labels.items()]
    getattr(_host, what)(_text(name), given, float(value))


def _text(text: str) -> str:
    """What is no Unicode, such as bytes that were not UTF-8, cannot cross."""
    return text.encode("utf-8", "replace").decode("utf-8")
