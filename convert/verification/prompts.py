"""What both sides are made to read: texts through the output's own tokenizer, random ids, lengths that cross something.

In a causal model a prefix is a prompt of its own, so every shorter length down to one token is compared along with the
longest. Only a table that depends on the whole length (longrope) needs a second, shorter run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convert.verification.meaning import Meaning
from surgery.errors import ConversionError, show
from surgery.tokenizer.facts import load
from surgery.tokenizer.sources import read_json

_TEXTS = (
    "The lighthouse keeper wrote down 1,024 ships that year, and none of them came back. Why did he go on counting?",
    "春天的早晨 河边的老人问孩子 如果水一直向东流 那么鱼为什么还要逆流而上 孩子想了很久 没有回答",
    "def mean(values: list[float]) -> float:\n    total = sum(values, 0.0)\n    return total / len(values)\n",
)
_PAST = 8  # tokens beyond a threshold
_AFFORDABLE = {True: 640, False: 160}  # tokens a sequence may have, for a small model and for a large one
_LENGTH = {True: 96, False: 40}


@dataclass(frozen=True)
class Prompts:
    """Rows of token ids, one length for all; and the same in words."""

    ids: Tensor
    words: str


def lengths(meanings: Sequence[Meaning | None], contexts: Sequence[int | None], small: bool) -> tuple[int, ...]:
    """How long the prompts are: longest first, a second only where a rotation changes with the whole length."""
    known = [m for m in meanings if m is not None]
    most = min([*(c for c in contexts if c), _AFFORDABLE[small]])
    wanted = min(_LENGTH[small], most)
    for threshold in {t for m in known for t in _thresholds(m)}:
        if threshold + _PAST <= most:
            wanted = max(wanted, threshold + _PAST)
    switching = [t for m in known for t in _switches(m) if t < wanted]
    return (wanted, *((min(switching),) if switching else ()))


def choose(
    given: Sequence[Sequence[int]] | None,
    texts: Sequence[Sequence[int]],
    vocabulary: int,
    count: int,
    length: int,
    random: torch.Generator,
) -> Prompts:
    """`given` prompts, else encoded `texts` and one of random ids; all filled up with random ids to one length."""
    asked = [list(prompt) for prompt in given or ()]
    if beyond := [token for prompt in asked for token in prompt if not 0 <= token < vocabulary]:
        raise ConversionError(f"The prompt token {beyond[0]} lies outside the common {vocabulary} tokens.")
    rows = asked or [[token for token in text if token < vocabulary] for text in texts][: count - 1]
    shape = (len(asked) or count, max((len(row) for row in asked), default=length))
    ids = torch.randint(vocabulary, shape, generator=random)
    for row, tokens in enumerate(rows):
        kept = tokens[: shape[1]]
        ids[row, : len(kept)] = torch.tensor(kept, dtype=torch.long)
    kind = f"{len(rows)} {'given prompts' if asked else 'texts'}" if rows else ""
    rest = shape[0] - len(rows)
    words = " and ".join(part for part in (kind, f"{rest} of random ids" if rest else "") if part)
    return Prompts(ids, f"{words}, {shape[1]} tokens each, and the first once more, perturbed")


def encoded(tokenizer: Path) -> list[list[int]]:
    """Our texts as ids of a tokenizer.json."""
    name = show(tokenizer.name)
    try:
        loaded = load(read_json(tokenizer.name, tokenizer.read_bytes()))
        return [loaded.encode(text).ids for text in _TEXTS]
    except ConversionError as refused:
        raise ConversionError(f"{name} of the output cannot be used: {str(refused).rstrip('.')}. Write it again.") from None


def _thresholds(m: Meaning) -> frozenset[int]:
    """Lengths beyond which something in this architecture changes."""
    return m.originals.union(w for w in m.windows if w)


def _switches(m: Meaning) -> frozenset[int]:
    """Lengths at which a table changes for every position, those before it too."""
    tables = [m.rope.get("rope_scaling") or {}, m.rope.get("rope_parameters") or {}]
    long = [t for t in tables if t.get("rope_type", t.get("type")) in ("longrope", "su")]
    return m.originals if any(t["long_factor"] != t["short_factor"] for t in long) else frozenset()

