"""Makes a component of a Python module: picks the stage and its world, and calls componentize-py."""

from __future__ import annotations

import ast
import encodings
import encodings.aliases
import hashlib
import importlib
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

from . import _patch
from ._config import schema_of
from ._stage import Stage, description_of, world_of

PACKAGE = Path(__file__).parent
APP = "pipehost_component"


class Failed(Exception):
    """Why there is no component, for the person who builds it."""


def build(source: str, output: str | None, quiet: bool = True) -> Path:
    root, module_name, class_name = _find(source)
    project = _project(root)
    if not class_name:
        configured = project.get("tool", {}).get("pipehost", {}).get("stage", "")
        if configured and not module_name:
            module_name, _, class_name = configured.partition(":")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    if (root / "src").is_dir():
        sys.path.insert(0, str(root / "src"))
    module = _import(module_name or "stage", root)
    stage = _stage_of(module, class_name)
    try:
        world = world_of(stage)
        schema_of(stage.Config)
        description = description_of(stage, project.get("project"))
    except TypeError as error:
        raise Failed(str(error)) from None
    target = Path(output) if output else Path(f"{description['name']}.wasm")
    with tempfile.TemporaryDirectory(prefix="pipehost-") as folder:
        app = Path(folder, "app")
        app.mkdir()
        (app / f"{APP}.py").write_text(
            f"import sys\n"
            f"sys.dont_write_bytecode = True\n"  # Its folders are the author's.
            f"import pipehost._prelude\n"
            f"pipehost._prelude.load({_late_imports()!r})\n"
            f"import {stage.__module__}\n"
            f"from pipehost import _wasm\n"
            f"PackedStage = Checkpoint = PackedWatermark = _wasm.export(\n"
            f"    {stage.__module__}.{stage.__qualname__}, {description!r}\n"
            f")\n"
        )
        made = Path(folder, "component.wasm")
        command = [*_componentize(), "-d", str(PACKAGE / "wit"), "-w", f"measured-{world}"]
        command += ["-q"] if quiet else []
        command += ["componentize", APP, "-o", str(made)]
        for path in _paths(app, root):
            command += ["-p", str(path)]
        # The component should depend on the source alone. So the environment is not the caller's: its
        # variables reach Python while it is initialized.
        keep = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=quiet, text=True, errors="replace")
        if done.returncode:
            raise Failed(f"componentize-py failed:\n{done.stdout or ''}{done.stderr or ''}".rstrip())
        target.write_bytes(_repaired(made.read_bytes()))
    return target


def _repaired(component: bytes) -> bytes:
    version = componentize_version()
    if version not in _patch.VERSIONS:
        print(
            f"warning: componentize-py {version} is not one that was tried; {', '.join(_patch.VERSIONS)} is",
            file=sys.stderr,
        )
        return component
    try:
        return _patch.free_lists(component)
    except _patch.Unknown as error:
        print(f"warning: the stage will not free the bytes of its answers: {error}", file=sys.stderr)
        return component


def componentize_version() -> str:
    done = subprocess.run([*_componentize(), "--version"], capture_output=True, text=True)
    return done.stdout.strip().rpartition(" ")[2]


def _find(source: str) -> tuple[Path, str, str]:
    """The folder of the project, the module and the class; the last two may be empty."""
    path, _, class_name = source.partition(":") if not Path(source).exists() else (source, "", "")
    given = Path(path or ".").resolve()
    if given.is_dir():
        return given, "", class_name
    if given.suffix == ".py" and given.is_file():
        root = next((folder for folder in given.parents if (folder / "pyproject.toml").is_file()), given.parent)
        below = given.relative_to(root).with_suffix("").parts
        if below[0] == "src":
            return root, ".".join(below[1:]), class_name
        if all((folder / "__init__.py").is_file() for folder in given.parents if root in folder.parents):
            return root, ".".join(below), class_name
        return given.parent, given.stem, class_name
    raise Failed(f"{source}: there is no such folder or Python file")


def _project(root: Path) -> dict[str, Any]:
    file = root / "pyproject.toml"
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"{file}: {error}") from None


def _import(name: str, root: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0]:
            raise Failed(
                f"{root}: there is no module `{name}`: put the stage into stage.py, or name the file, "
                'or set `stage = "module:Class"` under [tool.pipehost] in pyproject.toml'
            ) from None
        raise


def _stage_of(module: ModuleType, class_name: str) -> type[Stage[Any]]:
    if class_name:
        found = getattr(module, class_name, None)
        if not (inspect.isclass(found) and issubclass(found, Stage)):
            raise Failed(f"{module.__name__} has no stage `{class_name}`: a stage is a subclass of pipehost.Stage")
        return found
    stages = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Stage) and cls is not Stage and cls.__module__ == module.__name__
    ]
    leaves = [cls for cls in stages if not any(other is not cls and issubclass(other, cls) for other in stages)]
    if len(leaves) != 1:
        names = ", ".join(cls.__name__ for cls in leaves) or "none"
        raise Failed(
            f"{module.__name__} has not one stage, a subclass of pipehost.Stage, but {names}: "
            "name one, as stage.py:Class"
        )
    return leaves[0]


def _late_imports() -> list[str]:
    """What functions of the stage, and of what it imports, will import later."""
    names: set[str] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        top = module.__name__.partition(".")[0]
        if not file or not file.endswith(".py") or top in sys.stdlib_module_names or top in ("pipehost", "__main__"):
            continue
        try:
            tree = ast.parse(Path(file).read_bytes())
        except (OSError, SyntaxError):
            continue
        for function in ast.walk(tree):
            if isinstance(function, ast.Constant) and isinstance(function.value, str):
                names.update(_codec(function.value))
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    name = "." * node.level + (node.module or "")
                    try:
                        name = importlib.util.resolve_name(name, module.__package__)
                    except ImportError:
                        continue
                    names.add(name)
                    names.update(f"{name}.{alias.name}" for alias in node.names)
    return sorted(names)


def _codec(text: str) -> list[str]:
    """The module of a codec, if the text is the name of one: Python imports it with the first use."""
    name = encodings.normalize_encoding(text[:40]).lower() if text.isascii() else ""
    name = encodings.aliases.aliases.get(name, name)
    known = name.isidentifier() and name != "aliases" and importlib.util.find_spec(f"encodings.{name}")
    return [f"encodings.{name}"] if known else []


def _paths(app: Path, root: Path) -> list[Path]:
    paths = [app]
    if (root / "src").is_dir():
        paths.append(root / "src")
    paths += [root, PACKAGE.parent]
    for name in ("purelib", "platlib"):
        paths.append(Path(sysconfig.get_path(name)))
    return list(dict.fromkeys(path.resolve() for path in paths if path.is_dir()))


def _componentize() -> list[str]:
    if command := os.environ.get("COMPONENTIZE_PY"):
        return [command]
    if importlib.util.find_spec("componentize_py"):
        return [sys.executable, "-c", "import sys; from componentize_py import script; sys.exit(script())"]
    if command := shutil.which("componentize-py"):
        return [command]
    raise Failed("componentize-py is missing: pip install 'pipehost-plugin[build]'")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
