"""What a stage declares when it opens: columns to read, ports to write."""

from __future__ import annotations

from typing import Any

from . import _contract as contract

NO_TIME = -(2**63)


class Column:
    """Something that the stage reads."""

    # `rows` holds the texts of the batch, or something that makes them when it is asked for one.
    __slots__ = ("name", "raw", "rows")
    rows: Any
    raw: Any

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = self.raw = NOTHING

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Field(Column):
    """A column that the stage reads: the key, the value or an attribute. Only `Setup` makes one."""

    __slots__ = ()


class Time(Column):
    """The timestamps of the records. Only `Setup` makes one."""

    __slots__ = ()


class Port(int):
    """An output port. Only `Setup` makes one."""

    __slots__ = ()


class Input(int):
    """An input that the stage tells from the others. Only `Setup` makes one."""

    __slots__ = ()


class Nothing:
    """A field between batches."""

    def __getitem__(self, _row: int) -> Any:
        raise RuntimeError("a record can be read only while it is processed")


NOTHING = Nothing()


class Setup:
    """Handed to `Stage.open` to declare what the stage reads and which ports it has."""

    def __init__(self) -> None:
        self._time: Time | None = None
        self._key: Field | None = None
        self._value: Field | None = None
        self._attributes: dict[str, Field] = {}
        self._ports: list[str] = ["out"]
        self._inputs: list[str] = []
        self._keeps: Any = contract.Keeps_Anything()

    def key(self) -> Field:
        """Reads the key."""
        if self._key is None:
            self._key = Field("key")
        return self._key

    def value(self) -> Field:
        """Reads the value."""
        if self._value is None:
            self._value = Field("value")
        return self._value

    def attribute(self, name: str) -> Field:
        """Reads the attribute of this name, which a record may have or not."""
        if not isinstance(name, str) or not name:
            raise TypeError("the name of an attribute is a text that is not empty")
        if name not in self._attributes:
            self._attributes[name] = Field(f"attribute {name!r}")
        return self._attributes[name]

    def attribute_or_key(self, name: str | None) -> Field:
        """Reads the attribute of this name; without one, the key."""
        return self.key() if name is None else self.attribute(name)

    def timestamp(self) -> Time:
        """Reads the timestamps of the records."""
        if self._time is None:
            self._time = Time("timestamp")
        return self._time

    def port(self, name: str) -> Port:
        """Adds a port beside the default one."""
        if name not in self._ports:
            self._ports.append(name)
        return Port(self._ports.index(name))

    def rename_default_port(self, name: str) -> None:
        """Gives the default port, `out`, another name."""
        self._ports[0] = name

    def input(self, name: str) -> Input:
        """Declares one more input that the stage tells apart: the pipeline must then give the stage
        as many inputs as are declared, in this order."""
        if name not in self._inputs:
            self._inputs.append(name)
        return Input(self._inputs.index(name))

    def keeps_nothing(self) -> None:
        """Declares that the stage keeps nothing from one record to the next: what it does with a
        record depends on this record alone. The host then runs it on as many cores as it has."""
        self._keeps = contract.Keeps_Nothing()

    def keeps_by_key(self, field: Field) -> None:
        """Declares that what the stage keeps belongs to one value of this field: what it does with a
        record depends on no record with another value. The host can then divide the records among
        several instances."""
        if field is self._key:
            self._keeps = contract.Keeps_ByKey(contract.Target_Key())
        elif field is self._value:
            self._keeps = contract.Keeps_ByKey(contract.Target_Value())
        else:
            for name, attribute in self._attributes.items():
                if attribute is field:
                    self._keeps = contract.Keeps_ByKey(contract.Target_Attribute(name))
                    return
            raise TypeError("keeps_by_key takes a field that setup.key(), .value() or .attribute() returned")

    def _plan(self) -> Any:
        columns = contract.Columns(
            self._time is not None, self._key is not None, self._value is not None, list(self._attributes)
        )
        return contract.Plan(columns, list(self._ports), list(self._inputs), self._keeps)
