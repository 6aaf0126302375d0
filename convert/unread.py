"""Keys of OUT's config.json at values where its class does something that the reference decoders know nothing of.

A decoder reads the keys that it computes with. What else a class obeys is in the family's table, which reads a key, or holds it
for harmless at some values, or refuses it: here OUT is put to that table, key by key as far as SRC does not say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convert.checkpoint import Checkpoint
from convert.prepare import identify
from convert.verification.verdict import Finding
from mappings.config import known_keys, read_facts
from mappings.family import Family
from surgery.errors import ConversionError


def unread(source: Checkpoint, output: Checkpoint) -> tuple[Finding, ...]:
    """A finding that leaves the question open where no variant of OUT's family reads what OUT's config says."""
    try:
        candidates = identify(output.config)
    except ConversionError:  # a layout without a table: the decoders speak for themselves
        return ()
    reasons = [reason for family in candidates if (reason := _refused(family, source.config, output.config))]
    if len(reasons) < len(candidates):
        return ()
    why = f"{reasons[0].rstrip('.')}: the class may compute something else than was compared here"
    return (Finding("config keys that were not judged", "", "", "open", why),)


def _refused(family: Family, source: Mapping[str, Any], output: Mapping[str, Any]) -> str | None:
    """Why the table refuses OUT's config; keys that no class of this family knows, or that SRC says alike, are let through."""
    alike = {key for key in output if key in source and source[key] == output[key]}
    reason = _reason(family, output, alike)
    return reason if reason != _reason(family, source, alike) else None


def _reason(family: Family, config: Mapping[str, Any], alike: set[str]) -> str | None:
    try:
        read_facts(family, config, accept=frozenset((config.keys() - known_keys(family)) | alike))
    except ConversionError as error:
        return str(error)
    return None
