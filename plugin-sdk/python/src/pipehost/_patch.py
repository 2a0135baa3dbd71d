"""Frees what componentize-py forgets to free.

The run time of componentize-py (up to 0.25.1 at least) copies each `list<u8>` of an answer into memory that it
allocates (`maybe_pop_list` in its runtime/src/lib.rs) and never frees: the bytes of every answer stay. Lists of
other things it frees after the call, by a list of deferred deallocations.

The module of the run time exports both functions: the one that pops a list, and the one that adds to that list.
So a third function, which calls the one and then the other, takes the place of the first among the exports.
Nothing else in the component changes.
"""

from __future__ import annotations

# Those that need it. To one that frees the lists itself, this must not be done.
VERSIONS = ("0.25.1",)

_POP = "wit_dylib_pop_list"
_FREE = "wit_dylib_dealloc_bytes"
_IMPORT, _FUNCTION, _EXPORT, _CODE = 2, 3, 7, 10
_FUNC = 0


class Unknown(Exception):
    """The component is not one of those that need this."""


def free_lists(component: bytes) -> bytes:
    """The same component, which frees the bytes that it answered with."""
    if component[:8] != b"\0asm\x0d\0\x01\0":
        raise Unknown("it is no component")
    parts, found = [component[:8]], 0
    for section, body in _sections(component, 8):
        if section == 1 and _POP.encode() in body and (patched := _patched(body)) is not None:
            body, found = patched, found + 1
        parts.append(_section(section, body))
    if found != 1:
        raise Unknown(f"it has {found} modules with {_POP} and {_FREE}")
    return b"".join(parts)


def _patched(module: bytes) -> bytes | None:
    sections = list(_sections(module, 8))
    exports = next((_exports(body) for section, body in sections if section == _EXPORT), [])
    functions = {name: index for name, kind, index in exports if kind == _FUNC}
    if _POP not in functions or _FREE not in functions:
        return None
    imported = next((_imported_functions(body) for section, body in sections if section == _IMPORT), 0)
    types = next(_vector_of_numbers(body) for section, body in sections if section == _FUNCTION)
    if functions[_POP] < imported:
        raise Unknown(f"{_POP} is imported")
    new = imported + len(types)
    parts = [module[:8]]
    for section, body in sections:
        if section == _FUNCTION:
            types.append(types[functions[_POP] - imported])
            body = _leb(len(types)) + b"".join(map(_leb, types))
        elif section == _EXPORT:
            body = _leb(len(exports)) + b"".join(
                _leb(len(name.encode())) + name.encode() + bytes([kind]) + _leb(new if name == _POP else index)
                for name, kind, index in exports
            )
        elif section == _CODE:
            count, start = _read(body, 0)
            body = _leb(count + 1) + body[start:] + _code(functions[_POP], functions[_FREE])
        parts.append(_section(section, body))
    return b"".join(parts)


def _code(pop: int, free: int) -> bytes:
    context, kind, pointer, length = (b"\x20" + bytes([local]) for local in range(4))
    load = pointer + b"\x28\x02\x00"  # i32.load of where the list is; 0, if it is freed elsewhere.
    defer = context + load + length + b"\x41\x01" * 2 + b"\x10" + _leb(free)  # Of alignment 1, and later.
    code = (
        b"\x01\x01\x7f"  # One local: i32.
        + context + kind + pointer + b"\x10" + _leb(pop) + b"\x21\x03"  # length = pop(context, kind, pointer)
        + load + b"\x04\x40" + defer + b"\x0b"  # if load { defer }
        + length + b"\x0b"
    )  # fmt: skip
    return _leb(len(code)) + code


def _sections(data: bytes, at: int) -> list[tuple[int, bytes]]:
    sections = []
    while at < len(data):
        size, start = _read(data, at + 1)
        sections.append((data[at], data[start : start + size]))
        at = start + size
    return sections


def _section(section: int, body: bytes) -> bytes:
    return bytes([section]) + _leb(len(body)) + body


def _exports(body: bytes) -> list[tuple[str, int, int]]:
    count, at = _read(body, 0)
    exports = []
    for _ in range(count):
        length, at = _read(body, at)
        name, kind = body[at : at + length].decode(), body[at + length]
        index, at = _read(body, at + length + 1)
        exports.append((name, kind, index))
    return exports


def _imported_functions(body: bytes) -> int:
    count, at = _read(body, 0)
    functions = 0
    for _ in range(count):
        for _ in range(2):
            length, at = _read(body, at)
            at += length
        kind, at = body[at], at + 1
        if kind == _FUNC:
            _, at = _read(body, at)
            functions += 1
        elif kind == 1:  # A table: its type, and limits.
            at = _limits(body, at + 1)
        elif kind == 2:
            at = _limits(body, at)
        elif kind == 3:
            at += 2
        elif kind == 4:
            _, at = _read(body, at + 1)
        else:
            raise Unknown(f"an import of kind {kind}")
    return functions


def _limits(body: bytes, at: int) -> int:
    flags, at = body[at], at + 1
    _, at = _read(body, at)
    if flags & 1:
        _, at = _read(body, at)
    return at


def _vector_of_numbers(body: bytes) -> list[int]:
    count, at = _read(body, 0)
    numbers = []
    for _ in range(count):
        number, at = _read(body, at)
        numbers.append(number)
    return numbers


def _read(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def _leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
