from __future__ import annotations

import pytest

from pipehost import Out, Record, Reject, Setup, Stage
from pipehost.testing import Driven, record, run


class Reader(Stage):
    """Runs a function on each record."""

    def open(self, config, setup: Setup) -> None:
        self.value = setup.value()
        self.key = setup.key()
        self.level = setup.attribute("level")
        self.time = setup.timestamp()

    def process(self, record: Record, out: Out) -> None:
        self.act(record, out)


def acting(act):
    return type("Acting", (Reader,), {"act": lambda self, record, out: act(self, record, out)})


def test_what_is_not_changed_is_inherited_and_does_not_cross():
    stage = Driven(acting(lambda self, record, out: out.keep()))
    records = [record("a", key="k", timestamp=7, attributes={"level": "x", "other": "y"}), record(None)]
    assert stage.process(records).port("out") == records
    outcome = stage._opened.process(stage._batch(records, 0))
    [output] = outcome.outputs
    assert type(output.rows).__name__ == "Rows_All"
    assert (output.value, output.key, output.timestamps, output.attributes, output.removed) == (
        None,
        None,
        None,
        [],
        [],
    )


def test_a_record_has_text_and_bytes_and_none():
    seen = []

    def act(self, record, out):
        seen.append(
            [record[self.value], record.bytes(self.value), record[self.key], record[self.level], record[self.time]]
        )

    run(acting(act), {}, [record("é", key="k", timestamp=-5), record(b"\xff!", attributes={"level": ""}), record(None)])
    assert seen == [
        ["é", "é".encode(), "k", None, -5],
        ["\udcff!", b"\xff!", None, "", None],
        [None, None, None, None, None],
    ]


def test_bytes_that_are_not_utf_8_survive():
    given = [record(b"\xff\xc3"), record(b"\xa9x"), record("aé"), record("plain")]
    out = run(acting(lambda self, record, out: out.keep().value(record[self.value])), {}, given)
    assert out.port("out") == given


def test_columns_that_nobody_asks_for_are_not_decoded():
    stage = Driven(acting(lambda self, record, out: record[self.key]))
    batch = stage._batch([record("a", key="b")], 0)
    batch.value.data = None  # Reading this would fail.
    assert stage._opened.process(batch).rejected == []


def test_changes_of_some_rows_leave_the_others_as_they_were():
    def act(self, record, out):
        row = out.keep()
        if record[self.value] == "b":
            row.value("B").key(b"\x00").attribute("new", "1").remove_attribute("level").timestamp(3)

    a, b, c = (record(v, key="k", timestamp=1, attributes={"level": "x"}) for v in "abc")
    assert run(acting(act), {}, [a, b, c]).port("out") == [
        a,
        record("B", key=b"\x00", timestamp=3, attributes={"new": "1"}),
        c,
    ]


def test_none_takes_a_part_away():
    def act(self, record, out):
        out.keep().value(None).key(None).timestamp(None).attribute("level", None)

    given = record("a", key="k", timestamp=1, attributes={"level": "x", "other": "y"})
    stage = Driven(acting(act))
    assert stage.process([given]).port("out") == [record(attributes={"other": "y"})]
    [output] = stage._opened.process(stage._batch([given], 0)).outputs
    assert output.removed == ["level"]


def test_a_record_can_be_kept_often_and_never():
    def act(self, record, out):
        for n in range(int(record[self.value])):
            out.keep().value(str(n))

    assert [r.text for r in run(acting(act), {}, [record("2"), record("0"), record("1")]).port("out")] == [
        "0",
        "1",
        "0",
    ]


def test_ports_and_new_records():
    class Ports(Stage):
        def open(self, config, setup):
            self.value, self.other = setup.value(), setup.port("other")
            setup.rename_default_port("main")
            assert setup.port("other") == self.other

        def process(self, record, out):
            out.create().value("new")
            out.create_on(self.other).attribute("n", "1")
            out.send(self.other).key("k")
            out.keep()

    out = run(Ports, {}, [record("a"), record("b")])
    assert out.port("main") == [record("a"), record("b"), record("new"), record("new")]
    new = record(attributes={"n": "1"})
    assert out.port("other") == [record("a", key="k"), record("b", key="k"), new, new]
    with pytest.raises(KeyError, match="no port 'out'; it has main, other"):
        out.port("out")


def test_a_rejected_record_takes_back_what_was_emitted_for_it(capsys):
    class Rejects(Stage):
        def open(self, config, setup):
            self.value, self.other = setup.value(), setup.port("other")

        def process(self, record, out):
            out.keep().value("x").attribute("a", "1").timestamp(1)
            out.keep()
            out.send(self.other)
            out.create().value("new")
            match record[self.value]:
                case "reject":
                    raise Reject("not this one")
                case "later":
                    raise Reject("later", retryable=True)
                case "fail":
                    raise ValueError("boom")

    out = run(Rejects, {}, [record(v) for v in ("ok", "reject", "later", "fail", "fail", "ok")])
    kept = [record("x", timestamp=1, attributes={"a": "1"}), record("ok")]
    assert out.port("out") == kept + kept + [record("new")] * 2
    assert out.port("other") == [record("ok")] * 2
    assert out.retryable == [2]
    assert [row for row, _ in out.rejected] == [1, 2, 3, 4]
    assert [reason for _, reason in out.rejected][:2] == ["not this one", "later"]
    assert out.rejected[3][1].startswith("ValueError: boom (test_stage.py:")
    assert out.rejected[3][1].endswith(" in process)")
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == 1
    assert "1 more of ValueError at test_stage.py:" in printed


def test_an_error_below_the_stage_names_the_line_of_the_stage():
    import json

    def act(self, record, out):
        json.loads(record[self.value])

    [(_, reason)] = run(acting(act), {}, [record("{")]).rejected
    assert reason.startswith("JSONDecodeError: Expecting") and "test_stage.py" in reason and "decoder" not in reason


def test_a_reason_is_text_whatever_is_in_it():
    def act(self, record, out):
        raise Reject(f"bad: {record[self.value]}")

    assert run(acting(act), {}, [record(b"\xff\xc3\xa9")]).rejected == [(0, "bad: \\udcffé")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row.value(5), "TypeError: a column takes str, bytes or None, not int"),
        (lambda row: row.key(["x"]), "TypeError: a column takes str, bytes or None, not list"),
        (lambda row: row.attribute("a", 1.5), "TypeError: a column takes str, bytes or None, not float"),
        (lambda row: row.value("\ud800"), "UnicodeEncodeError: "),
        (lambda row: row.timestamp("now"), "TypeError: a timestamp takes int or None, not str"),
        (lambda row: row.timestamp(2**63), "OverflowError: the timestamp is not between the years"),
        (lambda row: row.attribute("", "a"), "TypeError: the name of an attribute is a text that is not empty"),
        (lambda row: row.attribute("\udcff", "a"), "UnicodeEncodeError: "),
    ],
)
def test_what_cannot_be_written_rejects_its_record_alone(change, reason):
    def act(self, record, out):
        out.keep().attribute("all", "1")
        out.create().value("new")
        row = out.keep().value("second")
        if record[self.value] == "bad":
            change(row)

    out = run(acting(act), {}, [record("a"), record("bad"), record("c")])
    assert [row for row, _ in out.rejected] == [1]
    assert out.rejected[0][1].startswith(reason)
    one = {"all": "1"}
    kept = [record("a", attributes=one), record("second"), record("c", attributes=one), record("second")]
    assert out.port("out") == [*kept, record("new"), record("new")]


def test_inputs():
    class Join(Stage):
        def open(self, config, setup):
            self.left, self.right = setup.input("left"), setup.input("right")

        def process(self, record, out):
            out.keep().attribute("from", "left" if record.is_from(self.left) else "right")
            assert record.is_from(self.right) != record.is_from(self.left)

    stage = Driven(Join)
    assert stage.plan.inputs == ["left", "right"]
    assert stage.process([record("a")], input=1).port("out") == [record("a", attributes={"from": "right"})]


def test_a_row_that_is_no_longer_the_last_is_noticed():
    def act(self, record, out):
        first = out.keep()
        out.keep()
        first.value("x")

    [(_, reason)] = run(acting(act), {}, [record("a")]).rejected
    assert "no longer the one that was emitted last" in reason


def test_a_record_can_be_read_only_while_it_is_processed():
    kept = []
    stage = Driven(acting(lambda self, record, out: kept.append(record)))
    stage.process([record("a")])
    with pytest.raises(RuntimeError, match="only while it is processed"):
        kept[0][stage.stage.value]


def test_finish_creates_and_keeps_nothing():
    class Count(Stage):
        n = 0

        def process(self, record, out):
            self.n += 1

        def finish(self, out):
            with pytest.raises(RuntimeError, match="there is no record"):
                out.keep()
            out.create().value(str(self.n)).key(b"k")

    assert run(Count, {}, [record("a"), record("b")]).port("out") == [record("2", key="k")]


def test_a_plan_says_what_is_read_and_kept():
    class Plan(Stage):
        def open(self, config, setup):
            field = setup.attribute_or_key(config.get("by"))
            setup.keeps_by_key(field)
            with pytest.raises(TypeError):
                setup.keeps_by_key("key")

    Plan.Config = {"type": "object"}
    plan = Driven(Plan).plan
    assert (plan.reads.key, plan.reads.attributes, type(plan.keeps.value).__name__) == (True, [], "Target_Key")
    plan = Driven(Plan, {"by": "user"}).plan
    assert (plan.reads.key, plan.reads.attributes, plan.keeps.value.value) == (False, ["user"], "user")


def test_new_rows_alone_have_parts_that_are_absent():
    class New(Stage):
        def finish(self, out):
            out.create()
            out.create().value("a").timestamp(1)
            out.create().attribute("x", "y")

        def process(self, record, out):
            pass

    assert run(New, {}, []).port("out") == [record(), record("a", timestamp=1), record(attributes={"x": "y"})]
