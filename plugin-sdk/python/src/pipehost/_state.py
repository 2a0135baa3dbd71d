"""The state of a stage as the host keeps it: bytes of each key group, and who saved them."""

from __future__ import annotations

import io
import json
import pickle
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from ._errors import Error

_MAGIC = b"PY\x01"
# The oldest that keeps large objects: a later Python reads it, and so does the one before.
_PROTOCOL = 4


def group_of(key: str | bytes | None, count: int) -> int:
    """The key group of a key, as the contract defines it: its CRC-32, modulo the number of groups."""
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogateescape")
    return zlib.crc32(key or b"") % max(count, 1)


class ByKey:
    """What a stage that keeps by key returns from `save`: what belongs to each key, and what is the same
    in all instances, as the last watermark is.

    The keys are what the record has in the field of `Setup.keeps_by_key`: text, bytes or `None`. A key
    may occur several times.
    """

    def __init__(
        self,
        entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        common: Any = None,
    ) -> None:
        self.entries = list(entries.items() if isinstance(entries, Mapping) else entries)
        self.common = common


def encode(state: Any, first: int, end: int, count: int) -> list[tuple[int, bytes]]:
    """The bytes of each group: the length of the common part, a little-endian u32; the common part;
    the entries."""
    by_group: dict[int, list[tuple[Any, Any]]] = {}
    if isinstance(state, ByKey):
        for entry in state.entries:
            group = group_of(entry[0], count)
            if not first <= group < end:
                raise Error(
                    f"state is saved for {entry[0]!r}, which is not one of the keys of this instance: save it "
                    "under what the records have in the field of keeps_by_key"
                )
            by_group.setdefault(group, []).append(entry)
        state = state.common
    common = b"" if state is None else _dump(state)
    groups = []
    for group in range(first, end):
        entries = by_group.get(group)
        if common or entries:
            packed = _dump(entries) if entries else b""
            groups.append((group, len(common).to_bytes(4, "little") + common + packed))
    return groups


def _dump(state: Any) -> bytes:
    return _MAGIC + pickle.dumps(state, _PROTOCOL)


def _load(data: bytes) -> Any:
    if not data.startswith(_MAGIC):
        raise Error("it was saved in another format")
    try:
        return pickle.Unpickler(io.BytesIO(data[len(_MAGIC) :])).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise Error(f"it was saved in another format: {error}") from None
    except (ImportError, AttributeError) as error:
        raise Error(f"it has an object of a class that this version does not have: {error}") from None


class Saved:
    """A saved state, and who saved it: see `Stage.restore`."""

    #: The version of the component that saved it.
    version: str
    #: The configuration of the stage when it was saved.
    config: dict[str, Any]
    #: The names of the settings that are not what they were when it was saved.
    changed: list[str]

    def __init__(self, groups: Iterable[bytes], version: str, saved_with: str, config: str) -> None:
        then, now = json.loads(saved_with), json.loads(config)
        self.version = version
        self.config = then
        self.changed = sorted(name for name in {*then, *now} if then.get(name, ...) != now.get(name, ...))
        self._groups: list[tuple[bytes, bytes]] = []
        for data in groups:
            length = int.from_bytes(data[:4], "little") + 4
            if len(data) < max(length, 4):
                raise Error("it was saved in another format")
            self._groups.append((data[4:length], data[length:]))

    def accept_changes_of(self, *settings: str) -> None:
        """Accepts the state if the configuration is the one that it was saved with, apart from these
        settings. Raises an error that names the others."""
        if others := [f"`{name}`" for name in self.changed if name not in settings]:
            raise Error(f"it was made with another configuration; what differs: {', '.join(others)}")

    def get(self, default: Any = None) -> Any:
        """What `save` returned; of a `ByKey`, what is common. If nothing was saved, the default."""
        common = self._groups[-1][0] if self._groups else b""
        return _load(common) if common else default

    def by_key(self) -> list[tuple[Any, Any]]:
        """The entries of the `ByKey` that `save` returned, of the key groups that this instance gets."""
        return [entry for _, entries in self._groups if entries for entry in _load(entries)]
