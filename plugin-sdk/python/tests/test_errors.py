from __future__ import annotations

import sys

from pipehost import Error, Reject
from pipehost._errors import describe


def caught(error: Exception) -> Exception:
    try:
        raise error
    except Exception as found:
        return found


def test_an_error_has_its_type_and_its_place():
    line = sys._getframe().f_lineno
    assert describe(caught(ValueError("boom"))).startswith("ValueError: boom (test_errors.py:")
    assert describe(caught(ValueError())).startswith("ValueError (test_errors.py:")
    assert line


def test_what_is_for_the_operator_is_shown_as_it_is():
    assert describe(caught(Error("the table is empty: \udcff"))) == "the table is empty: \\udcff"


def test_a_rejection_has_a_reason():
    assert (Reject("why").reason, Reject("why", retryable=True).retryable, str(Reject("why"))) == ("why", True, "why")
