"""Fewer tokens, or more and fewer rows for the same ones: trimming to a corpus, padding, and taking padding away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from convert.auto_tokenizer import AutoTokenizers
from convert.documents import generation_config
from convert.edits.corpus import documents
from convert.edits.loaded import refuse_other_tokens
from convert.edits.tokens import tokenizer_files
from convert.edits.trimmed import Whole, models, opened, smaller
from convert.edits.vocabulary import Revised, own_files, refuse_more_ids, rounded_up
from convert.tokenizing import has_tokenizer, installed
from mappings.token_keys import needed_ids, renumbered
from mappings.tokenizers import recipe_for
from surgery.edits.vocabulary import Fill, extend_rows, keep_rows, mean_rows, zero_rows
from surgery.errors import ConversionError, UsageError, show
from surgery.facts import FACTS
from surgery.model import Artefact
from surgery.tokenizer.facts import load
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.probe import SAMPLES
from surgery.tokenizer.sources import spelled_ids

Padding = Literal["mean", "zero"]
_PADDING: dict[Padding, Fill] = {"mean": mean_rows, "zero": zero_rows}
_IDS = tuple(fact for fact in FACTS if fact.startswith("token."))


def trim_vocab(artefact: Artefact, corpus: Iterable[str], *, pad_to: int = 1) -> Revised:
    """The artefact with the tokens that ``corpus``, its documents, needs, and what any text or prompt needs; ids are new.

    Text of the corpus is cut exactly as before, and so are the prompts that the chat template writes: both are compared, and
    the rest of a text still has tokens, perhaps more of them. Documents are encoded whole, so line ends belong into them.
    """
    files, texts, library = own_files(artefact), documents(corpus), installed()
    *first, last = opened(artefact.family, files, artefact.origin.path, texts, library)
    for before in first:
        with suppress(ConversionError):
            return _trimmed(artefact, before, texts, files, library, pad_to)
    return _trimmed(artefact, last, texts, files, library, pad_to)


def _trimmed(
    artefact: Artefact, before: Whole, texts: Iterable[str], files: Iterable[str], library: AutoTokenizers | None, pad_to: int
) -> Revised:
    """The artefact with the tokens of one form of its tokenizer."""
    ids = spelled_ids(before.value)
    refuse_more_ids(artefact, max(ids.values()) + 1)
    made = smaller(before, texts, _named(artefact))
    new, rows = made.new, rounded_up(len(made.kept), pad_to)
    facts = {fact: artefact.model.facts[fact] for fact in _IDS if artefact.model.facts.knows(fact)}
    moved = {fact.replace(".", "__"): _mapped(value, new) for fact, value in facts.items()}
    generation, _ = generation_config(artefact.origin)
    settings = renumbered(generation, new) if generation is not None else None
    changed = keep_rows(artefact, made.kept, rows=rows).edited(
        lambda model: model.having("ids renumbered", **moved), "token ids are numbered anew"
    )
    loaded = refuse_other_tokens(made, changed, library, before.also is not None) if library is not None else ()
    return Revised(
        changed,
        made.files,
        (made.kept, range(len(made.kept))),
        {"edit": "trim-vocab", "tokens": len(made.kept), "dropped": made.dropped, "rows": rows, "pad_to": pad_to},
        (
            f"{len(made.kept)} of {len(ids)} tokens are kept ({made.used} that the corpus uses, the rest to make those, to write "
            f"prompts and any other text, and special tokens), {made.dropped} dropped; rows: "
            f"{artefact.model.facts['vocab']} become {rows}",
            *(f"{name} is left out: its ids are the old ones" for name in models(files) if name not in made.files),
            *made.left,
            *(f"config.json: {_lost(fact, value)}" for fact, value in facts.items() if _gone(value, new)),
            *(settings.said if settings is not None else ()),
            *made.found,
            *loaded,
            *made.samples,
        ),
        settings=None if settings is None else settings.settings,
    )


def pad_vocab(artefact: Artefact, *, rows: int | None = None, multiple: int = 1, padding: Padding = "mean") -> Revised:
    """The artefact with rows behind the last: ``rows`` in all, rounded up to a ``multiple``.

    No text has their ids, but their logits are there: of mean rows it is the mean of all others' and so never the largest
    (but for a head with a bias, or one that normalises its rows); of rows of zeros it is 0, which is the largest wherever
    all others are below.
    """
    old = artefact.model.facts["vocab"]
    if rows is None and multiple == 1:
        raise UsageError(f"there are {old} rows: say how many there should be (--rows), or of what a multiple (--multiple-of).")
    wanted = rounded_up(old if rows is None else rows, multiple)
    if wanted <= old:
        asked = f"{wanted} are asked for" if rows is not None else f"that is a multiple of {multiple}"
        raise UsageError(f"there are {old} rows, and {asked}: there is nothing to pad (unpad-vocab takes rows away).")
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


def _named(artefact: Artefact) -> frozenset[int]:
    """The ids that the model's settings name."""
    facts = [artefact.model.facts[fact] for fact in _IDS if artefact.model.facts.knows(fact)]
    named = {token for value in facts for token in (value if isinstance(value, list | tuple) else [value]) if token is not None}
    settings, _ = generation_config(artefact.origin)
    return frozenset(named) | needed_ids(settings or {})


def _mapped(value: Any, new: Mapping[int, int]) -> Any:
    """An id or several in new numbers; None for one that is gone, as ids are that never had a token."""
    if isinstance(value, list | tuple):
        return type(value)(new[token] for token in value if token in new)
    return new.get(value)


def _gone(value: Any, new: Mapping[int, int]) -> bool:
    return any(token is not None and token not in new for token in (value if isinstance(value, list | tuple) else [value]))


def _lost(fact: str, value: Any) -> str:
    return f"{fact.removeprefix('token.')}_token_id = {show(value)} has ids that no token has: they are left out"
