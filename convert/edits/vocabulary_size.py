"""Fewer tokens, or more and fewer rows for the same ones: trimming to a corpus, padding, and taking padding away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from convert.edits.tokens import tokenizer_files
from convert.edits.vocabulary import Revised, own_files, refuse_more_ids
from convert.tokenizing import has_tokenizer
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.edits.vocabulary import Fill, extend_rows, keep_rows, mean_rows, zero_rows
from surgery.errors import ConversionError, UsageError
from surgery.model import Artefact
from surgery.tokenizer.export import export
from surgery.tokenizer.facts import load
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.probe import SAMPLES
from surgery.tokenizer.sources import spelled_ids
from surgery.tokenizer.trim import kept_ids, trim

Padding = Literal["mean", "zero"]
_PADDING: dict[Padding, Fill] = {"mean": mean_rows, "zero": zero_rows}
_IDS = ("token.bos", "token.eos", "token.pad")


def trim_vocab(artefact: Artefact, corpus: Iterable[str], *, pad_to: int = 1) -> Revised:
    """The artefact with the tokens that ``corpus`` needs, all bytes and all special ones; ids are new, rows are moved.

    Text of the corpus is cut exactly as before; any other text still has tokens, perhaps more of them.
    """
    files = own_files(artefact)
    family = partial(recipe_for, artefact.family)
    value = as_tokenizer_json(files, family)
    ids = spelled_ids(value)
    refuse_more_ids(artefact, max(ids.values()) + 1)
    tokenizer = load(value)
    used = {token for line in corpus for token in tokenizer.encode(line).ids}
    if not used:
        raise ConversionError("the corpus has no text, so there is nothing that the vocabulary could be trimmed to.")
    used |= {token for token in _named(artefact) if token in ids.values()}
    made = trim(value, kept_ids(value, used))
    new = {old: place for place, old in enumerate(made.kept)}
    rows = -(-len(made.kept) // pad_to) * pad_to
    kept_files = {name: data for name, data in files.items() if name not in ("added_tokens.json", *_models(files))}
    written = {**kept_files, "tokenizer.json": json.dumps(made.tokenizer_json, ensure_ascii=False).encode()}
    recipe = family(written)
    exported = export(recipe, written, chat_template=template_for(family(files), files))
    facts = {fact: _mapped(artefact.model.facts[fact], new) for fact in _IDS if artefact.model.facts.knows(fact)}
    resized = keep_rows(artefact, made.kept, rows=rows)
    changed = resized.edited(
        lambda model: model.having(
            "ids renumbered", **{fact.replace(".", "__"): value for fact, value in facts.items()}
        ),
        "token ids are numbered anew",
    )
    smaller = load(made.tokenizer_json)
    counts = [
        f"  {name:<16} {len(tokenizer.encode(text).ids)} -> {len(smaller.encode(text).ids)}"
        for name, text in SAMPLES.items()
    ]
    return Revised(
        changed,
        dict(exported),
        (made.kept, range(len(made.kept))),
        {"edit": "trim-vocab", "tokens": len(made.kept), "dropped": made.dropped, "rows": rows, "pad_to": pad_to},
        (
            f"{len(made.kept)} of {len(ids)} tokens are kept ({len(used)} that the corpus uses, the rest to make those, bytes "
            f"and special tokens), {made.dropped} dropped; rows: {artefact.model.facts['vocab']} become {rows}",
            *(f"{name} is left out: its ids are the old ones" for name in _models(files)),
            "tokens of samples, before -> after (a text that the corpus resembles keeps its number):",
            *counts,
        ),
        renumbered=new,
    )


def pad_vocab(artefact: Artefact, *, rows: int | None = None, multiple: int = 1, padding: Padding = "mean") -> Revised:
    """The artefact with rows behind the last: ``rows`` in all, rounded up to a ``multiple``.

    No text has their ids, but their logits are there: of mean rows it is the mean of all others' and so never the largest
    (but for a head with a bias, or one that normalises its rows); of rows of zeros it is 0, which is the largest wherever
    all others are below.
    """
    old = artefact.model.facts["vocab"]
    wanted = -(-(old if rows is None else rows) // multiple) * multiple
    if wanted <= old:
        raise UsageError(
            f"there are {old} rows, and {wanted} are asked for: there is nothing to pad (unpad-vocab takes rows away)."
        )
    facts = artefact.model.facts
    linear = not facts["head.unit_rows"] and "head.bias" not in artefact.model.tensors
    logit = {
        "mean": "their logit is the mean of all others, so that greedy decoding never takes one; sampling may"
        if linear
        else "the head is not linear in its rows, so their logits can be the largest: mask them",
        "zero": "their logit is 0, which can be the largest: mask them, or decoding may give ids without text",
    }
    return Revised(
        extend_rows(artefact, 0, mean_rows, rows=wanted, padding=_PADDING[padding]),
        None,
        (range(old), range(old)),
        {"edit": "pad-vocab", "rows": wanted, "padding": padding},
        (f"rows: {old} become {wanted}, padded with {padding} rows: {logit[padding]}",),
        fresh=(old, wanted),
        texts=_samples(artefact),
    )


def unpad_vocab(artefact: Artefact, *, rows: int | None = None) -> Revised:
    """The artefact without the rows behind its tokenizer's last id, or with ``rows`` rows, which must not be fewer."""
    old = artefact.model.facts["vocab"]
    files = tokenizer_files(artefact.origin)
    if has_tokenizer(files):
        ids = max(spelled_ids(as_tokenizer_json(files, partial(recipe_for, artefact.family))).values()) + 1
    elif rows is None:
        raise ConversionError(
            "the checkpoint has no tokenizer, so it does not say how many rows have tokens: give --rows, or put the model's "
            "tokenizer beside the weights."
        )
    else:
        ids = rows
    wanted = ids if rows is None else rows
    if wanted < ids:
        raise ConversionError(
            f"the tokenizer has ids up to {ids - 1}: with {wanted} rows, text with the others would crash the model. "
            "`surgery trim-vocab` takes tokens away together with their rows."
        )
    if wanted >= old:
        raise UsageError(
            f"there are {old} rows and {ids} ids: no row is without a token, so there is nothing to take away."
        )
    return Revised(
        keep_rows(artefact, range(wanted)),
        None,
        (range(wanted), range(wanted)),
        {"edit": "unpad-vocab", "rows": wanted},
        (f"rows: {old} become {wanted}; the tokenizer has ids up to {ids - 1}",),
    )


def _samples(artefact: Artefact) -> tuple[tuple[int, ...], ...]:
    files = tokenizer_files(artefact.origin)
    if not has_tokenizer(files):
        return ()
    tokenizer = load(as_tokenizer_json(files, partial(recipe_for, artefact.family)))
    return tuple(tuple(tokenizer.encode(text).ids[:128]) for text in SAMPLES.values())


def _models(files: Iterable[str]) -> tuple[str, ...]:
    """Vocabularies whose ids are the old ones."""
    return tuple(
        n
        for n in files
        if n.endswith((".model", ".tiktoken", ".bpe")) or n in ("vocab.json", "merges.txt", "encoder.json")
    )


def _named(artefact: Artefact) -> set[int]:
    """The ids that the configuration names."""
    named = [artefact.model.facts[fact] for fact in _IDS]
    return {
        token
        for value in named
        for token in (value if isinstance(value, list | tuple) else [value])
        if isinstance(token, int)
    }


def _mapped(value: Any, new: dict[int, int]) -> Any:
    """An id or several in new numbers; None for one that is gone, as ids are that never had a token."""
    if isinstance(value, list | tuple):
        return type(value)(new[token] for token in value if token in new)
    return new.get(value)
