"""The rules, one file per group. A group is its module's name; a rule belongs to the file that it lies in."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from convert.validate.rule import Rule


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, group by group in the order in which they are read best."""
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)), key=_ORDER.index)
    modules = [importlib.import_module(f"convert.validate.rules.{name}") for name in names]
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Rule))


_ORDER = (
    "files", "leftovers", "index", "headers", "values", "config", "rope", "architecture", "adapter",
    "tokenizer", "chat", "generation", "card", "licence", "secrets", "consumers",
)  # fmt: skip

GROUPS = _ORDER
