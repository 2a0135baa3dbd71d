"""Builds components, if componentize-py is there. What they do is tested by those who have a host."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipehost import _patch
from pipehost._build import _find

SOURCE = Path(__file__).parent.parent / "src"
has_componentize = (
    "COMPONENTIZE_PY" in os.environ
    or importlib.util.find_spec("componentize_py") is not None
    or shutil.which("componentize-py") is not None
)

STAGE = """
from pipehost import Stage

class Plain(Stage):
    '''Does nothing.'''
    def process(self, record, out):
        import colorsys
"""
TIMED = """
    def save(self): return None
    def restore(self, saved): pass
    def advance(self, watermark, out): pass
"""


def build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipehost", "build", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )


def test_a_project_a_file_and_a_class_are_found(tmp_path):
    (tmp_path / "src" / "package").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "src" / "package" / "__init__.py").write_text("")
    (tmp_path / "src" / "package" / "stage.py").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one.py").write_text("")
    assert _find(str(tmp_path)) == (tmp_path, "", "")
    assert _find(f"{tmp_path}/src/package/stage.py:A") == (tmp_path, "package.stage", "A")
    assert _find(f"{tmp_path}/other/one.py") == (tmp_path / "other", "one", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "error: {folder}: there is no module `stage`: put the stage into stage.py"),
        ("x = 1", "error: stage has not one stage, a subclass of pipehost.Stage, but none"),
        (STAGE + STAGE.replace("Plain", "Other"), "but Plain, Other: name one, as stage.py:Class"),
        (STAGE + "    def save(self): pass", "error: Plain has `save`, but no `restore`"),
        (STAGE + "    def version(self): pass", "error: `version` of Plain says what the stage is called"),
        (STAGE + "    Config = 5", "error: Config is a dataclass, or a dict with a JSON Schema"),
        ("import nothing_like_this", "error: the module of the stage cannot be imported"),
        ("x = ", "SyntaxError"),
    ],
)
def test_a_mistake_is_named(tmp_path, source, message):
    if source is not None:
        (tmp_path / "stage.py").write_text(source)
    done = build(tmp_path)
    assert done.returncode == 1
    assert message.format(folder=tmp_path) in done.stderr
    assert not list(tmp_path.glob("*.wasm"))


@pytest.mark.skipif(not has_componentize, reason="needs componentize-py")
@pytest.mark.parametrize(("more", "world"), [("", "packed-stage"), (TIMED, "packed-watermark")])
def test_a_component_is_made(tmp_path, more, world):
    (tmp_path / "stage.py").write_text(STAGE + more)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "my-stage"\nversion = "1.2.3"\n')
    done = build(tmp_path, "-o", "out.wasm")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    component = (tmp_path / "out.wasm").read_bytes()
    assert component[:8] == b"\0asm\x0d\0\x01\0"
    assert f"pipehost:stage/{world}@0.2.0".encode() in component
    assert b"colorsys" in component
    assert not list(tmp_path.rglob("*.pyc"))
    # It is repaired: to do so again finds the same place.
    assert len(_patch.free_lists(component)) > len(component)


def test_something_else_is_not_patched():
    with pytest.raises(_patch.Unknown, match="no component"):
        _patch.free_lists(b"\0asm\x01\0\0\0")
    with pytest.raises(_patch.Unknown, match="0 modules"):
        _patch.free_lists(b"\0asm\x0d\0\x01\0")
