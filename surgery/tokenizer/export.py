"""Tokenizer files that load without remote code, with a check of their ids against the source's own engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from surgery.errors import ConversionError, show
from surgery.tokenizer.adapt import DERIVED, ROLES, adapt, configuration
from surgery.tokenizer.build import build
from surgery.tokenizer.check import Check, Encode, Truth, compare, engine, reason, truth
from surgery.tokenizer.facts import TokenizerFacts, decoder, encoder, facts, load, token_text
from surgery.tokenizer.leftmost import overlapping
from surgery.tokenizer.pieces import canonical
from surgery.tokenizer.probe import PROBE
from surgery.tokenizer.recipe import Names, Recipe
from surgery.tokenizer.sources import (
    BpeFiles,
    SentencePieceModel,
    TiktokenRanks,
    TokenizerJson,
    read,
    read_sentencepiece,
)

FAST = "PreTrainedTokenizerFast"  # reads tokenizer.json and nothing else; a Llama class would overwrite parts of it
EXACT = "SentencePieceBackend"  # transformers 5: runs sentencepiece on the vendor's file

_CARRIED = ("model_max_length", "padding_side", "truncation_side")
_FURTHER = ("additional_special_tokens", "extra_special_tokens")  # as transformers 4 and 5 call them


@dataclass(frozen=True)
class TokenizerFiles(Mapping[str, bytes]):
    """Files by name, the recipe that made them, their facts, and what the self-check found."""

    files: Mapping[str, bytes]
    recipe: str
    tokenizer_class: str
    facts: TokenizerFacts
    check: Check
    notices: tuple[str, ...] = ()
    truth: Truth | None = None  # None: a tokenizer.json is carried, and nothing else says what its ids are
    says: Encode | None = None  # the ids that the files give by themselves, whatever class a library takes
    specials: tuple[str, ...] = ()  # looked for in text before all else, those with a part to play first

    def __getitem__(self, name: str) -> bytes:
        return self.files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def export(
    recipe: Recipe,
    files: Mapping[str, bytes],
    *,
    chat_template: str | None = None,
    scores: Literal["published", "canonical"] = "published",
) -> TokenizerFiles:
    """The files to write for a checkpoint whose tokenizer files these are.

    `chat_template` replaces the vendor's own. Where pieces share scores so that no merge list is exact, the class that
    runs sentencepiece itself is named, unless `scores="canonical"` asks for a vocabulary whose scores all differ: that
    one is exact in every engine, but gives text in the added pieces other ids than the model was trained on.
    """
    source = read(files)
    config = configuration(files)
    template = chat_template if chat_template is not None else own_template(files, config)
    if isinstance(source, TokenizerJson):
        return _carried(source, files, config, template)
    if scores == "canonical":
        if not isinstance(source, SentencePieceModel):
            raise ConversionError(
                f"canonical scores are for SentencePiece models, and {recipe.name} has none: leave `scores` alone"
            )
        return _canonical(source, recipe, config, template)
    return _built(source, adapt(recipe, source, config), config, template)


def _built(
    source: SentencePieceModel | TiktokenRanks | BpeFiles,
    recipe: Recipe,
    config: Mapping[str, Any],
    template: str | None,
) -> TokenizerFiles:
    value = build(source, recipe)
    tokenizer = load(value)
    its_engine = engine(source, recipe)
    overlaps = overlapping(source) if recipe.ties and isinstance(source, SentencePieceModel) else ()
    check = compare(its_engine, encoder(tokenizer), reason(source), (*PROBE, *overlaps), decoder(tokenizer))
    listed = {special.text for special in (*recipe.specials, *recipe.numbered.values())}
    added = {token["content"]: token for token in value["added_tokens"]}
    front = tuple(added[name]["id"] for name in recipe.prefix)
    own_ids = truth(its_engine, (added[name] for name in added if name in listed), front)
    parts = [name for name in recipe.names.items().values() if name in added]  # others are names that only we give a piece
    specials = tuple(dict.fromkeys((*parts, *added)))
    made = facts(value, _names(recipe), template is not None, tokenizer)
    notices = (*_unused(source), *_unnamed(config, made))
    if isinstance(source, SentencePieceModel) and _needs_its_engine(source, recipe, check):
        told = _configured(EXACT, recipe, config, template, value["added_tokens"], listed=True)
        kept = {"tokenizer.model": source.data, **told}
        own = Check("sentencepiece, which the class runs on the vendor's own file", check.strings, independent=False)
        why = f"no tokenizer.json is written, as it would not be exact: {check}"
        return TokenizerFiles(
            MappingProxyType(kept), recipe.name, EXACT, made, own, (why, *notices), own_ids, own_ids.encode, specials
        )
    beside = _vendor(source)
    said = _configured(FAST, recipe, config, template, value["added_tokens"], listed=bool(beside))
    written = {"tokenizer.json": dumped(value), **beside, **said}
    if isinstance(source, SentencePieceModel):
        written["tokenizer_config.json"] = _for_llama_cpp(written["tokenizer_config.json"], source, recipe)
    differing = () if check.identical else (str(check),)
    return TokenizerFiles(
        MappingProxyType(written), recipe.name, FAST, made, check, (*differing, *notices), own_ids, encoder(tokenizer), specials
    )


def _needs_its_engine(source: SentencePieceModel, recipe: Recipe, check: Check) -> bool:
    """Whether only sentencepiece is exact: an unstudied difference, or ties that no pre-tokenizer sets right.

    The class that runs it does not read bytes back as text, so a model that falls back to bytes has to do without.
    """
    unstudied = recipe.name == DERIVED and not check.identical
    ties = recipe.ties and len(check.differences) > check.strings // 100
    return (unstudied or ties) and not source.byte_fallback


def _canonical(
    source: SentencePieceModel, recipe: Recipe, config: Mapping[str, Any], template: str | None
) -> TokenizerFiles:
    rescored = read_sentencepiece(source.name, canonical(source.data))
    adapted = adapt(recipe, rescored, config)
    made = _built(rescored, adapted, config, template)
    moved = compare(engine(source, adapted), engine(rescored, adapted).encode, reason(source))
    notice = f"scores are canonical, not the published ones that the model was trained with: {moved}"
    return replace(made, recipe=f"{recipe.name}, canonical scores", notices=(notice, *made.notices))


def _carried(
    source: TokenizerJson, files: Mapping[str, bytes], config: Mapping[str, Any], template: str | None
) -> TokenizerFiles:
    """A tokenizer.json that is there already, byte for byte, with the class that reads it as it is."""
    tokenizer = load(source.value)
    added = source.value.get("added_tokens") or ()
    names = Recipe("carried", names=Names(*(_known(config, role, tokenizer) for role in ROLES)))
    written = {"tokenizer.json": source.data, **_configured(FAST, names, config, template, added)}
    notices: list[str] = []
    if "tokenizer.model" in files:
        written["tokenizer.model"] = files["tokenizer.model"]
        notices += _beside(files["tokenizer.model"], tokenizer)
    made = facts(source.value, _names(names), template is not None, tokenizer)
    check = Check("itself, being carried unchanged", len(PROBE), independent=False)
    return TokenizerFiles(
        MappingProxyType(written),
        "carried",
        FAST,
        made,
        check,
        (*notices, *_front(config, made), *_unnamed(config, made)),
        says=encoder(tokenizer),
        specials=tuple(dict.fromkeys((*_names(names).values(), *(token["content"] for token in added)))),
    )


def _known(config: Mapping[str, Any], role: str, tokenizer: Any) -> str | None:
    name = token_text(config.get(f"{role}_token"))
    return name if name is not None and tokenizer.token_to_id(name) is not None else None


def _beside(data: bytes, tokenizer: Any) -> list[str]:
    """A notice where the SentencePiece model beside a tokenizer.json would give other ids."""
    try:
        source = read(MappingProxyType({"tokenizer.model": data}))
    except ConversionError as error:
        return [f"tokenizer.model beside tokenizer.json is carried but cannot be read: {error}"]
    if not isinstance(source, SentencePieceModel):
        return []
    check = compare(engine(source, Recipe("beside")), encoder(tokenizer), reason(source))
    return (
        []
        if check.identical
        else [f"tokenizer.json, which the vendor's class reads, and tokenizer.model beside it do not agree: {check}"]
    )


def _front(config: Mapping[str, Any], made: TokenizerFacts) -> list[str]:
    wanted = config.get("add_bos_token")
    if not isinstance(wanted, bool) or wanted == made.adds_bos:
        return []
    says = "puts" if made.adds_bos else "does not put"
    return [
        f"tokenizer_config.json says add_bos_token={wanted}, but tokenizer.json {says} one in front, and "
        "transformers 5 follows tokenizer.json"
    ]


def _names(recipe: Recipe) -> dict[str, str]:
    return {f"{role}_token": name for role, name in recipe.names.items().items()}


def _vendor(source: SentencePieceModel | TiktokenRanks | BpeFiles) -> dict[str, bytes]:
    """The vendor's own file beside; not a tiktoken file, as programs take `tokenizer.model` for SentencePiece."""
    return {"tokenizer.model": source.data} if isinstance(source, SentencePieceModel) else {}


def _configured(
    tokenizer_class: str,
    recipe: Recipe,
    config: Mapping[str, Any],
    template: str | None,
    added: Sequence[Mapping[str, Any]],
    listed: bool = False,
) -> dict[str, bytes]:
    """tokenizer_config.json and the template; `added` tokens are `listed` for whoever reads tokenizer.model, which lacks them."""
    value: dict[str, Any] = {
        "tokenizer_class": tokenizer_class,
        **_names(recipe),
        "clean_up_tokenization_spaces": False,
    }
    value |= {key: config[key] for key in _CARRIED if config.get(key) is not None} | _further(config, added)
    if tokenizer_class == EXACT:
        value["legacy"] = True  # otherwise the dummy prefix is taken out of the model
        value["special_tokens_pattern"] = "bos" if recipe.prefix and recipe.prefix == (recipe.names.bos,) else "none"
    if listed:
        value["added_tokens_decoder"] = {
            str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added
        }
    written = {"tokenizer_config.json": dumped(value, indent=2)}
    if template is not None:
        written["chat_template.jinja"] = template.encode()
    return written


def _for_llama_cpp(config: bytes, source: SentencePieceModel, recipe: Recipe) -> bytes:
    """The configuration with what llama.cpp's converter asks it beside a tokenizer.model: it assumes a space and a <s> in front.

    conversion/base.py and gguf-py's SpecialVocab (b11434). Classes that read tokenizer.json find both said there.
    """
    said = {"add_bos_token": recipe.prefix == (recipe.names.bos,), "add_prefix_space": source.dummy_prefix}
    return dumped({**json.loads(config), **said}, indent=2)


def _further(config: Mapping[str, Any], added: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The lists of further special tokens, less names that are no special tokens: those would get ids beyond the vocabulary."""
    there = {token["content"] for token in added if token.get("special")}
    listed = {key: config[key] for key in _FURTHER if isinstance(config.get(key), list)}
    found = {key: [text for one in names if (text := token_text(one)) in there] for key, names in listed.items()}
    return {key: names for key, names in found.items() if names}


def own_template(files: Mapping[str, bytes], config: Mapping[str, Any]) -> str | None:
    """The chat template among the vendor's files: chat_template.jinja, or the key of tokenizer_config.json."""
    if "chat_template.jinja" in files:
        return _decoded("chat_template.jinja", files["chat_template.jinja"])
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        template = next(
            (one.get("template") for one in template if isinstance(one, dict) and one.get("name") == "default"), None
        )
    return template if isinstance(template, str) else None


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConversionError(
            f"{show(name)} is not UTF-8 text (byte {error.start}: {show(error.reason)}), which is what every reader takes it "
            "for; save it as UTF-8, or take the file from the model's repository"
        ) from error


def dumped(value: Mapping[str, Any], indent: int | None = None) -> bytes:
    """A JSON file of a tokenizer, as all of them are written."""
    return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode()


def _unused(source: SentencePieceModel | TiktokenRanks | BpeFiles) -> tuple[str, ...]:
    count = sum(piece.kind == "unused" for piece in source.pieces) if isinstance(source, SentencePieceModel) else 0
    if not count:
        return ()
    return (f"{count} pieces are marked unused: SentencePiece splits them again, which a tokenizer.json cannot do",)


def _unnamed(config: Mapping[str, Any], made: TokenizerFacts) -> tuple[str, ...]:
    """A notice for each name in the configuration that no token has, and that is left out for this reason."""
    said = {role: token_text(config.get(f"{role}_token")) for role in ROLES}
    return tuple(
        f"tokenizer_config.json names {show(name)} as its {role} token, which the vocabulary lacks: left out"
        for role, name in said.items()
        if name is not None and getattr(made, role) is None
    )
