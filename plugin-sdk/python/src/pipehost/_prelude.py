"""Imports what a stage may need later: a running component has no files, so that it has only the modules
that were imported when it was built. Many of the standard library import others when they are first used."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable

# What the standard library itself imports late, and what a stage that makes its imports from names may want. What
# the stage imports inside of functions is found in its source.
_STANDARD = [
    "_strptime",
    "array",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "encodings.ascii",
    "encodings.cp1252",
    "encodings.hex_codec",
    "encodings.idna",
    "encodings.iso8859_1",
    "encodings.iso8859_15",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.utf_16",
    "encodings.utf_16_be",
    "encodings.utf_16_le",
    "encodings.utf_32",
    "encodings.utf_8",
    "encodings.utf_8_sig",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "linecache",
    "logging",
    "math",
    "numbers",
    "operator",
    "os",
    "pickle",
    "random",
    "re",
    "secrets",
    "string",
    "stringprep",
    "struct",
    "textwrap",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "warnings",
    "zlib",
]


def load(late: Iterable[str] = ()) -> None:
    for name in [*_STANDARD, *late]:
        with contextlib.suppress(Exception):  # It is not there, or not for this platform.
            importlib.import_module(name)
    _use()


def _use() -> None:
    """Some imports happen only in the course of the first use."""
    import datetime
    import decimal
    import traceback

    datetime.datetime.strptime("2024-02-29 12:00:00 +0000", "%Y-%m-%d %H:%M:%S %z")
    datetime.datetime(2024, 2, 29).strftime("%c")
    decimal.Decimal("1.5") / 3
    try:
        raise ValueError
    except ValueError:
        traceback.format_exc()
