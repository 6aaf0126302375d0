"""Where an artefact comes from: its family's table, and the documents that go with it."""

from __future__ import annotations

from collections.abc import Mapping

from convert.checkpoint import Checkpoint, SourceFile
from convert.documents import is_licence
from convert.tokenizing import has_tokenizer
from mappings import families
from mappings.family import Family
from surgery.model import Artefact

#: documents that belong to the one checkpoint in which they lie
_OWN = frozenset({"config.json", "generation_config.json", "adapter_config.json", "README.md"})


def family_of(artefact: Artefact) -> Family:
    """The table of the family that stored the artefact."""
    return next(f for f in families() if (f.name, f.variant) == (artefact.family, artefact.variant))


def documents_with(base: Checkpoint, other: Checkpoint, *, grown: bool) -> tuple[Mapping[str, SourceFile], tuple[str, ...]]:
    """The documents to carry, and a warning: the tokenizer of what is added, if it has one, in the place of the base's."""
    brought = {name: file for name, file in other.documents.items() if name not in _OWN and not is_licence(name)}
    if has_tokenizer(brought):
        kept = {name: file for name, file in base.documents.items() if is_licence(name) or name in _OWN}
        return {**kept, **brought}, ()
    told = f"{other.path.name} has more tokens than the base and no tokenizer: bring the one it was trained with"
    return base.documents, (told,) if grown else ()
