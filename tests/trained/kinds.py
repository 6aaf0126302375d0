"""A vocabulary of every kind that has a recipe, as its vendor lays the files out: trained here, named and numbered as theirs.

The names, places and settings are what the vendors' published files and code say; the truth about ids is in `truth`.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from tests.trained.documents import byte_level, finished, model_json, pieces_json
from tests.trained.pieces import Spelled, form, joined_as_published, model
from tests.trained.ranks import BY_ONE, BY_THREE, DEEPSEEK, GPT_2, ranks, tiktoken_file, trained_json, vocab_and_merges

Files = dict[str, bytes]
NO_PREFIX = {"add_dummy_prefix": False}
_TAGS = ("<br>", "</br>", "<b>", "</b>", "<td>", "</td>", "<h1>", "</h1>")
_WIDE = tuple("０１２３４５６７８９，。？！：；（）")


@dataclass(frozen=True)
class Kind:
    """One kind. `engine` is who knows the ids of plain text, `specials` what is found in text before it, with ids."""

    name: str
    family: str
    recipe: str
    make: Callable[[], Files]
    engine: Literal["sentencepiece", "tiktoken", "tokenizers"]
    specials: Mapping[str, int] = field(default_factory=dict)
    unspelled: Mapping[str, int] = field(default_factory=dict)  # tokens that prompts have and that no user's text is searched for
    prefix: tuple[int, ...] = ()  # what the vendor's class puts in front of a text
    pattern: str = ""  # tiktoken's
    nfc: bool = False
    strips: frozenset[str] = frozenset()  # specials that eat the spaces around them
    moved: str = ""  # the known cause for which some text gets other ids, as the self-check says it
    chat: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def files(self) -> Files:
        return _made(self.name)


@cache
def _made(name: str) -> Files:
    return kind(name).make()


def _config(tokenizer_class: str, **values: Any) -> Files:
    return {"tokenizer_config.json": json.dumps({"tokenizer_class": tokenizer_class, **values}).encode()}


def _decoder(specials: Mapping[str, int], plain: Mapping[str, int] | None = None) -> dict[str, Any]:
    """added_tokens_decoder, as transformers has written it since 4.34."""
    said = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    entries = [(text, place, True) for text, place in specials.items()]
    entries += [(text, place, False) for text, place in (plain or {}).items()]
    return {str(place): {"content": text, **said, "special": special} for text, place, special in entries}


def _from(first: int, *texts: str) -> dict[str, int]:
    return {text: first + place for place, text in enumerate(texts)}


def _sp(spelled: Spelled, **config: Any) -> Callable[[], Files]:
    return lambda: {"tokenizer.model": model(spelled), **_config(**{"tokenizer_class": "LlamaTokenizer", **config})}


_LLAMA = _from(0, "<unk>", "<s>", "</s>")
_NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_BAICHUAN = {
    "tokenizer_class": "BaichuanTokenizer", "add_bos_token": False, "add_eos_token": False, "pad_token": "<unk>", **_NAMED,
    "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]}, "model_max_length": 4096,
}  # fmt: skip
_CHATGLM = {
    "tokenizer_class": "ChatGLMTokenizer", "remove_space": False, "do_lower_case": False,
    "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
}  # fmt: skip
_reserved = tuple(f"<reserved_{number}>" for number in range(300))

_YI_PIECES = ("<|Human|>", "<|Assistant|>", "<|System|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|reserved003|>")
_YI = {"<unk>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "<|im_start|>": 6, "<|im_end|>": 7, "<|im_sep|>": 8}
_INTERNLM2 = _from(92538, "<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>", "<|im_start|>")
_GEMMA_TURNS = ("<start_of_turn>", "<end_of_turn>")
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN_2 = (*_QWEN, *(f"<|{name}|>" for name in (
    "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start", "quad_end", "vision_start", "vision_end",
    "vision_pad", "image_pad", "video_pad",
)))  # fmt: skip
_QWEN_2_WORDS = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>",
)  # fmt: skip
_GLM_4 = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
)  # fmt: skip
_reserved_3 = [f"<|reserved_special_token_{number}|>" for number in range(248)]
_LLAMA_3 = (
    "<|begin_of_text|>", "<|end_of_text|>", *_reserved_3[:2], "<|finetune_right_pad_id|>", _reserved_3[2],
    "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *_reserved_3[3:],
)  # fmt: skip
_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜User｜>", "<｜Assistant｜>")

_LLAMA_MODEL = Spelled(runs=1, size=32000)
_CHINESE = Spelled({"model_type": "unigram", "byte_fallback": False, "normalization_rule_name": "nmt_nfkc",
                    "remove_extra_whitespaces": True, "split_digits": False, "character_coverage": 0.9995},
                   corpus="chinese", pieces=400)  # fmt: skip


def chinese_pieces(new: int | None = None) -> bytes:
    """A Unigram model of Chinese, made for merging; with filler so that Llama's model lacks exactly `new` of its pieces."""
    data = model(_CHINESE)
    if new is None:
        return data
    made, base = form.ModelProto.FromString(data), form.ModelProto.FromString(model(Spelled(runs=1)))
    there = {piece.piece for piece in base.pieces}
    lacking = sum(piece.piece not in there for piece in made.pieces)
    lowest = min(piece.score for piece in made.pieces)
    made.pieces.extend(
        form.ModelProto.SentencePiece(piece="\U000f0000" + chr(0xF0100 + place % 256) + chr(0xF0300 + place // 256),
                                      score=lowest - 1 - place)
        for place in range(new - lacking)
    )  # fmt: skip
    serialised: bytes = made.SerializeToString()
    return serialised


def _chinese_llama() -> Files:
    config = _config("LlamaTokenizer", add_bos_token=True, add_eos_token=False, **_NAMED)
    return {"tokenizer.model": joined_as_published(model(_LLAMA_MODEL), chinese_pieces(17953)), **config}


def _chinese_llama_2() -> Files:
    """The second merge of the same authors: <pad> at 32000, then the Chinese pieces."""
    made = form.ModelProto.FromString(model(_LLAMA_MODEL))
    made.pieces.add(piece="<pad>", score=0.0)
    joined = joined_as_published(made.SerializeToString(), chinese_pieces(23295))
    config = _config("LlamaTokenizer", add_bos_token=True, add_eos_token=False, use_fast=False, **_NAMED)
    return {"tokenizer.model": joined, "special_tokens_map.json": json.dumps({"pad_token": "<pad>"}).encode(), **config}


def _tiktoken(name: str, pattern: str, size: int, tokenizer_class: str | None, **config: Any) -> Callable[[], Files]:
    return lambda: {
        name: tiktoken_file(pattern, size), **(_config(tokenizer_class, **config) if tokenizer_class else {})
    }


def _qwen_2() -> Files:
    vocab, merges = vocab_and_merges(json.loads(trained_json((BY_ONE,), True)), 151643)
    decoder = _decoder(_from(151643, *_QWEN_2), _from(151657, *_QWEN_2_WORDS))
    config = _config(
        "Qwen2Tokenizer", add_bos_token=False, added_tokens_decoder=decoder, bos_token=None, eos_token="<|im_end|>",
        pad_token="<|endoftext|>", unk_token=None, split_special_tokens=False, additional_special_tokens=list(_QWEN_2[1:]),
    )  # fmt: skip
    return {"vocab.json": vocab, "merges.txt": merges, **config}


def _gpt_2() -> Files:
    vocab, merges = vocab_and_merges(json.loads(trained_json((GPT_2,))), 50257, last="<|endoftext|>")
    return {"encoder.json": vocab, "vocab.bpe": merges}


def _gemma() -> Files:
    spelled = Spelled(
        {**NO_PREFIX, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "bos_piece": "<bos>", "eos_piece": "<eos>"},
        user=("<mask>", *_GEMMA_TURNS, *("\n" * count for count in range(1, 6)), *("▁" * count for count in range(2, 9)), *_TAGS),
    )
    specials = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, **_from(5, *_GEMMA_TURNS)}
    said = _config(
        "GemmaTokenizer", add_bos_token=True, add_eos_token=False, added_tokens_decoder=_decoder(specials), bos_token="<bos>",
        eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", additional_special_tokens=list(_GEMMA_TURNS),
    )  # fmt: skip
    return {"tokenizer.model": model(spelled), **said}


def _minicpm() -> Files:
    """MiniCPM3's folder: a tokenizer.json, and a tokenizer.model beside it that puts no space in front."""
    special = ("<|im_end|>", "<|im_start|>", "<|tool_call|>")
    value = finished(pieces_json(), special, front="<s>")
    said = _config("LlamaTokenizerFast", add_bos_token=True, add_eos_token=False, **{**_NAMED, "eos_token": "<|im_end|>"},
                   added_tokens_decoder=_decoder({**_LLAMA, **_from(1500, *special)}))  # fmt: skip
    return {"tokenizer.json": value, "tokenizer.model": model(Spelled(NO_PREFIX, user=("\n", "\t", *_TAGS))), **said}


def _llama_published() -> Files:
    """Both files, as Llama 2 was published: they say the same, and the class that transformers 5 takes something else."""
    own = model(Spelled(runs=1))
    said = _config("LlamaTokenizer", add_bos_token=True, add_eos_token=False, **_NAMED)
    return {"tokenizer.json": model_json(own, front="<s>"), "tokenizer.model": own, **said}


def _json(make: Callable[[], bytes], tokenizer_class: str = "PreTrainedTokenizerFast", **config: Any) -> Callable[[], Files]:
    return lambda: {"tokenizer.json": make(), **_config(tokenizer_class, **config)}


#: what a bare model is asked with: the names that its own trainer_spec gives
_DERIVED = {"recipe": "derived from the model", "engine": "sentencepiece", "specials": _LLAMA, "prefix": (1,)}

KINDS: tuple[Kind, ...] = (
    Kind("baichuan1", "baichuan", "baichuan1", _sp(Spelled(
        {"normalization_rule_name": "nmt_nfkc", "split_digits": False, "allow_whitespace_only_pieces": False,
         "max_sentencepiece_length": 10},
        user=("<SEP>", "<CLS>", "\n", "\t", *_TAGS, *"0123456789", *_WIDE[10:], *_reserved[:110]), size=64000), **_BAICHUAN),
        "sentencepiece", {**_LLAMA, **_from(135, "<reserved_102>", "<reserved_103>")}, chat="baichuan1",
        moved="combining marks"),
    Kind("baichuan2", "baichuan2", "baichuan2", _sp(Spelled(
        NO_PREFIX, user=("<SEP>", "<CLS>", "\n", "\t", *_TAGS, *_WIDE, *_reserved[:120]), size=125696), **_BAICHUAN),
        "sentencepiece", _LLAMA, unspelled=_from(139, "<reserved_106>", "<reserved_107>"), chat="baichuan2"),
    Kind("yi", "yi", "yi", _sp(Spelled(
        {**NO_PREFIX, "bos_piece": "<|startoftext|>", "eos_piece": "<|endoftext|>"},
        user=(*_YI_PIECES, "<fim_prefix>", *_TAGS, "▁▁", "▁▁▁▁", "\n", "\n\n", "\t"),
        controls=(*_YI_PIECES[:3], _YI_PIECES[6]), size=64000),
        add_bos_token=False, add_eos_token=False, added_tokens_decoder=_decoder(_YI), bos_token="<|startoftext|>",
        eos_token="<|endoftext|>", pad_token="<unk>", unk_token="<unk>", additional_special_tokens=list(_YI)[3:]),
        "sentencepiece", _YI, chat="yi"),
    Kind("chatglm2", "chatglm2", "chatglm2", _sp(Spelled(size=64789), **_CHATGLM,
        name_or_path="THUDM/chatglm2-6b"), "sentencepiece",
        unspelled=_from(64789, "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"), prefix=(64790, 64792), chat="chatglm2"),
    Kind("chatglm3", "chatglm3", "chatglm3", _sp(Spelled(size=64789), **_CHATGLM,
        name_or_path="THUDM/chatglm3-6b"), "sentencepiece",
        unspelled=_from(64789, "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
                        "<|observation|>"), prefix=(64790, 64792), chat="chatglm3"),
    Kind("internlm", "internlm", "internlm", _sp(Spelled(
        NO_PREFIX, user=("<eoh>", "<eoa>", *(f"<TOKENS_UNUSED_{number}>" for number in range(2, 141))), last=True,
        letters_first=True, size=103168), add_bos_token=True, add_eos_token=False, **_NAMED, pad_token="</s>"),
        "sentencepiece", _LLAMA, prefix=(1,), strips=frozenset(_LLAMA), chat="internlm"),
    Kind("internlm2", "internlm2", "internlm2", _sp(Spelled(
        NO_PREFIX, user=(*_WIDE, "——", "……", *(f"[UNUSED_TOKEN_{number}]" for number in range(147))), last=True, size=92544),
        tokenizer_class="InternLM2Tokenizer", added_tokens_decoder=_decoder({**_LLAMA, **_INTERNLM2}), **_NAMED,
        pad_token="</s>", additional_special_tokens=list(_INTERNLM2)),
        "sentencepiece", {**_LLAMA, **_INTERNLM2}, prefix=(1,), chat="internlm2"),
    Kind("llama", "llama", "llama", _sp(_LLAMA_MODEL, add_bos_token=True, add_eos_token=False, **_NAMED),
        "sentencepiece", _LLAMA, prefix=(1,), chat="llama2"),
    Kind("mistral", "mistral", "mistral", _sp(Spelled(runs=2, size=32000), add_bos_token=True, add_eos_token=False, **_NAMED,
        added_tokens_decoder=_decoder(_LLAMA), legacy=True),
        "sentencepiece", _LLAMA, prefix=(1,), chat="mistral"),
    Kind("chinese-llama", "llama", "chinese-llama", _chinese_llama, "sentencepiece", _LLAMA, prefix=(1,),
        moved="share their score"),
    Kind("chinese-llama-2", "llama", "chinese-llama-2", _chinese_llama_2, "sentencepiece", {**_LLAMA, "<pad>": 32000},
        prefix=(1,), strips=frozenset({"<pad>"})),
    Kind("qwen", "qwen", "qwen", _tiktoken("qwen.tiktoken", BY_ONE, 151643, "QWenTokenizer", model_max_length=32768,
        auto_map={"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}),
        "tiktoken", _from(151643, *_QWEN, *(f"<|extra_{number}|>" for number in range(205))), pattern=BY_ONE, nfc=True,
        chat="qwen"),
    Kind("glm4", "glm4", "glm4", _tiktoken("tokenizer.model", BY_THREE, 151329, "ChatGLM4Tokenizer",
        added_tokens_decoder=_decoder(_from(151329, *_GLM_4)), eos_token="<|endoftext|>", pad_token="<|endoftext|>",
        auto_map={"AutoTokenizer": ["tokenization_chatglm.ChatGLM4Tokenizer", None]}),
        "tiktoken", _from(151329, *_GLM_4), pattern=BY_THREE, prefix=(151331, 151333), chat="glm4"),
    Kind("llama3", "llama", "llama3", _tiktoken("tokenizer.model", BY_THREE, 128000, None), "tiktoken",
        _from(128000, *_LLAMA_3), pattern=BY_THREE, prefix=(128000,), chat="llama3"),
    Kind("qwen2", "qwen2", "qwen2", _qwen_2, "tokenizers", {**_from(151643, *_QWEN_2), **_from(151657, *_QWEN_2_WORDS)},
        pattern=BY_ONE, nfc=True, chat="qwen2"),
    Kind("gpt2", "gpt2", "gpt2", _gpt_2, "tokenizers", {"<|endoftext|>": 50256}, pattern=GPT_2),
    # no listed size: what the model says of itself is all there is
    Kind("minicpm", "minicpm", **_DERIVED, make=_sp(Spelled(
        NO_PREFIX, user=("<用户>", "<AI>", "\n", "\t", *_TAGS)), add_bos_token=True, add_eos_token=False, **_NAMED)),
    Kind("llama-other-size", "llama", **_DERIVED, make=lambda: {"tokenizer.model": model(Spelled(runs=1))}),
    Kind("gemma", "gemma", "derived from the model", _gemma, "sentencepiece",
        {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, **_from(5, *_GEMMA_TURNS)}, prefix=(2,)),
    Kind("unigram", "llama", **_DERIVED, make=lambda: {"tokenizer.model": model(Spelled(
        {"model_type": "unigram", "byte_fallback": False, "normalization_rule_name": "nmt_nfkc",
         "remove_extra_whitespaces": True}))}),
    Kind("unigram-bytes", "llama", **_DERIVED, make=lambda: {"tokenizer.model": model(Spelled(
        {"model_type": "unigram"}, user=("<ctl>",), controls=("<ctl>",)))}),
    # a tokenizer.json, which is carried as it is
    Kind("gpt2-json", "gpt2", "carried", _json(lambda: byte_level((GPT_2,), "<|endoftext|>"), eos_token="<|endoftext|>"),
        "tokenizers", {"<|endoftext|>": 1500}),
    Kind("qwen2-json", "qwen2", "carried", _json(
        lambda: byte_level((BY_ONE,), *_QWEN_2, plain=_QWEN_2_WORDS, nfc=True), "Qwen2Tokenizer", eos_token="<|im_end|>"),
        "tokenizers", _from(1500, *_QWEN_2, *_QWEN_2_WORDS), chat="qwen2"),
    Kind("llama3-json", "llama", "carried", _json(
        lambda: byte_level((BY_THREE,), *_LLAMA_3, front="<|begin_of_text|>", ignore_merges=True),
        bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"),
        "tokenizers", _from(1500, *_LLAMA_3), prefix=(1500,), chat="llama3"),
    Kind("deepseek-json", "deepseek", "carried", _json(
        lambda: byte_level(DEEPSEEK, *_DEEPSEEK, front=_DEEPSEEK[0]), "LlamaTokenizerFast", bos_token=_DEEPSEEK[0],
        eos_token=_DEEPSEEK[1], pad_token=_DEEPSEEK[2], add_bos_token=True, add_eos_token=False),
        "tokenizers", _from(1500, *_DEEPSEEK), prefix=(1500,)),
    Kind("llama-published", "llama", "carried", _llama_published, "sentencepiece", _LLAMA, prefix=(1,)),
    Kind("minicpm3-json", "minicpm3", "carried", _minicpm, "tokenizers",
        {**_LLAMA, **_from(1500, "<|im_end|>", "<|im_start|>", "<|tool_call|>")}, prefix=(1,), chat="minicpm3"),
)  # fmt: skip


def kind(name: str) -> Kind:
    """The kind of this name."""
    (found,) = [one for one in KINDS if one.name == name]
    return found


def ranked(one: Kind) -> dict[bytes, int]:
    """The trained ranks of a tiktoken kind, without filler."""
    return ranks(one.pattern)
