"""The vocabulary of a model, both halves of it at once: the tokenizer's files and the rows of the embeddings.

    from convert.edits.tokens import read_addition
    from convert.edits.vocabulary import extend_vocab, plan_vocabulary

    revised = extend_vocab(convert.open("base"), read_addition("chinese_sp.model"))
    print("\\n".join(revised.lines))
    convert.write(plan_vocabulary(revised), "out")

Tokens alone decide what is written, so plans of the same input are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from convert.auto_tokenizer import AutoTokenizers
from convert.checkpoint import Checkpoint
from convert.edits.initial import fill_of
from convert.edits.loaded import Theirs, from_library, of_the_same_class, refuse_other_ids
from convert.edits.pieces import by_reason
from convert.edits.tokens import tokenizer_files, tokenizer_names
from convert.planning import Plan, document
from convert.prepare import plan_artefact
from convert.tokenizing import has_tokenizer, installed
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.edits.vocabulary import extend_rows
from surgery.errors import ConversionError, listed, quote, show
from surgery.model import Artefact
from surgery.tokenizer.adapt import configuration
from surgery.tokenizer.check import Encode
from surgery.tokenizer.export import dumped
from surgery.tokenizer.facts import token_text
from surgery.tokenizer.grow import Addition, Grown, as_tokenizer_json, grow
from surgery.tokenizer.pieces import Scores
from surgery.tokenizer.probe import PROBE, SAMPLES, specials_inside
from surgery.tokenizer.sources import SENTENCEPIECE_NAMES

_TEXTS, _LONGEST = 8, 128  # texts for the effect, and tokens of each
_SPECIALS = 8  # tokens that are put into text


@dataclass(frozen=True)
class Revised:
    """A model and a tokenizer that were changed together, and what there is to say about it."""

    artefact: Artefact
    files: Mapping[str, bytes] | None  # the tokenizer's, in place of those that there are; None: as they are
    shared: tuple[Sequence[int], Sequence[int]]  # ids, old and new, of the tokens that mean what they meant
    said: Mapping[str, Any]  # for the manifest
    lines: tuple[str, ...]  # for a person
    fresh: tuple[int, int] | None = None  # the new ids that text of before never has: from, up to
    texts: tuple[tuple[int, ...], ...] = ()  # such text, in new ids
    settings: Mapping[str, Any] | None = None  # of generation, where ids have moved


def extend_vocab(
    artefact: Artefact,
    addition: Addition,
    *,
    init: str = "subword-mean",
    scores: Scores = "canonical",
    pad_to: int = 1,
    seed: int = 0,
    k: int = 8,
    measure: Mapping[str, str] | None = None,
) -> Revised:
    """The artefact with the tokens of ``addition``: in its tokenizer, its embeddings and its output projection.

    ``init`` is what ``--init`` takes; ``pad_to`` rounds the number of rows up; ``measure`` adds texts, by name, to those on
    which the tokenizers are compared.
    """
    files, library = own_files(artefact), installed()
    loaded = _as_loaded(artefact, files, library) if library is not None else None
    extended = partial(
        _extended, artefact, addition, library, init=init, scores=scores, pad_to=pad_to, seed=seed, k=k, measure=measure or {}
    )
    if loaded is None:
        return extended(files=files)
    if any(name in files for name in SENTENCEPIECE_NAMES):
        # what everyone else reads stays what it is, if the library lays over it what it laid over the source's
        with suppress(ConversionError):
            return extended(files=files, also=loaded.value, said=(loaded.why,))
    return extended(files={**files, "tokenizer.json": dumped(loaded.value)}, said=(loaded.said,))


def _extended(
    artefact: Artefact,
    addition: Addition,
    library: AutoTokenizers | None,
    *,
    files: Mapping[str, bytes],
    init: str,
    scores: Scores,
    pad_to: int,
    seed: int,
    k: int,
    measure: Mapping[str, str],
    also: Mapping[str, Any] | None = None,
    said: tuple[str, ...] = (),
) -> Revised:
    """The artefact with tokens added to these files. ``also``: what the library makes of their tokenizer.json, if otherwise."""
    grown = grow(files, addition, recipe_of=partial(recipe_for, artefact.family), template=template_for, scores=scores)
    if also is not None:
        grown = replace(grown, files=of_the_same_class(grown.files, files))
    old = artefact.model.facts["vocab"]
    refuse_more_ids(artefact, grown.first)
    count = len(grown.tokens)
    if not count:
        raise ConversionError(
            f"none of the {len(addition.tokens) + len(addition.atoms)} tokens is new: {len(grown.duplicates)} are there already, "
            f"{_refused(grown)}. There is nothing to write."
        )
    rows = rounded_up(max(old, grown.first + count), pad_to)
    fill = fill_of(init, artefact, grown, seed=seed, k=k)
    texts = {**SAMPLES, **measure}
    plain = [ids for text in texts.values() for ids in _cut(grown.after(text)) if ids and max(ids) < grown.first]
    changed = extend_rows(artefact, count, fill, first=grown.first, rows=rows)
    alike: tuple[str, ...] = ()
    if library is not None:
        kept = "tokenizer.json" in files and scores == "canonical"  # of a bare vocabulary file, its engine knows the ids
        named = (*_named(files), *addition.atoms)
        alike = refuse_other_ids(library, artefact.origin.path, grown, changed, _tried(files), named, kept, also)
    return Revised(
        changed,
        grown.files,
        (range(grown.first), range(grown.first)),
        {
            "edit": "extend-vocab", "tokens": count, "steps": grown.steps, "duplicates": len(grown.duplicates),
            "skipped": len(grown.skipped), "first": grown.first, "rows": rows, "init": init, "seed": seed, "k": k,
            "scores": scores, "pad_to": pad_to, "class": grown.tokenizer_class,
        },
        (*_became(grown), *said, f"rows: {old} become {rows}, the new ones {init}", *compared(grown, texts), *alike),
        fresh=(grown.first, rows if grown.first + count >= old else grown.first + count),
        texts=tuple(plain[:_TEXTS]),
    )  # fmt: skip


def _as_loaded(artefact: Artefact, files: Mapping[str, bytes], library: AutoTokenizers) -> Theirs | None:
    """What the library makes of the source's tokenizer.json, where that is not what the file says."""
    if "tokenizer.json" not in files:
        return None
    value = as_tokenizer_json(files, partial(recipe_for, artefact.family))
    return from_library(library, artefact.origin.path, value, _tried(files))


def _tried(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Texts, some with the special tokens inside that the files name."""
    return (*PROBE[::4], *specials_inside(_named(files)[:_SPECIALS]))


def _named(files: Mapping[str, bytes]) -> list[str]:
    listed = json.loads(files["tokenizer.json"]).get("added_tokens") or () if "tokenizer.json" in files else ()
    config = configuration(files)
    names = [token["content"] for token in listed] or [token_text(config.get(f"{part}_token")) for part in ("bos", "eos", "unk")]
    return [name for name in names if name]


def plan_vocabulary(revised: Revised, **layout: Any) -> Plan:
    """The plan that writes it in the layout of its own family; options as ``plan_artefact`` takes them."""
    plan = plan_artefact(revised.artefact, tokenizer="carry", **layout)
    documents = dict(plan.documents)
    gone: frozenset[str] = frozenset()
    if revised.files is not None:
        documents |= revised.files
        gone = frozenset(tokenizer_names(plan.checkpoint))
    if revised.settings is not None and "generation_config.json" in documents:
        documents["generation_config.json"] = document(revised.settings)
    return replace(
        plan,
        documents=documents,
        copies=tuple(name for name in plan.copies if name not in gone),
        options={**plan.options, "vocabulary": dict(revised.said)},
        shared=revised.shared,
    )


def own_files(artefact: Artefact) -> dict[str, bytes]:
    """The tokenizer beside an artefact's weights; refused where there is none."""
    checkpoint: Checkpoint = artefact.origin
    files = tokenizer_files(checkpoint)
    if not has_tokenizer(files):
        raise ConversionError(
            f"{show(str(checkpoint.path.name))} has no tokenizer (tokenizer.json, tokenizer.model, *.tiktoken, vocab.json): what "
            "an id means is not known, so no token can be added or taken. Put the model's own tokenizer beside the weights."
        )
    return files


def refuse_more_ids(artefact: Artefact, ids: int) -> None:
    """Raises where the tokenizer has more ids than there are rows, so that new rows would be taken for old tokens."""
    rows = artefact.model.facts["vocab"]
    if ids > rows:
        raise ConversionError(
            f"the tokenizer has ids up to {ids - 1}, but the embedding has {rows} rows: the tokens beyond mean nothing to this "
            "model, and new ones behind them would have no rows to begin with. Use the tokenizer that belongs to these weights, "
            f"or give it rows first: `surgery pad-vocab --rows {ids}`."
        )


def compared(grown: Grown, texts: Mapping[str, str]) -> list[str]:
    """Characters per token before and after, and whether text without new tokens keeps its ids."""
    lines = ["characters per token, before -> after:"]
    for name, text in texts.items():
        before, after = len(grown.before(text)), len(grown.after(text))
        less = 1 - after / before if before else 0.0
        tail = f" ({before} tokens become {after}: {less:.0%} fewer)" if before != after else f" ({before} tokens)"
        lines.append(f"  {show(name)[1:-1]:<16} {len(text) / max(before, 1):5.2f} -> {len(text) / max(after, 1):5.2f}{tail}")
    return [*lines, _keeping(grown.before, grown.after, grown.first, (*PROBE, *texts.values()))]


def _keeping(before: Encode, after: Encode, first: int, texts: Iterable[str]) -> str:
    pairs = [(list(before(text)), list(after(text))) for text in texts]
    untouched = [(old, new) for old, new in pairs if not any(token >= first for token in new)]
    same = sum(old == new for old, new in untouched)
    return f"old text: {same} of {len(untouched)} texts without new tokens keep their ids ({len(pairs)} were tried)"


def _became(grown: Grown) -> list[str]:
    asked = len(grown.tokens) - grown.steps
    steps = f" and {grown.steps} steps towards them" if grown.steps else ""
    lines = [
        f"tokenizer ({grown.kind}, {grown.tokenizer_class}): {asked} tokens added{steps}, {len(grown.duplicates)} there already, "
        f"{len(grown.skipped) or 'none'} skipped",
        *(f"left out: {line}" for line in by_reason(grown.skipped)),
    ]
    if grown.unreachable:
        lines.append(
            f"{len(grown.unreachable)} of them cannot be reached, since text is cut otherwise: "
            f"{listed(map(quote, grown.unreachable), 4)}"
        )
    return [*lines, *grown.notices]


def _refused(grown: Grown) -> str:
    return "; ".join(f"left out are {line}" for line in by_reason(grown.skipped)) or "none is refused"


def _cut(ids: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[:_LONGEST])]


def rounded_up(rows: int, multiple: int) -> int:
    """The next multiple."""
    return -(-rows // multiple) * multiple
