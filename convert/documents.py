"""What else belongs in the output: generation settings in a form that current libraries accept, and files carried over."""

from __future__ import annotations

from typing import Any

from convert.checkpoint import Checkpoint, read_bytes
from convert.checkpoint.documents import is_legal, read_json
from convert.validate.card_text import TOLD, read_card

#: settings that only sampling reads: transformers 5 refuses to save them beside do_sample = false
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_DROPPED = ("transformers_version", "_from_model_config")
_LARGEST_CARD, _MOST, _LONGEST = 1 << 20, 32, 256  # bytes read; texts of a key and letters of each that are kept
_REWRITTEN = frozenset({"config.json", "generation_config.json", "README.md"})


def generation_config(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The generation settings to write, and what was changed; None where the source has none."""
    found = checkpoint.documents.get("generation_config.json")
    if found is None:
        return None, ()
    settings = {k: v for k, v in read_json(found).items() if k not in _DROPPED}
    idle = [key for key in _SAMPLING if key in settings] if not settings.get("do_sample") else []
    for key in idle:
        del settings[key]
    told = (
        (f"generation_config.json: {', '.join(idle)} dropped, which have no effect without do_sample",) if idle else ()
    )
    return settings, told


def carried(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The documents that are copied byte for byte: licences, notices and tokenizer files."""
    return tuple(sorted(name for name in checkpoint.documents if name not in _REWRITTEN))


def is_licence(name: str) -> bool:
    """Whether a document is a licence or notice, which no conversion may change.

    >>> is_licence("LICENSE"), is_licence("USE_POLICY.md"), is_licence("tokenizer.json")
    (True, True, False)
    """
    return is_legal(name)


def source_card(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """What the source's own card says of its licence and of what it was made from; nothing where it is damaged or absent."""
    readme = checkpoint.documents.get("README.md")
    if readme is None or readme.size > _LARGEST_CARD:
        return {}
    card = read_card(read_bytes(readme).decode("utf-8", "replace"))
    told = {key: [text for text in card.texts(key) if len(text) <= _LONGEST][:_MOST] for key in TOLD}
    return {key: texts for key, texts in told.items() if texts}
