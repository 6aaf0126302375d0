"""The tokenizer's half of a trim: which tokens stay, the smaller tokenizer's files, and the proof that text is cut as before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from convert.auto_tokenizer import AutoTokenizers
from convert.edits.loaded import from_library, of_the_same_class
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.adapt import configuration, read_object
from surgery.tokenizer.export import dumped, export
from surgery.tokenizer.facts import Encode, encoder, token_text
from surgery.tokenizer.fewer import agrees, fewer_pieces, recut
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.kept import Same, same, whole
from surgery.tokenizer.named import named_texts, renumbered_config
from surgery.tokenizer.probe import PROBE, SAMPLES
from surgery.tokenizer.processor import processor
from surgery.tokenizer.sources import spelled_ids
from surgery.tokenizer.trim import Trim, kept_ids, trim
from surgery.tokenizer.written import own_words, prompts

_DOCUMENTS, _BEGIN = 64, 1 << 14  # of the corpus, and characters of each
_OPENING = 1 << 12  # characters of a document in which a line to talk about is looked for


@dataclass(frozen=True)
class Trimmed:
    """The smaller tokenizer: ``kept[new id]`` is the old id."""

    kept: tuple[int, ...]
    files: Mapping[str, bytes]
    used: int  # tokens that the corpus has
    dropped: int
    tokenizer: Any  # the larger one
    texts: tuple[str, ...]  # some of those that were compared
    left: tuple[str, ...]  # what was left out besides tokens
    found: tuple[str, ...]  # what was compared
    samples: tuple[str, ...]  # how long other text became

    @property
    def new(self) -> dict[int, int]:
        """The new ids by the old ones."""
        return {old: place for place, old in enumerate(self.kept)}


@dataclass(frozen=True)
class Whole:
    """The tokenizer that there is: as its files say it, or as a library reads them, which may be otherwise."""

    value: dict[str, Any]
    written: Mapping[str, bytes]  # as a conversion would write it
    config: Mapping[str, Any]
    template: str | None
    said: tuple[str, ...]
    pieces: bytes | None  # a SentencePiece model beside
    also: Mapping[str, Any] | None = None  # what a library makes of it, whose tokens are kept too


def opened(
    family: str, files: Mapping[str, bytes], folder: Path, texts: Iterable[str], library: AutoTokenizers | None
) -> tuple[Whole, ...]:
    """The tokenizer of a checkpoint's files, in the forms to try in turn; ``folder`` is where they are."""
    recipe = partial(recipe_for, family)
    template = template_for(recipe(files), files)
    made = export(recipe(files), files, chat_template=template)
    value = json.loads(made["tokenizer.json"]) if "tokenizer.json" in made else as_tokenizer_json(files, recipe)
    written = {name: data for name, data in made.items() if name not in models(made)}
    config = {**configuration(files), **read_object(made, "tokenizer_config.json")}
    own = Whole(value, written, config, template, made.notices, made.get("tokenizer.model"))
    theirs = from_library(library, folder, value, begins(texts)) if library is not None and "tokenizer.json" in files else None
    if theirs is None:
        return (own,)
    read = replace(own, value=theirs.value, said=(*own.said, theirs.said))
    if own.pieces is None:
        return (read,)
    # what everyone else reads stays what it is, if the library lays over it what it laid over the source's
    same_class = of_the_same_class(written, files)
    return replace(own, written=same_class, said=(*own.said, theirs.why), also=theirs.value), read


def smaller(before: Whole, texts: Iterable[str], named: frozenset[int]) -> Trimmed:
    """The tokenizer with the tokens of these texts, of prompts, of the ids that settings name, and what any text needs.

    Raises where it would cut or decode the texts, or the prompts, otherwise.
    """
    value, ids = before.value, spelled_ids(before.value)
    tokenizer = whole(value)
    plain = encoder(tokenizer)
    others = [encoder(whole(before.also))] if before.also is not None else []
    if before.pieces is not None:
        others.append(_between(before.pieces, (token["content"] for token in value.get("added_tokens") or ())))
    used = {token for text in texts for cut in (plain, *others) for token in cut(text)}
    if not used:
        raise ConversionError("the corpus has no text, so there is nothing that the vocabulary could be trimmed to.")
    asked = prompts(before.template, _parts(before.config), _openings(texts)) if before.template is not None else {}
    spoken = (*asked.values(), *own_words(before.template or ""))
    framing = {token for text in spoken for cut in (plain, *others) for token in cut(text)}
    named |= {ids[text] for text in named_texts(before.config) if text in ids}
    made = trim(value, kept_ids(value, used | framing | (named & set(ids.values()))))
    pieces = fewer_pieces(before.pieces, made.kept) if before.pieces is not None else None
    cut = _recut(made, before.pieces, pieces)
    made, after, found = _proven(tokenizer, (*cut, made), lambda: chain(texts, asked.values()))
    config = renumbered_config(read_object(before.written, "tokenizer_config.json"), {old: n for n, old in enumerate(made.kept)})
    beside = _pieces(pieces, made, after, (*begins(texts), *PROBE))
    return Trimmed(
        made.kept,
        {
            **before.written,
            **beside,
            "tokenizer.json": dumped(made.tokenizer_json),
            "tokenizer_config.json": dumped(config, indent=2),
        },
        len(used),
        made.dropped,
        tokenizer,
        (*begins(texts), *asked.values()),
        (*made.said, *before.said),
        (
            f"compared: {found.texts - len(asked)} texts of the corpus and {len(asked)} prompts, {found.tokens} tokens, are cut "
            "and decoded as before",
            *_prompt_line(asked, tokenizer, after),
        ),
        (
            "tokens of samples, before -> after:",
            *(f"  {n:<16} {len(tokenizer.encode(t).ids)} -> {len(after.encode(t).ids)}" for n, t in SAMPLES.items()),
        ),
    )


def _between(model: bytes, names: Iterable[str]) -> Encode:
    """What programs that run the SentencePiece model give a text with special tokens inside: each stretch is cut by itself."""
    pieces, marks = processor(model), sorted(names, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
    return lambda text: [token for part in pattern.split(text) for token in pieces.encode(part)] if pattern.search(text) else []


def _recut(made: Trim, before: bytes | None, pieces: bytes | None) -> tuple[Trim, ...]:
    """The trimmed tokenizer that cuts tied pieces as SentencePiece joins the fewer ones, where such pieces are cut out."""
    if before is None or pieces is None or made.tokenizer_json.get("pre_tokenizer") is None:
        return ()
    try:
        cut = recut(made.tokenizer_json, before, pieces)
    except ConversionError:  # a model of so few pieces that sentencepiece loads it no more
        return ()
    return (replace(made, tokenizer_json=cut),) if cut is not None else ()


def _proven(tokenizer: Any, ways: Sequence[Trim], texts: Callable[[], Iterable[str]]) -> tuple[Trim, Any, Same]:
    """The first of these trimmed tokenizers that cuts and decodes the texts as ``tokenizer`` does; raises if none does."""
    for made in ways[:-1]:
        after = whole(made.tokenizer_json)
        with suppress(ConversionError):
            return made, after, same(tokenizer, after, made.kept, texts())
    after = whole(ways[-1].tokenizer_json)
    return ways[-1], after, same(tokenizer, after, ways[-1].kept, texts())


def _pieces(model: bytes | None, made: Trim, after: Any, texts: Iterable[str]) -> dict[str, bytes]:
    """The SentencePiece model with the kept pieces, where it gives the texts the trimmed tokenizer's ids."""
    if model is None:
        return {}
    named = [token["content"] for token in made.tokenizer_json.get("added_tokens") or ()]
    return {"tokenizer.model": model} if agrees(model, encoder(after), texts, named) else {}


def models(files: Iterable[str]) -> tuple[str, ...]:
    """Vocabularies whose ids are the old ones."""
    return tuple(
        n
        for n in files
        if n.endswith((".model", ".tiktoken", ".bpe")) or n in ("vocab.json", "merges.txt", "encoder.json")
    )


def begins(texts: Iterable[str]) -> Iterator[str]:
    """Enough of a corpus to see whether another class is at work: the begin of some documents."""
    return (text[:_BEGIN] for text in islice(texts, _DOCUMENTS))


def _openings(texts: Iterable[str]) -> tuple[str, ...]:
    """How the corpus begins, for what a prompt is written around; its own words need no tokens but those that are kept."""
    lines = (line.strip() for text in texts for line in text[:_OPENING].splitlines())
    return tuple(islice((line for line in lines if line), 3)) or ("a",)


def _parts(config: Mapping[str, Any]) -> dict[str, str]:
    """The names that a template may ask for."""
    texts = {key: token_text(config[key]) for key in config if key.endswith("_token")}
    return {key: text for key, text in texts.items() if text is not None}


def _prompt_line(asked: Mapping[str, str], before: Any, after: Any) -> list[str]:
    """How long prompts are; nothing where there is no template, or it takes none of our conversations."""
    if not asked:
        return []
    sizes = [[len(one.encode(text, add_special_tokens=False).ids) for text in asked.values()] for one in (before, after)]
    return [f"tokens of the chat template's {len(asked)} prompts, before -> after: {sum(sizes[0])} -> {sum(sizes[1])}"]

