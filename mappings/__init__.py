"""One short file per family: what differs from Llama, as data. The registry is the folder's listing."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from mappings.family import Family


@cache
def families() -> tuple[Family, ...]:
    """Every family and variant, by name: each module of this package that has ``FAMILIES`` contributes them."""
    found: list[Family] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        found.extend(getattr(importlib.import_module(f"mappings.{module.name}"), "FAMILIES", ()))
    return tuple(found)
