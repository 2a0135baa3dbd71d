"""``python -m pipehost build`` makes a component of a stage."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from ._build import Failed, build, sha256


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipehost", description="Tools for pipehost stages in Python.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    builds = commands.add_parser("build", help="make a component of a stage")
    builds.add_argument("source", nargs="?", default=".", help="a folder with stage.py, or FILE.py, or FILE.py:Class")
    builds.add_argument("-o", "--output", metavar="FILE", help="the component; default: NAME.wasm")
    builds.add_argument("-v", "--verbose", action="store_true", help="show what componentize-py prints")
    given = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        path = build(given.source, given.output, not given.verbose)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exception(error)
        print("error: the module of the stage cannot be imported", file=sys.stderr)
        return 1
    size = path.stat().st_size / (1 << 20)
    print(f"{path}: {size:.1f} MiB, sha256 {sha256(path)}, {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
