"""The tokenizer: it loads, its ids have rows, its files agree with each other and with the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from convert.validate.vocabulary import JSON, SAMPLES, SETTINGS
from surgery.errors import ConversionError, listed, show
from surgery.tokenizer.facts import Tokenizer, is_byte_level, token_text
from surgery.tokenizer.sources import SentencePieceModel

_ROLES = ("bos", "eos", "pad", "unk")
_SLOW = ("LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast")
_FACTS = "transformers 5.23 and 4.57.6, executed (tokenizer facts)"


@rule(
    "tokenizer-missing", "warning",
    what="there is no tokenizer",
    why="nobody can turn text into ids; people take one that looks right and get nonsense",
    fix="copy the tokenizer's files from the source model",
    source="mergekit #275, #105; Chinese-LLaMA-Alpaca #142",
)  # fmt: skip
def tokenizer_missing(subject: Subject) -> Iterator[Found]:
    if subject.kind == "model" and not subject.vocabulary.files and "tekken.json" not in subject.folder.names:
        yield Found(JSON, "no tokenizer.json, tokenizer.model, *.tiktoken, or vocab.json with merges.txt")


@rule(
    "tokenizer-unreadable", "error",
    what="a tokenizer file cannot be read",
    why="AutoTokenizer fails, or falls back to another file with other ids",
    fix="download or write it again",
    source="tokenizers 0.23, sentencepiece 0.2: their own readers, executed",
)  # fmt: skip
def tokenizer_unreadable(subject: Subject) -> Iterator[Found]:
    for name, fault in subject.vocabulary.faults.items():
        if (
            not (subject.data(name, 1024) or b"").startswith(b"version https://git-lfs")
            and subject.data(name, 1024) != b""
        ):
            yield Found(name, fault)
    pieces = subject.vocabulary.pieces
    if pieces is not None and isinstance(own := _sentencepiece(pieces), ConversionError):
        yield Found(pieces.name, str(own))


@rule(
    "tokenizer-config-unreadable", "error",
    what="a settings file of the tokenizer is not JSON",
    why="AutoTokenizer fails on it",
    fix="correct it, or copy it from the source model",
    source="transformers 5.23 tokenization_utils_base.py",
)  # fmt: skip
def tokenizer_config_unreadable(subject: Subject) -> Iterator[Found]:
    for name in (SETTINGS, "special_tokens_map.json", "added_tokens.json"):
        if fault := subject.json(name).fault:
            yield Found(name, fault)


@rule(
    "tokenizer-ids", "error", needs="vocabulary",
    what="the tokenizer has ids that the embedding has no row for",
    why="text with such a token reads outside the matrix: a crash on GPU, garbage elsewhere",
    fix="take the tokenizer that belongs to the weights, or extend the embedding (`surgery extend-vocab`)",
    source="LlamaFactory #3125, llama.cpp #4958, mergekit #328",
)  # fmt: skip
def tokenizer_ids(subject: Subject) -> Iterator[Found]:
    top, rows = subject.vocabulary.max_id, subject.rows
    if top is not None and rows is not None and top >= rows:
        beyond = sorted((place, text) for text, place in subject.vocabulary.ids.items() if place >= rows)
        yield Found(
            subject.vocabulary.files[0],
            f"ids up to {top}, {rows} rows: {listed(f'{p} {show(t, 40)}' for p, t in beyond)}",
        )


@rule(
    "special-ids-disagree", "warning", needs="vocabulary",
    what="config, generation config and tokenizer name different special ids",
    why="a wrong eos id generates until the limit; a wrong bos or pad id changes every answer",
    fix="give all three the same ids",
    source="transformers generation: generation_config first, then config; vLLM and llama.cpp read others",
)  # fmt: skip
def special_ids_disagree(subject: Subject) -> Iterator[Found]:
    for role in ("bos", "eos", "pad"):
        own = subject.vocabulary.named(role)
        for name, table in (
            ("config.json", subject.text_config),
            ("generation_config.json", subject.json("generation_config.json").value),
        ):
            stated = table.get(f"{role}_token_id")
            if own is None or stated is None or name not in subject.folder.names:
                continue
            if own not in (stated if isinstance(stated, list) else [stated]):
                yield Found(name, f"{role}_token_id is {said(stated)}; the tokenizer's {role} token has the id {own}")


@rule(
    "special-token-unknown", "error", needs="vocabulary",
    what="a special token that the settings name is not in the vocabulary",
    why="transformers adds it with an id above the embedding, or leaves the model without an end of text",
    fix="correct the token's text in tokenizer_config.json",
    source=_FACTS,
)  # fmt: skip
def special_token_unknown(subject: Subject) -> Iterator[Found]:
    if not subject.vocabulary.ids or any(name.endswith(".tiktoken") for name in subject.vocabulary.files):
        return
    for role in _ROLES:
        text = token_text(subject.vocabulary.settings.get(f"{role}_token"))
        if text and text not in subject.vocabulary.ids:
            yield Found(SETTINGS, f"{role}_token is {show(text)}, which the vocabulary does not have")


@rule(
    "special-map-disagrees", "warning",
    what="special_tokens_map.json names other special tokens than tokenizer_config.json",
    why="transformers 4 reads both, transformers 5 one of them: the ids differ from version to version",
    fix="make them agree, or remove special_tokens_map.json (transformers 5 does not write it)",
    source=_FACTS,
)  # fmt: skip
def special_map_disagrees(subject: Subject) -> Iterator[Found]:
    table = subject.json("special_tokens_map.json").value
    for role in _ROLES:
        one, other = (
            token_text(table.get(f"{role}_token")),
            token_text(subject.vocabulary.settings.get(f"{role}_token")),
        )
        if one is not None and other is not None and one != other:
            yield Found("special_tokens_map.json", f"{role}_token is {show(one)}, in {SETTINGS} {show(other)}")


@rule(
    "tokenizer-class-clash", "error",
    what="a Llama tokenizer class is named over a byte-level tokenizer.json",
    why="transformers 5 puts SentencePiece's normaliser and pre-tokenizer in place: spaces vanish without an error",
    fix='set tokenizer_class to "PreTrainedTokenizerFast"',
    source="transformers #45488, PR #48219; 5.23 executed",
)  # fmt: skip
def tokenizer_class_clash(subject: Subject) -> Iterator[Found]:
    fast, named = subject.vocabulary.fast, subject.vocabulary.settings.get("tokenizer_class")
    if fast is not None and named in _SLOW and is_byte_level(fast.value):
        yield Found(SETTINGS, f"tokenizer_class is {said(named)}, and {JSON} is byte-level")


@rule(
    "tokenizer-class-ignores-file", "warning",
    what="the tokenizer class does not use tokenizer.json as it is",
    why="transformers 5 builds LlamaTokenizer from the vocabulary alone: other ids on up to two thirds of all lines",
    fix='set tokenizer_class to "PreTrainedTokenizerFast", for which tokenizer.json is the whole truth',
    source="transformers 5.23, executed: 752 of 1,227 lines differ for Llama 2",
)  # fmt: skip
def tokenizer_class_ignores_file(subject: Subject) -> Iterator[Found]:
    fast, named = subject.vocabulary.fast, subject.vocabulary.settings.get("tokenizer_class")
    if fast is not None and named in _SLOW and not is_byte_level(fast.value):
        yield Found(SETTINGS, f"tokenizer_class is {said(named)} beside {JSON}")


@rule(
    "bos-not-added", "warning",
    what="the settings promise a beginning-of-text token that tokenizer.json does not add",
    why="transformers 5 goes by tokenizer.json: prompts lack the token that the model was trained with",
    fix="add a TemplateProcessing post-processor, or set add_bos_token to false",
    source=_FACTS,
)  # fmt: skip
def bos_not_added(subject: Subject) -> Iterator[Found]:
    known = subject.vocabulary
    promised = known.settings.get("add_bos_token")
    if known.tokenizer is None or not isinstance(promised, bool) or known.named("bos") is None:
        return
    adds = known.tokenizer.encode("a").ids[:1] == [known.named("bos")]
    if adds != promised:
        yield Found(SETTINGS, f"add_bos_token is {said(promised)}; {JSON} {'adds' if adds else 'does not add'} it")


@rule(
    "round-trip", "warning",
    what="text does not come back from its ids",
    why="the decoder belongs to another model, so that answers lose spaces or characters",
    fix="take decoder and vocabulary from the same tokenizer",
    source="tokenizers 0.23, executed on every validation",
)  # fmt: skip
def round_trip(subject: Subject) -> Iterator[Found]:
    tokenizer = subject.vocabulary.tokenizer
    if tokenizer is None:
        return
    lost = []
    for text in SAMPLES:
        back = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)
        if back.strip() != text.strip() and not _unknown(subject, tokenizer, text):
            lost.append(f"{show(text, 40)} became {show(back, 40)}")
    if lost:
        yield Found(JSON, f"{len(lost)} of {len(SAMPLES)} samples: {listed(lost, 2)}")


@rule(
    "tokenizer-files-disagree", "warning",
    what="tokenizer.json and tokenizer.model give different ids",
    why="which one is used depends on library and version, so the same prompt means different things",
    fix="make tokenizer.json from tokenizer.model again (`weightsmith run SRC OUT` checks the ids it writes)",
    source="sentencepiece 0.2 against tokenizers 0.23, executed on every validation",
)  # fmt: skip
def tokenizer_files_disagree(subject: Subject) -> Iterator[Found]:
    pieces, tokenizer = subject.vocabulary.pieces, subject.vocabulary.tokenizer
    if pieces is None or tokenizer is None:
        return
    own = _sentencepiece(pieces)
    if isinstance(own, ConversionError):  # tokenizer-unreadable says so
        return
    differing = [t for t in SAMPLES if list(own.encode(t)) != tokenizer.encode(t, add_special_tokens=False).ids]
    if differing:
        yield Found(JSON, f"{len(differing)} of {len(SAMPLES)} samples, such as {show(differing[0], 40)}")


@rule(
    "pad-is-eos", "note",
    what="padding and end of text are one token",
    why="training that masks padding then never learns to stop",
    fix="nothing for inference; name another pad token before training",
    source="transformers data collators mask pad_token_id",
)  # fmt: skip
def pad_is_eos(subject: Subject) -> Iterator[Found]:
    pad = subject.vocabulary.named("pad")
    if pad is not None and pad == subject.vocabulary.named("eos"):
        yield Found(SETTINGS, f"both are {pad}")


def _sentencepiece(pieces: SentencePieceModel) -> Any:
    """The library's engine of a model, once it has encoded the samples; or its refusal."""
    from surgery.tokenizer.processor import processor

    try:
        found = processor(pieces.data)
        for text in SAMPLES:
            found.encode(text)
    except ConversionError as error:
        return error
    return found


def _unknown(subject: Subject, tokenizer: Tokenizer, text: str) -> bool:
    """Whether the vocabulary has no way to spell a text, which then cannot come back."""
    unk: Any = subject.vocabulary.named("unk")
    fast: Mapping[str, Any] = subject.vocabulary.fast.value["model"] if subject.vocabulary.fast else {}
    unk = unk if unk is not None else subject.vocabulary.ids.get(str(fast.get("unk_token")))
    return unk is not None and unk in tokenizer.encode(text, add_special_tokens=False).ids
