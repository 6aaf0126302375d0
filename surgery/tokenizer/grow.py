"""A checkpoint's tokenizer files with tokens added: whichever kind of vocabulary they hold, and as the same kind.

A SentencePiece model gets pieces, a tokenizer.json merges; tokens that are looked for before everything else come last.
What a new token was cut into before goes along, since its embedding begins as theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from surgery.errors import ConversionError
from surgery.tokenizer.alike import bytes_of, ids_by_bytes
from surgery.tokenizer.alphabet import spell
from surgery.tokenizer.export import dumped, export
from surgery.tokenizer.extend import Extension, add_special_tokens, as_text, extend_bpe
from surgery.tokenizer.facts import Encode, encoder, is_byte_level, load
from surgery.tokenizer.kept import whole
from surgery.tokenizer.pieces import Merge, Scores, add_pieces, bare, left_out, merge_pieces, refusal
from surgery.tokenizer.pipeline import SPACE
from surgery.tokenizer.probe import PROBE, specials_inside
from surgery.tokenizer.processor import processor
from surgery.tokenizer.recipe import Recipe, Special
from surgery.tokenizer.sources import (
    SENTENCEPIECE_NAMES,
    Piece,
    SentencePieceModel,
    looks_like_tiktoken,
    read,
    read_sentencepiece,
    refuse_pointer,
    spelled_ids,
)

Files = Mapping[str, bytes]
RecipeOf = Callable[[Files], Recipe]
Template = Callable[[Recipe, Files], str | None]

#: what a checkpoint's tokenizer may consist of besides a vocabulary, and what is written anew with it
_SAID_AGAIN = ("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class Addition:
    """Tokens to add; ``trained`` says that they hold the steps towards each other, as those of a model do."""

    tokens: tuple[bytes | str, ...] = ()
    trained: bool = False
    atoms: tuple[str, ...] = ()  # found in text before anything else happens to it
    special: bool = False  # atoms are left out of decoded text when special tokens are
    pieces: tuple[Piece, ...] = ()  # of a SentencePiece model: all, of which the tokens are those of text


@dataclass(frozen=True)
class Grown:
    """The files to write and what became of each token; ``tokens`` are in the order of their ids, from ``first``."""

    files: Files
    kind: Literal["pieces", "merges"]
    tokenizer_class: str
    first: int
    tokens: tuple[bytes, ...]  # what each stands for
    parts: tuple[tuple[int, ...], ...]  # the old ids of each
    before: Encode
    after: Encode
    old: Mapping[bytes, int]  # the old ids
    steps: int = 0  # of the tokens, those that only lead to others
    duplicates: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # token, reason
    unreachable: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def grow(
    files: Files, addition: Addition, *, recipe_of: RecipeOf, template: Template, scores: Scores = "canonical"
) -> Grown:
    """The tokenizer ``files`` with the tokens of ``addition`` behind their own.

    ``recipe_of`` and ``template`` are the family's: what its vocabulary files do not say.
    """
    base = plain_model(files, recipe_of)
    if base is not None:
        grown = _with_pieces(files, base, addition, recipe_of, template, scores)
        if "tokenizer.json" not in files or keeps(files["tokenizer.json"], grown):
            return grown
    if scores == "published":
        raise ConversionError(
            "scores belong to SentencePiece models, and this tokenizer is a tokenizer.json that says more than its "
            "tokenizer.model, or has none: leave --scores alone"
        )
    return _with_merges(files, addition, recipe_of, template)


def plain_model(files: Files, recipe_of: RecipeOf) -> SentencePieceModel | None:
    """The SentencePiece model that is all of a tokenizer: nothing beside it knows more ids or cuts text otherwise."""
    name = next((name for name in SENTENCEPIECE_NAMES if name in files), None)
    if name is None:
        return None
    refuse_pointer(name, files[name])
    if looks_like_tiktoken(files[name]):
        return None
    model = read_sentencepiece(name, files[name])
    if "tokenizer.json" not in files:
        built = _exported(files, recipe_of, lambda recipe, files: None)
        return model if built.facts.max_id < model.size else None
    value = read({"tokenizer.json": files["tokenizer.json"]}).value  # type: ignore[union-attr]
    if max(spelled_ids(value).values()) >= model.size:
        return None
    own, theirs = processor(model.data), encoder(whole(value))
    same = all(own.encode(text) == theirs(text) for text in PROBE)
    return model if same else None


def _with_pieces(
    files: Files, base: SentencePieceModel, addition: Addition, recipe_of: RecipeOf, template: Template, scores: Scores
) -> Grown:
    words = [text for token in addition.tokens if (text := _text(token)) is not None]
    merge = merged(base.data, addition, scores)
    there = {piece.text for piece in base.pieces} | set(merge.added)
    atoms, refused = _atoms(addition.atoms, there)
    first = base.size + len(merge.added)
    source = {name: data for name, data in files.items() if name != "tokenizer.json"}
    recipe = recipe_of(source)
    numbered = {first + place: Special(text, special=addition.special) for place, text in enumerate(atoms)}
    recipe = replace(
        recipe,
        numbered=MappingProxyType({**recipe.numbered, **numbered}),
        ties=recipe.ties or (scores == "published" and bool(merge.added)),
    )
    made = export(recipe, {**source, base.name: merge.model}, chat_template=template(recipe, files))
    if "tokenizer.json" in files and "tokenizer.json" in made:
        made = replace(made, files=as_it_stood(made, json.loads(files["tokenizer.json"])))
    cut = bare(base.data)
    texts = (*(piece.replace(SPACE, " ") for piece in merge.added), *atoms)
    wanted = {word.replace(" ", SPACE) for word in words} | {piece.text for piece in addition.pieces}
    return Grown(
        dict(made), "pieces", made.tokenizer_class, base.size, tuple(map(str.encode, texts)),
        parts=tuple(tuple(cut.encode(text)) for text in texts),
        before=processor(base.data).encode, after=processor(merge.model).encode,
        old={bytes_of(piece.text, False): place for place, piece in enumerate(base.pieces)},
        steps=sum(piece not in wanted for piece in merge.added),
        duplicates=(*(piece for piece in merge.duplicates if piece in wanted), *(a for a in addition.atoms if a in there)),
        skipped=(*merge.skipped, *refused, *_no_text(addition.tokens)),
        unreachable=tuple(sorted(merge.unreachable, key=lambda piece: piece not in wanted)),  # what was asked for first
        notices=made.notices,
    )  # fmt: skip


#: what a tokenizer.json says of an added token, besides its text and id
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_AROUND = ("post_processor", "truncation", "padding")
_SPECIALS = 8  # that are put into text; all are looked for in the same way


def as_it_stood(made: Files, old: Mapping[str, Any]) -> dict[str, bytes]:
    """The files with what the old tokenizer.json says of added tokens, and of what stands around a text."""
    value = json.loads(made["tokenizer.json"])
    flags = {token["content"]: {key: token[key] for key in _FLAGS if key in token} for token in old.get("added_tokens") or ()}
    value["added_tokens"] = [{**token, **flags.get(token["content"], {})} for token in value["added_tokens"]]
    value |= {key: old.get(key) for key in _AROUND}
    config = json.loads(made["tokenizer_config.json"])
    framed, plain = (list(encoder(whole(value), framed=both)("a")) for both in (True, False))
    ids = {token["content"]: token["id"] for token in value["added_tokens"]}
    bos, eos = (ids.get(config.get(f"{part}_token")) for part in ("bos", "eos"))
    config |= {"add_bos_token": framed[:1] == [bos] != plain[:1], "add_eos_token": framed[-1:] == [eos] != plain[-1:]}
    if "added_tokens_decoder" in config:
        config["added_tokens_decoder"] = {
            place: {**said, **flags.get(said["content"], {})} for place, said in config["added_tokens_decoder"].items()
        }
    return {**made, "tokenizer.json": dumped(value), "tokenizer_config.json": dumped(config, indent=2)}


def keeps(tokenizer_json: bytes, grown: Grown) -> bool:
    """Whether text without new tokens gets the ids that the old tokenizer.json gives it, with what stands around it."""
    old = json.loads(tokenizer_json)
    if "tokenizer.json" not in grown.files:
        return False
    before, after = whole(old), whole(json.loads(grown.files["tokenizer.json"]))
    named = [token["content"] for token in old.get("added_tokens") or ()][:_SPECIALS]
    for text in (*PROBE, *specials_inside(named)):
        for framed in (False, True):
            ids = list(encoder(after, framed)(text))
            if max(ids, default=0) < grown.first and ids != list(encoder(before, framed)(text)):
                return False
    return True


def merged(base: bytes, addition: Addition, scores: Scores) -> Merge:
    """A SentencePiece model with the tokens of an addition, its atoms left aside."""
    if addition.pieces:
        return merge_pieces(base, addition.pieces, scores)
    words = [text for token in addition.tokens if (text := _text(token)) is not None]
    return add_pieces(base, words, scores, chains=not addition.trained)


def _with_merges(files: Files, addition: Addition, recipe_of: RecipeOf, template: Template) -> Grown:
    recipe = recipe_of(files)
    value = as_tokenizer_json(files, recipe_of)
    byte_level = is_byte_level(value)
    first = max(spelled_ids(value).values()) + 1
    grown = extend_bpe(value, addition.tokens) if addition.tokens else Extension(value, first, ())  # any model takes atoms
    atoms, refused = _atoms(addition.atoms, spelled_ids(grown.tokenizer_json).keys())
    joined = add_special_tokens(grown.tokenizer_json, atoms, special=addition.special)
    added = (*grown.added, *(_spelled(atom, byte_level) for atom in atoms))
    kept = {name: data for name, data in files.items() if name not in (*_SAID_AGAIN, *_vocabularies(files))}
    kept["tokenizer_config.json"] = _said(files)
    written = {**kept, "tokenizer.json": dumped(joined.tokenizer_json)}
    made = export(recipe_of(written), written, chat_template=template(recipe, files))
    old, new = load(value), load(joined.tokenizer_json)
    left = [name for name in _vocabularies(files) if name in SENTENCEPIECE_NAMES and added]
    notices = [
        f"{name} is left out, as it lacks the new tokens: tokenizer.json has all of them, which a program that asks for {name} "
        "first (llama.cpp's converter) may read otherwise"
        for name in left
    ]
    return Grown(
        dict(made), "merges", made.tokenizer_class, grown.first,
        tokens=tuple(bytes_of(token, byte_level) for token in added),
        parts=tuple(tuple(piece for piece, _ in old.cut(token)) for token in added),
        before=encoder(old), after=encoder(new), old=ids_by_bytes(value), steps=len(grown.steps),
        duplicates=(*grown.duplicates, *(a for a in addition.atoms if a in spelled_ids(grown.tokenizer_json))),
        skipped=(
            *((as_text(token, byte_level) or token, why) for token, why in grown.skipped), *refused,
            *left_out(addition.pieces, spelled_ids(value).keys()),
        ),
        notices=(*notices, *made.notices),
    )  # fmt: skip


def as_tokenizer_json(files: Files, recipe_of: RecipeOf) -> dict[str, Any]:
    """The value of a tokenizer.json that says what these files say: theirs, or one built from the vocabulary."""
    made = _exported(files, recipe_of, lambda recipe, files: None)
    if "tokenizer.json" not in made:
        raise ConversionError(
            f"this vocabulary needs sentencepiece itself ({'; '.join(made.notices)}), so no tokenizer.json says what it "
            "says: convert the checkpoint with --tokenizer canonical first, if other ids for some text are acceptable"
        )
    value: dict[str, Any] = json.loads(made["tokenizer.json"])
    return value


def _exported(files: Files, recipe_of: RecipeOf, template: Template) -> Any:
    recipe = recipe_of(files)
    return export(recipe, files, chat_template=template(recipe, files))


def _vocabularies(files: Files) -> tuple[str, ...]:
    """The files that an extended tokenizer.json takes the place of."""
    named = (*SENTENCEPIECE_NAMES, "tokenizer.json", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe")
    return tuple(name for name in files if name in named or name.endswith(".tiktoken"))


def _said(files: Files) -> bytes:
    """tokenizer_config.json with what special_tokens_map.json adds to it; added tokens are in tokenizer.json."""
    from surgery.tokenizer.adapt import configuration

    config = configuration(files)
    return dumped({key: value for key, value in config.items() if key != "added_tokens_decoder"})


def _atoms(texts: Sequence[str], there: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Those that can be added, once each, and those that cannot, with the reason."""
    known = set(there)
    reasons = {text: refusal(text) or ("it is only spaces" if not text.strip() else None) for text in texts}
    fresh = tuple(text for text, reason in reasons.items() if reason is None and text not in known)
    return fresh, tuple((text, reason) for text, reason in reasons.items() if reason is not None)


def _no_text(tokens: Iterable[bytes | str]) -> list[tuple[str, str]]:
    return [(repr(token), "it is no text, and this tokenizer's pieces are") for token in tokens if _text(token) is None]


def _text(token: bytes | str) -> str | None:
    try:
        return token if isinstance(token, str) else token.decode()
    except UnicodeDecodeError:
        return None


def _spelled(text: str, byte_level: bool) -> str:
    return spell(text.encode()) if byte_level else text.replace(" ", SPACE)
