"""What else belongs in the output: generation settings in a form that current libraries accept, and files carried over."""

from __future__ import annotations

from typing import Any

from convert.checkpoint import Checkpoint
from convert.checkpoint.documents import is_legal, read_json

#: settings that only sampling reads: transformers 5 refuses to save them beside do_sample = false
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_DROPPED = ("transformers_version", "_from_model_config")
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
