from pathlib import Path

import pytest

from pipehost import parse_rfc3339, rfc3339

# The table of the Rust SDK and of the codecs: a text means the same time everywhere.
TABLE = [
    line.split(" = ")
    for line in Path(__file__).with_name("times.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
ERRORS = {"no": "not an RFC 3339 time", "far": "not between the years"}


@pytest.mark.parametrize(("text", "verdict"), TABLE)
def test_a_time_is_what_the_table_says(text, verdict):
    if verdict in ERRORS:
        with pytest.raises(ValueError, match=ERRORS[verdict]):
            parse_rfc3339(text)
    else:
        assert parse_rfc3339(text) == int(verdict)


@pytest.mark.parametrize("time", [0, 1, -1, 1_698_400_800_123_456_789, 2**63 - 1, -(2**63) + 1])
def test_what_is_written_is_read(time):
    assert parse_rfc3339(rfc3339(time)) == time
