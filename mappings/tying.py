"""Which tensors a config does without: the output projection of a model that ties it to the embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mappings import families
from mappings.config import recognise
from mappings.family import Family, Fixed, lookup


def tied_heads(config: Mapping[str, Any]) -> frozenset[str]:
    """What the families that a config may be call the output projection that it ties; empty where it ties none."""
    tied = (family for family in recognise(families(), config) if _ties(family, config))
    return frozenset(row.name for family in tied for row in family.rows if row.roles == "head")


def _ties(family: Family, config: Mapping[str, Any]) -> bool:
    for setting in family.settings:
        if setting.fact == "tied":
            stated = setting.value if isinstance(setting, Fixed) else lookup(config, setting.key)
            default = None if isinstance(setting, Fixed) else setting.default
            return (default if stated is None else stated) is True
    return False
