"""How names of licences and of models are spelled, and what of a spelling tells nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

_LONGEST = 200  # characters of a name; the Hub allows 96
#: one of what those who copy, quantise or change the container of a model add to its name; words that tuned models bear too
#: (qlora, unsloth) count only where what stands with them tells a copy. Never repeated within a pattern: a stranger's name
#: that fits in many ways would be tried in all of them
_FORM = re.compile(
    r"[-._](?:gguf|ggml|awq|gptq|aqlm|hqq|marlin|exl[23]|mlx|onnx|ov|openvino|ct2|hf|safetensors"
    r"|(?:unsloth-)?bnb|ud|kv|quantized|dynamic|dwq"
    r"|fp8|fp16|bf16|fp32|int[48]|nf4|nvfp4|mxfp4|w\da\d+(?:kv\d+)?|\d+-?bits?|\d+(?:\.\d+)?bpw|h\d|\d+g|g\d+"
    r"|i?q\d(?:_\w+)?|iq|i1|imat(?:rix)?|sharded|(?:qlora|spinquant)_int4_eo8)$",
    re.IGNORECASE,
)


def spelled(names: str) -> Iterator[str]:
    """Every name that a row stands for.

    >>> list(spelled("org/{a,b}-7b{,-chat}"))
    ['org/a-7b', 'org/a-7b-chat', 'org/b-7b', 'org/b-7b-chat']
    """
    parts = re.split(r"[{}]", names)  # every second one stood between braces
    return map("".join, product(*(part.split(",") if place % 2 else [part] for place, part in enumerate(parts))))


def plain_licence(name: str) -> str:
    """A licence's name without what people spell as they like: case, dashes, and the words licence and agreement.

    >>> [plain_licence(name) for name in ("Tongyi Qianwen LICENSE AGREEMENT", "tongyi-qianwen", "llama-3.1", "License")]
    ['tongyiqianwen', 'tongyiqianwen', 'llama3.1', 'license']
    """
    letters = re.sub(r"[\s_\-()/]+", "", name.lower())
    return re.sub(r"licen[cs]e|agreement", "", letters) or letters


def plain_model(repository: str) -> str:
    """A repository's name in lower case, without its owner and without the form of a copy.

    >>> plain_model("TheBloke/Llama-2-7B-Chat-GGUF"), plain_model("meta-llama/Llama-2-7b-chat-hf@main")
    ('llama-2-7b-chat', 'llama-2-7b-chat')
    """
    name = bare(repository).rpartition("/")[2]
    while len(name) <= _LONGEST and (end := _FORM.search(name)) and end.start():
        name = name[: end.start()]
    return name


def bare(repository: str) -> str:
    """An id in lower case, without a revision and without a slash at its end."""
    return repository.strip().lower().partition("@")[0].rstrip("/")
