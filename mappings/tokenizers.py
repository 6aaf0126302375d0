"""The vocabularies we know by sight, and what their files do not say.

A vocabulary is recognised by what is in the file, not by the checkpoint's family: Baichuan's pieces are Baichuan's
pieces in a Llama too. The rest (normaliser, dummy prefix, user-defined pieces, merge order) is read from the file; a
vocabulary that is not listed gets a recipe derived from the model alone.

Measured against the vendors' own tokenizers: facts/tokenizers.md, and `python -m tests.tokenizer_table` for today's
figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from surgery.tokenizer.adapt import generic
from surgery.tokenizer.recipe import Compose, Names, Recipe, Replace, Special, Vocabulary
from surgery.tokenizer.sources import BpeFiles, SentencePieceModel, Source, TiktokenRanks, TokenizerJson, read

# tiktoken's cl100k pattern, in which Qwen takes digits one by one and Llama 3 and GLM-4 up to three together.
_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ONE_DIGIT: Final = _SPLIT % ""
THREE_DIGITS: Final = _SPLIT % "{1,3}"

_LLAMA = (Special("<unk>"), Special("<s>"), Special("</s>"))


def _numbered(first: int, *texts: str) -> Mapping[int, Special]:
    return MappingProxyType({first + place: Special(text) for place, text in enumerate(texts)})


_LLAMA_NAMES = Names("<s>", "</s>", "<unk>")

# The vendor never matches these names in text. "sop" as an added token would split "people" into three, so it is
# renamed.
_CHATGLM_SPECIALS = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
_CHATGLM_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
_CHATGLM = Recipe(
    "chatglm2", numbered=_numbered(64789, *_CHATGLM_SPECIALS), renamed=MappingProxyType({0: "<|pad|>", 2: "<|eos|>"}),
    prefix=("[gMASK]", "<sop>"), names=Names(eos="<|eos|>", pad="<|pad|>"), chat="chatglm2", chat_in_code=True,
    unsaid=("[gMASK]sop",),
)  # fmt: skip

# InternLM2's slow class finds these by both names (tokenization_internlm2.py: added_tokens_decoder over user-defined
# pieces).
_INTERNLM2_ALIASES = MappingProxyType(
    {
        92538: "<|plugin|>",
        92539: "<|interpreter|>",
        92540: "<|action_end|>",
        92541: "<|action_start|>",
        92542: "<|im_end|>",
        92543: "<|im_start|>",
    }
)

_LLAMA_3 = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(3, 248)),
)  # fmt: skip
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN_2 = (
    *_QWEN, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_QWEN_2_WORDS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
_GLM_4 = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
)  # fmt: skip

RECIPES: Final[tuple[tuple[Vocabulary, Recipe], ...]] = (
    (
        Vocabulary("sentencepiece", (64000,), pieces=("<reserved_102>", "<reserved_103>")),
        Recipe(
            "baichuan1",
            specials=(*_LLAMA, Special("<reserved_102>"), Special("<reserved_103>")),
            names=replace(_LLAMA_NAMES, pad="<unk>"),
            chat="baichuan1",
            chat_in_code=True,
        ),
    ),
    (
        Vocabulary("sentencepiece", (125696,), pieces=("<reserved_106>", "<reserved_107>")),
        Recipe(
            "baichuan2", specials=_LLAMA, names=replace(_LLAMA_NAMES, pad="<unk>"), chat="baichuan2", chat_in_code=True
        ),
    ),
    (
        Vocabulary("sentencepiece", (64000,), pieces=("<|startoftext|>", "<|im_sep|>")),
        Recipe(
            "yi",
            # Its other control pieces (<|Human|> ...) are not registered: in the vendor's code text never reaches them.
            specials=tuple(
                map(Special, ("<unk>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"))
            ),
            names=Names("<|startoftext|>", "<|endoftext|>", "<unk>", "<unk>"),
            chat="yi",
        ),
    ),
    (
        Vocabulary("sentencepiece", (64789,), ("chatglm3",), ("chatglm3", "<|assistant|>")),
        replace(
            _CHATGLM, name="chatglm3", numbered=_numbered(64789, *_CHATGLM_SPECIALS, *_CHATGLM_ROLES), chat="chatglm3"
        ),
    ),
    (Vocabulary("sentencepiece", (64789,)), _CHATGLM),
    (
        Vocabulary("sentencepiece", (103168,), pieces=("<eoh>", "<eoa>")),
        Recipe(
            "internlm",
            specials=tuple(Special(one.text, strip=True) for one in _LLAMA),
            prefix=("<s>",),
            names=replace(_LLAMA_NAMES, pad="</s>"),
            chat="internlm",
            chat_in_code=True,
        ),
    ),
    (
        Vocabulary("sentencepiece", (92544,), pieces=("[UNUSED_TOKEN_145]",)),
        Recipe(
            "internlm2",
            specials=(*_LLAMA, *(Special(text, normalised=True) for text in _INTERNLM2_ALIASES.values())),
            renamed=_INTERNLM2_ALIASES,
            steps=tuple(Replace(f"[UNUSED_TOKEN_{place - 92397}]", text) for place, text in _INTERNLM2_ALIASES.items()),
            prefix=("<s>",),
            names=replace(_LLAMA_NAMES, pad="</s>"),
            chat="internlm2",
            chat_in_code=True,
        ),
    ),
    (
        Vocabulary("sentencepiece", (32000,), ("mistral", "mixtral"), pieces=("<s>", "</s>")),
        Recipe("mistral", specials=_LLAMA, prefix=("<s>",), chat="mistral", names=_LLAMA_NAMES),
    ),
    (
        Vocabulary("sentencepiece", (32000,), pieces=("<s>", "</s>")),
        Recipe("llama", specials=_LLAMA, prefix=("<s>",), names=_LLAMA_NAMES, chat="llama2"),
    ),
    (
        Vocabulary("sentencepiece", (49953, 49954), pieces=("<s>", "</s>")),
        Recipe("chinese-llama", specials=_LLAMA, prefix=("<s>",), ties=True, names=_LLAMA_NAMES),
    ),
    (
        Vocabulary("sentencepiece", (55296,), pieces=("<pad>",)),
        Recipe(
            "chinese-llama-2",
            specials=(*_LLAMA, Special("<pad>", strip=True)),
            prefix=("<s>",),
            names=replace(_LLAMA_NAMES, pad="<pad>"),
            ties=True,
            chat="llama2",
        ),
    ),
    (
        Vocabulary("tiktoken", (151643,)),
        Recipe(
            "qwen",
            numbered=_numbered(151643, *_QWEN, *(f"<|extra_{number}|>" for number in range(205))),
            steps=(Compose("NFC"),),
            pattern=ONE_DIGIT,
            names=Names(eos="<|endoftext|>", pad="<|endoftext|>"),
            chat="qwen",
            chat_in_code=True,
        ),
    ),
    (
        Vocabulary("tiktoken", (151329,)),
        Recipe(
            "glm4",
            numbered=_numbered(151329, *_GLM_4),
            pattern=THREE_DIGITS,
            prefix=("[gMASK]", "<sop>"),
            names=Names(eos="<|endoftext|>", pad="<|endoftext|>"),
            chat="glm4",
            chat_in_code=True,
        ),
    ),
    (
        Vocabulary("tiktoken", (128000,)),
        Recipe(
            "llama3",
            numbered=_numbered(128000, *_LLAMA_3),
            pattern=THREE_DIGITS,
            prefix=("<|begin_of_text|>",),
            names=Names("<|begin_of_text|>", "<|end_of_text|>"),
            chat="llama3",
        ),
    ),
    (
        Vocabulary("bpe", (151643,)),
        Recipe(
            "qwen2",
            numbered=MappingProxyType(
                {
                    **_numbered(151643, *_QWEN_2),
                    **{151657 + place: Special(text, special=False) for place, text in enumerate(_QWEN_2_WORDS)},
                }
            ),
            steps=(Compose("NFC"),),
            pattern=ONE_DIGIT,
            names=Names(eos="<|endoftext|>", pad="<|endoftext|>"),
            chat="qwen2",
        ),
    ),
    (
        Vocabulary("bpe", (50257,), pieces=("<|endoftext|>",)),
        Recipe(
            "gpt2", specials=(Special("<|endoftext|>"),), names=Names("<|endoftext|>", "<|endoftext|>", "<|endoftext|>")
        ),
    ),
)

# Families whose own tokenizer class puts nothing in front unless tokenizer_config.json says so.
WITHOUT_BOS: Final = frozenset({"baichuan", "baichuan2", "yi", "qwen", "qwen2", "gpt2"})
CARRIED: Final = Recipe("carried")


def recipe_for(family: str, files: Mapping[str, bytes]) -> Recipe:
    """The recipe of a checkpoint's vocabulary: a listed one by what is in the file, else one derived from the model."""
    source = read(files)
    if isinstance(source, TokenizerJson):
        return CARRIED
    matching = [(vocabulary, recipe) for vocabulary, recipe in RECIPES if _matches(vocabulary, source)]
    config = files.get("tokenizer_config.json", b"").decode("utf-8", "replace")
    named = [
        recipe
        for vocabulary, recipe in matching
        if family in vocabulary.families or any(word in config for word in vocabulary.mentions)
    ]
    unnamed = [recipe for vocabulary, recipe in matching if not vocabulary.families]
    return next(iter((*named, *unnamed)), None) or generic(source, adds_bos=family not in WITHOUT_BOS)


def _matches(vocabulary: Vocabulary, source: Source) -> bool:
    match source:
        case SentencePieceModel(pieces=pieces):
            form, texts = "sentencepiece", {piece.text for piece in pieces}
        case BpeFiles(vocab=vocab):
            form, texts = "bpe", set(vocab)
        case TiktokenRanks():
            form, texts = "tiktoken", set()
        case _:
            return False
    return vocabulary.form == form and source.size in vocabulary.sizes and texts >= set(vocabulary.pieces)
