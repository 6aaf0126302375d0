"""What a config tells a loader beside what is computed: class, element type, quantisation, code of its own.

Each can make a library compute something else than the tensors and sizes that lie there, and no decoder of ours follows
them, so each difference is a finding. What the source says in the same way is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convert.verification.decoder import Config, Decoder, architectures
from convert.verification.verdict import COARSER, Finding
from surgery.errors import listed, show

#: how classes that compute the logits of a next token are called
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ChatGLMModel")
#: kinds that no library has a class for, so that code of a repository is the only way to load them
_NEEDS_CODE = ("aquila", "Yi", "baichuan", "internlm", "internlm2", "qwen", "chatglm", "minicpm")
_STORED = {
    "float64": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_QUANTISED = ("quantization_config", "compression_config")


def differences(source: Decoder, output: Decoder) -> tuple[Finding, ...]:
    """Everything that the output's config tells a loader and the source's does not."""
    return (*_class(source, output), *_element_type(source, output), *_quantised(source, output), *_code(source, output))


def _class(source: Decoder, output: Decoder) -> Iterator[Finding]:
    theirs, ours = architectures(source.config), architectures(output.config)
    if ours == theirs:
        return
    kind = _plain(output.config.get("model_type") or "").removesuffix("text")  # Llama 4's text half has the whole's classes
    if odd := [name for name in ours if not name.endswith(_GENERATES)]:
        yield _found("class", theirs, ours, "fails", f"{show(odd[0])} does not compute the logits of a next token")
    elif other := [name for name in ours if not _plain(name).startswith(kind)]:
        why = f"{show(other[0])} is the class of another architecture than model_type {show(output.config.get('model_type'))}"
        yield _found("class", theirs, ours, "fails", why)
    elif theirs and not ours and kind:
        yield _found("class", theirs, ours, "warns", "programs that choose by the class's name do not know this model")


def _element_type(source: Decoder, output: Decoder) -> Iterator[Finding]:
    theirs, ours = _stated(source.config), _stated(output.config)
    stored = output.weights.main_dtype
    if ours in (None, theirs) or _STORED.get(str(ours)) == stored:
        return
    lossy = COARSER.get(_STORED.get(str(ours), ""), 1.0) > COARSER.get(stored, 1.0)
    why = f"the weights are {stored}, and loaders turn them into what the config says"
    yield _found("element type", theirs, ours, "fails" if lossy else "warns", why)


def _quantised(source: Decoder, output: Decoder) -> Iterator[Finding]:
    plain = all(kind in ("F64", "F32", "F16", "BF16") for kind in output.weights.stored_types)
    for key in _QUANTISED:
        told = output.config.get(key)
        if told and plain and told != source.config.get(key):
            why = "the weights are not quantised: loaders would quantise them, or refuse"
            yield _found(key, source.config.get(key), told, "fails", why)


def _code(source: Decoder, output: Decoder) -> Iterator[Finding]:
    theirs, ours = source.config.get("auto_map"), output.config.get("auto_map")
    if not ours or ours == theirs:
        return
    needed = output.config.get("model_type") in _NEEDS_CODE
    why = "who trusts the code of a repository runs that instead, and nobody compared it"
    classes = sorted(map(str, ours.values())) if isinstance(ours, dict) else ours
    yield _found("code of its own", theirs, listed(classes, 3) if isinstance(classes, list) else classes,
                 "warns" if needed else "fails", why)  # fmt: skip


def _stated(config: Config) -> str | None:
    said = config.get("dtype") or config.get("torch_dtype")
    return said.removeprefix("torch.") if isinstance(said, str) and said != "auto" else None


def _plain(name: str) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def _found(fact: str, one: Any, other: Any, status: Any, because: str) -> Finding:
    return Finding(fact, show(one) if one else "", show(other) if other else "", status, because)
