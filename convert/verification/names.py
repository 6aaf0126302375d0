"""One tensor under several names: what its base class leaves out, and what wrappers put before it.

A model saved by its base class lacks the segment that the class with a head has, and one loaded as its own base class has it
twice: transformers loads both (5.23 modeling_utils.py, base_model_prefix). torch.compile, FSDP and DataParallel each put a
segment into every name, and a multimodal export ``language_model``; no library reads those, so an output may not have
them. Written without the tables, which read the same names in their own way.
"""

from __future__ import annotations

from collections.abc import Iterable

_BASES = ("model", "transformer")
_INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # anywhere in a name
_BEFORE = ("module", "base_model", "language_model")  # before all others


def bare(name: str, wrapped: bool = False) -> str:
    """A name without its base class, and without wrappers too where it may be ``wrapped``.

    >>> bare("model.layers.0.mlp.up_proj.weight"), bare("module.model.norm.weight", wrapped=True)
    ('layers.0.mlp.up_proj.weight', 'norm.weight')
    """
    parts = [part for part in name.split(".") if not (wrapped and part in _INSIDE)]
    while len(parts) > 1 and (parts[0] in _BASES or (wrapped and parts[0] in _BEFORE)):
        del parts[0]
    return ".".join(parts)


class Names:
    """What a checkpoint calls the tensors that its architecture speaks of; one that it names twice has only its own name."""

    def __init__(self, stored: Iterable[str], *, wrapped: bool = False) -> None:
        self._stored, self._wrapped = frozenset(stored), wrapped
        found: dict[str, list[str]] = {}
        for name in self._stored:
            found.setdefault(bare(name, wrapped), []).append(name)
        self._alone = {short: names[0] for short, names in found.items() if len(names) == 1}

    def of(self, name: str) -> str:
        """The stored name; ``name`` itself where nothing of that name is stored."""
        return name if name in self._stored else self._alone.get(bare(name, self._wrapped), name)
