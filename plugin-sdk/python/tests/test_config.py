from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from pipehost import Error, Period, Stage
from pipehost._config import load, schema_of


@dataclass
class Limits:
    rows: int = 5


@dataclass
class Config:
    """What it does."""

    level: Annotated[str, "The records of this level go on.", {"minLength": 1}]
    window: Period
    names: list[str] = field(default_factory=list)
    mode: Literal["a", "b"] = "a"
    ratio: float = 0.5
    key: str | None = None
    limits: Limits = field(default_factory=Limits)
    table: dict[str, int] | None = None


def test_a_schema_says_what_the_dataclass_says():
    assert schema_of(Config)["properties"] | {"limits": None} == {
        "level": {"type": "string", "description": "The records of this level go on.", "minLength": 1},
        "window": {"type": "string", "examples": ["90s", "5m", "1h 30m"]},
        "names": {"type": "array", "items": {"type": "string"}, "default": []},
        "mode": {"enum": ["a", "b"], "default": "a"},
        "ratio": {"type": "number", "default": 0.5},
        "key": {"type": ["string", "null"]},
        "limits": None,
        "table": {"anyOf": [{"type": "object", "additionalProperties": {"type": "integer"}}, {"type": "null"}]},
    }
    schema = schema_of(Config)
    assert (schema["required"], schema["additionalProperties"]) == (["level", "window"], False)
    assert schema["description"] == "What it does."


def test_a_schema_is_json():
    import json

    json.dumps(schema_of(Config))


def test_a_configuration_becomes_what_the_types_say():
    config = load(
        Config, {"level": "x", "window": "1m 30s", "ratio": 1, "limits": {"rows": 2}, "table": {"a": 1}, "names": ["n"]}
    )
    assert config == Config("x", Period(90_000_000_000), ["n"], "a", 1.0, None, Limits(2), {"a": 1})
    assert isinstance(config.ratio, float)
    assert load(None, {}) is None
    assert load({"type": "object"}, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": "1s"}, "the setting 'level' is missing"),
        ({"level": "x", "window": "1s", "lvl": 1}, "unknown setting 'lvl'"),
        ({"level": 5, "window": "1s"}, "the setting 'level' cannot be 5"),
        ({"level": "x", "window": "1s", "mode": "c"}, "the setting 'mode' cannot be 'c'"),
        ({"level": "x", "window": "1s", "limits": {"rows": True}}, "the setting 'limits.rows' cannot be True"),
        ({"level": "x", "window": "1s", "names": ["a", 1]}, r"the setting 'names\[1\]' cannot be 1"),
    ],
)
def test_a_mistake_is_named(given, message):
    with pytest.raises(Error, match=message):
        load(Config, given)


def test_a_period_needs_a_unit():
    assert Period.parse("1m 30s") == Period.parse("1m30s") == 90_000_000_000
    for text in ("5", "", "s", "1x", "5 s5", "-1s"):
        with pytest.raises(Error, match="is not a duration"):
            Period.parse(text)
    with pytest.raises(Error, match="292 years"):
        Period.parse("20000w")


def test_no_configuration_takes_nothing():
    with pytest.raises(Error, match="unknown setting 'a'"):
        load(None, {"a": 1})


def test_a_stage_has_the_configuration_of_its_type():
    class One(Stage[Config]):
        pass

    class Two(One):
        pass

    class Three(Stage[None]):
        Config = {"type": "object"}

    assert (One.Config, Two.Config, Three.Config, Stage.Config) == (Config, Config, {"type": "object"}, None)
