"""The types of the contract by hand, for where there are no bindings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Columns:
    timestamps: bool
    key: bool
    value: bool
    attributes: list[str]


@dataclass
class Description:
    name: str
    version: str
    summary: str
    config_schema: str


@dataclass
class Keeps_Anything:
    pass


@dataclass
class Keeps_Nothing:
    pass


@dataclass
class Keeps_ByKey:
    value: object


@dataclass
class Plan:
    reads: Columns
    ports: list[str]
    inputs: list[str]
    keeps: object


@dataclass
class Target_Key:
    pass


@dataclass
class Target_Value:
    pass


@dataclass
class Target_Attribute:
    value: str


@dataclass
class Rejection:
    row: int
    reason: str
    retryable: bool


@dataclass
class Rows_All:
    pass


@dataclass
class Rows_Picked:
    value: bytes


@dataclass
class Rows_Fresh:
    value: int


@dataclass
class Change:
    ends: bytes
    data: bytes
    nulls: bytes
    inherited: bytes


@dataclass
class AttributeChange:
    name: str
    change: Change


@dataclass
class TimestampsChange:
    timestamps: bytes
    inherited: bytes


@dataclass
class Output:
    port: int
    rows: object
    timestamps: TimestampsChange | None
    key: Change | None
    value: Change | None
    attributes: list[AttributeChange]
    removed: list[str]
    excerpts: list[object]


@dataclass
class Outcome:
    outputs: list[Output]
    rejected: list[Rejection]
