"""What runs in the witness's process: make the miniatures, let the library compute them, say what was found."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.added import ADDING, additions_of
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.planning import Plan
from convert.prepare import plan_artefact
from convert.remake import edited, opened
from convert.verification.additions import with_additions
from convert.verification.decoder import decode
from convert.verification.decoders import decoder_for
from convert.verification.weights import open_weights
from convert.wish import Wish
from convert.witness import judge
from convert.witness.additions import Base, put, small_edit
from convert.witness.config import Small, laid_over, shrunk
from convert.witness.library import Library, Put, Unloadable, has_peft, library
from convert.witness.vocabulary import Vocabulary, vocabulary
from convert.witness.weights import random_weights, store
from convert.writing import write
from mappings import families
from mappings.config import read_facts, refusals
from mappings.family import Family
from surgery.apart.confined import forbid_network, limit_memory
from surgery.edits.vocabulary import mixed_rows, replace_rows
from surgery.errors import ConversionError, show
from surgery.model import Artefact
from surgery.passes.zero_biases import BIASED

_MEMORY = 2_000_000_000  # bytes beyond what the libraries map
#: edits that change no more than how numbers are stored: a miniature is float32 throughout
_STORAGE = ("cast",)
#: how peft merges an adapter
_PLAINLY = {"weight": 1.0, "subtract": False}


def main() -> None:
    """A task as JSON on stdin; the answer as the last line of stdout."""
    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    print(json.dumps(_answer(task)))


def _answer(task: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = library()
    except ImportError:
        return _not("transformers is not installed (pip install weightsmith[witness])")
    disk = json.loads((Path(task["output"]) / "config.json").read_text(encoding="utf-8"))
    if not found.has(disk):
        return _not(f"{found.name} has no class for {show(disk.get('model_type'))}")
    limit_memory(_MEMORY)
    with tempfile.TemporaryDirectory(prefix="weightsmith-witness-") as folder:
        try:
            twins = _twins(task, disk, Path(folder))
        except ConversionError as error:
            return _not(f"no miniature could be made: {error}")
        try:
            return twins.judged(found)
        except ConversionError as error:  # of our decoder: what the table made is no checkpoint of the family to it
            said = f"the reference decoder of the source does not take what the table makes of it: {error}"
            return {"ran": True, "passed": False, **twins.told(found), "because": said}


def _not(because: str) -> dict[str, Any]:
    return {"ran": False, "because": because}


@dataclass(frozen=True)
class _Twins:
    """Both miniatures on disk."""

    small: Small
    vocabulary: Vocabulary
    source: Checkpoint
    output: Path
    plan: Plan
    family: Family
    configs: tuple[Mapping[str, Any], Mapping[str, Any]]
    variant: str

    def told(self, found: Library, lengths: Sequence[int] = ()) -> dict[str, Any]:
        """What an answer says of the miniatures themselves."""
        return {"library": found.name, "layers": self.small.layers, "width": self.small.width, "lengths": list(lengths)}

    def judged(self, found: Library) -> dict[str, Any]:
        """What the library says of both: the answer."""
        facts = self.small.facts
        weights = sum(file.payload for file in self.plan.files) // 4
        shape = judge.Shape(self.small.layers, self._width(), weights)
        own = self._own_class(found)
        decoder = None if own else self._decoder()
        limit = facts["context"] if self.plan.limited else None
        bounds = (limit, decoder.context if decoder is not None else None, facts["position"])
        limit = min((bound for bound in bounds if bound is not None), default=None)
        wanted = judge.lengths(self.configs, shape, limit)
        ids, theirs = judge.prompts(self.vocabulary, wanted)
        told = {"ran": True, **self.told(found, wanted)}
        by, remark = "", ""
        truth: Sequence[Tensor] | None = None
        if own:
            try:
                by, truth = found.logits(self.source.path, ids, self.adapters, self._rows())
            except Unloadable as error:
                remark = f"the library does not take the source ({error})"
        if truth is None:
            decoder = decoder or self._decoder()
            by = f"{decoder.family}'s reference decoder"
            with torch.inference_mode():
                truth = [decode(decoder, one) for one in ids]
        try:
            runner, logits = found.logits(self.output, theirs)
        except Unloadable as error:
            return {**told, "passed": False, "because": f"the output does not load as it is meant: {error}", "against": by}
        choosing = facts.knows("expert")
        far = judge.distance(truth, logits, self.vocabulary, self.small.layers, choosing)
        return {
            **told, "passed": far.passed, "runner": runner, "against": by, "error": far.error, "allowed": far.allowed,
            "because": remark if far.passed else f"logits differ at {far.length} tokens",
        }  # fmt: skip

    def _own_class(self, found: Library) -> bool:
        """Whether the library computes the source's side: by its own class, with peft where adapters are merged into it."""
        whole = all(one["kind"] == "adapter" and one["options"] == _PLAINLY for one in self.source_additions)
        plain = not self.source_additions or (whole and has_peft())
        return plain and self.family.stored == "safetensors" and found.has(self.small.config)

    @property
    def adapters(self) -> list[Put]:
        return [put(Path(one["path"])) for one in self.source_additions]

    def _rows(self) -> int | None:
        rows = len(self.vocabulary.output)
        return rows if rows != len(self.vocabulary.source) and not self.vocabulary.renumbered else None

    @property
    def source_additions(self) -> list[dict[str, Any]]:
        """What is added to the source; an adapter acts on a base that was untied before as it does on the tied one."""
        return [one for one in additions_of(self.plan) if "path" in one]

    def _decoder(self) -> Any:
        source, changes = with_additions(self.source, additions_of(self.plan))
        return decoder_for(source.config, open_weights(source, changes=changes), self.variant or None)

    def _width(self) -> int:
        facts = self.small.facts
        head = facts["head"] if facts.knows("head") else (facts["qk_still"] or 0) + (facts["qk_turned"] or 0)
        return int(facts["heads"] * head)


def _twins(task: Mapping[str, Any], disk: Mapping[str, Any], folder: Path) -> _Twins:
    """Make SRC's miniature, carry out the wish on it, and lay the config on disk over what was written."""
    wish = Wish.from_json(task["wish"])
    checkpoint = open_checkpoint(task["source"])
    accept = wish.options.get("accept", ())
    whole = opened(wish, checkpoint)
    family, target = _family(whole.label), _family(wish.to)
    facts = whole.model.facts
    after = read_facts(target, task["planned"], accept=frozenset(accept))["vocab"]
    shared = tuple(task["shared"]) if task["shared"] is not None else None
    tokens = vocabulary((facts["vocab"], after), shared, (checkpoint.config, disk))
    small = shrunk(family, facts, checkpoint.config, tokens.source, accept)
    dropped = "drop-zero-biases" in task["passes"]
    idle = {refusal.fact for refusal in refusals(target, facts)} & BIASED.keys() if dropped else set()
    tensors = random_weights(family, small.facts, idle=idle, tied=any(edit.name == "tie" for edit in wish.edits))
    store(folder / "source", tensors, small.config, family.stored)
    base = Base(family, checkpoint, tensors, tokens.output)
    adding = [number for number, edit in enumerate(wish.edits) if edit.name in ADDING]
    edits = [
        small_edit(edit, base, folder / f"edit{number}", first=number in adding[:1])
        for number, edit in enumerate(wish.edits)
        if edit.name not in _STORAGE
    ]
    twin = open_checkpoint(folder / "source" / "ckpt.pt" if family.stored == "ckpt" else folder / "source")
    made = edited(opened(wish, twin), edits)
    if tokens.renumbered:
        made = _renumbered(made, tokens)
    plan = plan_artefact(made, wish.to, **_options(wish))
    if plan.passes != tuple(task["passes"]):
        said = ", ".join(plan.passes) or "none"
        raise ConversionError(f"it takes other passes ({said}) than the whole model ({', '.join(task['passes']) or 'none'})")
    write(plan, folder / "output", workers=1, read_back="off")
    written = json.loads(plan.documents["config.json"])
    config = laid_over(disk, task["planned"], written, tokens.output)
    (folder / "output" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return _Twins(small, tokens, twin, folder / "output", plan, family, (small.config, config), wish.variant)


def _options(wish: Wish) -> dict[str, Any]:
    """What of the wish decides the function: not how many files are written, nor in which type."""
    kept = ("mends", "prefer", "mtp")
    return {"tokenizer": "carry", **{key: value for key, value in wish.options.items() if key in kept}}


def _family(label: str) -> Family:
    return next(family for family in families() if family.label == label)


def _renumbered(artefact: Artefact, tokens: Vocabulary) -> Artefact:
    """The artefact with the output's tokens: those that both sides have keep their rows, others are means of two."""
    old = {theirs: ours for ours, theirs in tokens.pairs}
    last = len(tokens.source) - 1
    mixtures = tuple(
        ((old[place], 1.0),) if place in old else ((0, 0.5), (last, 0.5)) for place in range(len(tokens.output))
    )
    return replace_rows(artefact, mixed_rows(mixtures), len(mixtures))
