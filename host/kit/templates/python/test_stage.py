from pipehost.testing import record, run
from stage import MyStage


def test_lines_with_the_word_are_shouted():
    out = run(MyStage, {"word": "error"}, [record("an error"), record("fine")])
    assert out.port("out") == [record("AN ERROR"), record("fine")]
