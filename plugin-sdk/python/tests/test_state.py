from __future__ import annotations

import datetime

import pytest

from pipehost import ByKey, Error, Saved, Stage
from pipehost._stage import description_of, world_of
from pipehost._state import Saved as State
from pipehost._state import encode, group_of
from pipehost.testing import Driven, record


class Counter(Stage):
    """Numbers the records of each key"""

    Config = {"type": "object"}

    def open(self, config, setup):
        self.key = setup.key()
        setup.keeps_by_key(self.key)
        self.counts = {}

    def process(self, record, out):
        key = record[self.key]
        self.counts[key] = self.counts.get(key, 0) + 1
        out.keep().attribute("n", str(self.counts[key]))

    def save(self):
        return ByKey(self.counts)

    def restore(self, saved: Saved):
        self.counts = dict(saved.by_key())

    def accepts(self, saved: Saved):
        saved.accept_changes_of("max")


class Window(Stage):
    def open(self, config, setup):
        self.n, self.last = 0, None

    def process(self, record, out):
        self.n += 1

    def save(self):
        return self.n, self.last

    def restore(self, saved):
        self.n, self.last = saved.get()

    def advance(self, watermark, out):
        out.create().value(f"{self.n} until {watermark}")
        self.n, self.last = 0, datetime.datetime.fromtimestamp(watermark, datetime.UTC)


def numbers(out):
    return [r.attributes["n"] for r in out.port("out")]


def test_a_state_outlives_its_instance():
    stage = Driven(Counter)
    stage.process([record("a", key="k"), record("b", key=b"\xff"), record("c")])
    assert (
        numbers(stage.restarted().process([record("d", key="k"), record("e", key=b"\xff"), record("f")])) == [b"2"] * 3
    )


def test_a_state_of_another_configuration_is_refused_by_name():
    stage = Driven(Counter, {"max": 1, "b": 1})
    stage.restarted({"max": 2, "b": 1})
    with pytest.raises(ValueError, match="it was made with another configuration; what differs: `a`, `b`$"):
        stage.restarted({"max": 2, "a": 1})


def test_time_passes():
    stage = Driven(Window)
    stage.process([record("a")])
    again = stage.restarted()
    assert again.advance(10).port("out") == [record("1 until 10")]
    assert again.restarted().stage.last.year == 1970


def test_a_group_is_the_crc_32_modulo_the_number_of_groups():
    assert group_of(b"123456789", 64) == group_of("123456789", 64) == 0xCBF43926 % 64
    assert group_of(None, 64) == group_of("", 64) == group_of("any", 1) == 0


def test_groups_can_be_given_to_other_instances():
    keys = [f"key {n}" for n in range(100)]
    groups = encode(ByKey(((key, len(key)) for key in keys), common=7), 0, 8, 8)
    assert [number for number, _ in groups] == list(range(8))
    half = State([data for number, data in groups if number < 4], "1", "{}", "{}")
    assert half.get() == 7
    assert sorted(half.by_key()) == sorted((key, len(key)) for key in keys if group_of(key, 8) < 4)


def test_a_key_of_another_instance_is_refused():
    keys = [f"key {n}" for n in range(100)]
    with pytest.raises(Error, match="not one of the keys of this instance"):
        encode(ByKey({key: 1 for key in keys}), 0, 4, 8)


def test_a_group_without_a_state_is_left_out():
    assert encode(None, 0, 4, 4) == encode(ByKey({}), 0, 4, 4) == []
    assert State([], "1", "{}", "{}").get("nothing") == "nothing"


def test_bytes_of_something_else_are_refused():
    with pytest.raises(ValueError, match="another format"):
        State([b"\xff\xff\xff\xff"], "1", "{}", "{}")
    with pytest.raises(ValueError, match="another format"):
        State([b"\x03\x00\x00\x00abc"], "1", "{}", "{}").get()


def test_the_world_is_what_the_stage_needs():
    assert world_of(Counter) == "packed-stateful-transform"
    assert world_of(Window) == "packed-timed-transform"
    assert world_of(type("Plain", (Stage,), {})) == "packed-transform"
    with pytest.raises(TypeError, match="has `save`, but no `restore`"):
        world_of(type("Half", (Stage,), {"save": lambda self: 1}))
    with pytest.raises(TypeError, match="has `advance`, but neither"):
        world_of(type("Half", (Stage,), {"advance": lambda self, watermark, out: 1}))


def test_a_stage_is_called_what_its_project_is():
    assert description_of(Counter) == {
        "name": "counter",
        "version": "0.0.0",
        "summary": "Numbers the records of each key",
    }
    project = {"name": "number", "version": "1.2.3", "description": "Numbers"}
    assert description_of(Window, project) == {"name": "number", "version": "1.2.3", "summary": "Numbers"}
