"""The configuration of a stage: a dataclass, or a JSON Schema by hand."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, Union

from ._errors import Error

_UNITS = {
    "ns": 1, "nsec": 1, "us": 1_000, "usec": 1_000, "ms": 1_000_000, "msec": 1_000_000,
    "s": 1_000_000_000, "sec": 1_000_000_000, "second": 1_000_000_000, "seconds": 1_000_000_000,
    "m": 60_000_000_000, "min": 60_000_000_000, "minute": 60_000_000_000, "minutes": 60_000_000_000,
    "h": 3_600_000_000_000, "hr": 3_600_000_000_000, "hour": 3_600_000_000_000, "hours": 3_600_000_000_000,
    "d": 86_400_000_000_000, "day": 86_400_000_000_000, "days": 86_400_000_000_000,
    "w": 604_800_000_000_000, "week": 604_800_000_000_000, "weeks": 604_800_000_000_000,
}  # fmt: skip


class Period(int):
    """A duration in nanoseconds, which a configuration has as text with a unit: ``"1m 30s"``."""

    @classmethod
    def parse(cls, text: str) -> Period:
        total, number, unit, parts = 0, "", "", 0
        for character in text + " ":
            if character.isascii() and character.isdigit():
                if unit:
                    total, number, unit, parts = total + _part(text, number, unit), "", "", parts + 1
                number += character
            elif character == " ":
                if unit:
                    total, number, unit, parts = total + _part(text, number, unit), "", "", parts + 1
            else:
                unit += character
        if number or not parts:
            raise Error(f"{text!r} is not a duration: write a number and a unit, as in '90s' or '1h 30m'")
        if total > 2**63 - 1:
            raise Error(f"{text!r} is more than 292 years")
        return cls(total)


def _part(text: str, number: str, unit: str) -> int:
    if not number or unit not in _UNITS:
        raise Error(f"{text!r} is not a duration: write a number and a unit, as in '90s' or '1h 30m'")
    return int(number) * _UNITS[unit]


def schema_of(config: Any) -> dict[str, Any]:
    """The JSON Schema of what a stage gives as its `Config`."""
    if config is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if isinstance(config, dict):
        return config
    if isinstance(config, type) and dataclasses.is_dataclass(config):
        return _of_dataclass(config)
    raise TypeError("Config is a dataclass, or a dict with a JSON Schema")


def _of_dataclass(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    properties, required = {}, []
    for field in _settings(cls):
        schema = _of_type(hints[field.name])
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is not dataclasses.MISSING:
            # Those that a configuration can hold as they are. An object says itself what its defaults are.
            if isinstance(default, str | int | float | list | dict) and not isinstance(default, Period):
                schema["default"] = default
        else:
            required.append(field.name)
        properties[field.name] = schema
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    doc = cls.__doc__
    if doc and not doc.startswith(f"{cls.__name__}("):  # What dataclass writes by itself.
        schema["description"] = " ".join(doc.split())
    return schema


def _settings(cls: Any) -> list[Any]:
    return [field for field in dataclasses.fields(cls) if field.init]


_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _of_type(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = _of_type(arguments[0])
        for extra in arguments[1:]:
            if isinstance(extra, str):
                schema["description"] = extra
            elif isinstance(extra, dict):
                schema.update(extra)
        return schema
    if hint is Any:
        return {}
    if hint is Period:
        return {"type": "string", "examples": ["90s", "5m", "1h 30m"]}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        some = [_of_type(argument) for argument in arguments]
        if all(set(one) == {"type"} for one in some):
            return {"type": [one["type"] for one in some]}
        return {"anyOf": some}
    if hint in (list, dict):
        return {"type": "array" if hint is list else "object"}
    if origin is list:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _of_type(arguments[1])}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _of_dataclass(hint)
    raise TypeError(f"a setting cannot have the type {hint!r}")


def load(config: Any, given: Any) -> Any:
    """What `open` gets. The host has checked it against the schema; a test has not."""
    if not isinstance(given, dict):
        raise Error("the configuration is not an object")
    if config is None and given:
        raise Error(f"unknown setting {next(iter(given))!r}")
    if config is None or isinstance(config, dict):
        return None if config is None else given
    try:
        return _load_dataclass(config, given, "")
    except TypeError as error:
        raise Error(str(error)) from None


def _load_dataclass(cls: Any, given: dict[str, Any], path: str) -> Any:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in _settings(cls)}
    for name in given:
        if name not in fields:
            raise TypeError(f"unknown setting {path + name!r}")
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise TypeError(f"the setting {path + name!r} is missing")
    return cls(**{name: _load(hints[name], value, path + name) for name, value in given.items()})


def _load(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _load(arguments[0], value, path)
    if hint is Any:
        return value
    if hint is Period and isinstance(value, str):
        return Period.parse(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if hint in _PLAIN or hint in (list, dict):
        if type(value) is hint:
            return value
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            try:
                return _load(argument, value, path)
            except TypeError:
                pass
    elif origin is list and isinstance(value, list):
        return [_load(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {name: _load(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _load_dataclass(hint, value, f"{path}.")
    raise TypeError(f"the setting {path!r} cannot be {value!r}")
