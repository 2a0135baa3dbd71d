"""The contract's types: in a component those of its bindings, elsewhere the same by hand.

componentize-py looks at fields by their names and at variants by their classes, so that the driver
can build these without knowing where it runs.
"""

from __future__ import annotations

import importlib

from . import _shapes
from ._shapes import (
    AttributeChange as AttributeChange,
)
from ._shapes import (
    Change as Change,
)
from ._shapes import (
    Columns as Columns,
)
from ._shapes import (
    Description as Description,
)
from ._shapes import (
    Keeps_Anything as Keeps_Anything,
)
from ._shapes import (
    Keeps_ByKey as Keeps_ByKey,
)
from ._shapes import (
    Keeps_Nothing as Keeps_Nothing,
)
from ._shapes import (
    Outcome as Outcome,
)
from ._shapes import (
    Output as Output,
)
from ._shapes import (
    Plan as Plan,
)
from ._shapes import (
    Rejection as Rejection,
)
from ._shapes import (
    Rows_All as Rows_All,
)
from ._shapes import (
    Rows_Fresh as Rows_Fresh,
)
from ._shapes import (
    Rows_Picked as Rows_Picked,
)
from ._shapes import (
    Target_Attribute as Target_Attribute,
)
from ._shapes import (
    Target_Key as Target_Key,
)
from ._shapes import (
    Target_Value as Target_Value,
)
from ._shapes import (
    TimestampsChange as TimestampsChange,
)


def _use_bindings() -> bool:
    try:
        modules = [importlib.import_module(f"wit_world.imports.{name}") for name in ("declarations", "packed_records")]
    except ImportError:
        return False
    modules.append(importlib.import_module("wit_world.imports.records"))
    for name in _NAMES:
        # `records` comes last: it has the other shape of what `packed_records` has.
        globals()[name] = next(getattr(module, name) for module in modules if hasattr(module, name))
    return True


_NAMES = [
    name for name, shape in vars(_shapes).items() if isinstance(shape, type) and shape.__module__ == _shapes.__name__
]
_use_bindings()
