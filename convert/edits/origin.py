"""What an artefact's file looked like: its family's table."""

from __future__ import annotations

from mappings import families
from mappings.family import Family
from surgery.model import Artefact


def family_of(artefact: Artefact) -> Family:
    """The table of the family that stored the artefact."""
    return next(f for f in families() if (f.name, f.variant) == (artefact.family, artefact.variant))
