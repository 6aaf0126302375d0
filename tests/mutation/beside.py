"""Mistakes in what stands beside the weights, and in what an output claims of itself, put to the judge that `verify` is.

One small Llama with a tokenizer, a chat template and generation settings. What an outsider makes of a folder decides whether a
mistake changes it: AutoTokenizer's ids and prompts, the library's generation settings and config, its class's logits.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.judgement import judgement
from surgery.errors import ConversionError
from tests.mutation.suite import Fate, Outcome
from tests.oracle import transformers
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_extend import small_json
from tests.writing import _here

FAMILY = "beside the weights"
ROWS = 701
_BEGUN = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}" + _BEGUN
TEXTS = ("the water\nhouse", " Light  harbour", "灯塔 😀", "a<|end|>b", "DEF x(y):\t1234")
TALK = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": " hi\n"}, {"role": "assistant", "content": "Yes."})

Edit = Callable[[Path], None]


def source(folder: Path) -> Path:
    """The right one."""
    value = small_json()
    end = value["added_tokens"][0]
    frame = [{"SpecialToken": {"id": end["content"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    value["post_processor"] = {
        "type": "TemplateProcessing", "single": frame, "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {end["content"]: {"id": end["content"], "ids": [end["id"]], "tokens": [end["content"]]}},
    }  # fmt: skip
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end["content"], "chat_template": TEMPLATE}
    llama(folder, rows=ROWS, tied=False, eos_token_id=2, files={
        "tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": json.dumps(said).encode(),
        "generation_config.json": json.dumps({"eos_token_id": 2, "do_sample": True, "top_p": 0.9}).encode(),
    })  # fmt: skip
    return folder


def _json(name: str, edit: Callable[[dict[str, Any]], object]) -> Edit:
    """An edit of a document's value."""

    def change(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        edit(value)
        (folder / name).write_text(json.dumps(value))

    return change


def _weights(edit: Callable[[dict[str, torch.Tensor]], object], claimed: dict[str, Any] | None = None, **config: Any) -> Edit:
    """An edit of the tensors, with what the output's manifest claims of it and its config says."""

    def change(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        edit(held)
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, folder / "model.safetensors", {"format": "pt"})
        if claimed is not None:
            (folder / "weightsmith.json").write_text(json.dumps(claimed))
        _json("config.json", lambda value: value.update(config))(folder)

    return change


def _noise(held: dict[str, torch.Tensor], size: float = 1e-2) -> None:
    random = torch.Generator().manual_seed(1)
    for name, tensor in held.items():
        if tensor.dim() == 2:
            held[name] = tensor * (1 + size * torch.randn(tensor.shape, generator=random))


def _stray(held: dict[str, torch.Tensor]) -> None:
    _noise(held, 1e-3)
    held["model.layers.0.stray"] = torch.zeros(4, dtype=torch.bfloat16)


def _garbage(held: dict[str, torch.Tensor]) -> None:
    for name in (EMBED, HEAD):
        held[name][300:] = torch.randn(held[name][300:].shape, generator=torch.Generator().manual_seed(2))


def _cut(held: dict[str, torch.Tensor]) -> None:
    held.update({name: held[name][:100] for name in (EMBED, HEAD)})


def _more(held: dict[str, torch.Tensor]) -> None:
    for name in (EMBED, HEAD):
        held[name] = torch.cat((held[name], 9 * held[name][:30].abs()))


def _settings(**values: Any) -> Edit:
    return _json("generation_config.json", lambda value: value.update(values))


def _said(**values: Any) -> Edit:
    return _json("config.json", lambda value: value.update(values))


def _template(text: str) -> Edit:
    return _json("tokenizer_config.json", lambda value: value.update(chat_template=text))


_UNCUT = {"type": "ByteLevel", "use_regex": False, "add_prefix_space": True, "trim_offsets": True}
_PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
_CAST = {"do": "cast", "to": "bfloat16"}
_VOCABULARY = {"options": {"vocabulary": {"edit": "trim-vocab", "rows": 100}}}
MISTAKES: dict[str, Edit] = {
    "merges removed": _json("tokenizer.json", lambda value: value["model"].update(merges=value["model"]["merges"][:10])),
    "two merges exchanged": _json("tokenizer.json", lambda value: _last_first(value["model"]["merges"])),
    "lower case": _json("tokenizer.json", lambda value: value.update(normalizer={"type": "Lowercase"})),
    "no post-processor": _json("tokenizer.json", lambda value: value.update(post_processor=None)),
    "another pre-tokenizer": _json("tokenizer.json", lambda value: value.update(pre_tokenizer=_UNCUT)),
    "no decoder": _json("tokenizer.json", lambda value: value.update(decoder=None)),
    "special tokens forgotten": _json("tokenizer.json", lambda value: value.update(added_tokens=[])),
    "template: another mark": _template(TEMPLATE.replace("<|{{", "<{{")),
    "template: content trimmed": _template(TEMPLATE.replace("m['content']", "m['content'] | trim")),
    "template: no system turn": _template(TEMPLATE.replace("in messages", "in messages if m['role'] != 'system'")),
    "template: an answer always begun": _template(TEMPLATE.replace(_BEGUN, "<|assistant|>")),
    "template gone": _json("tokenizer_config.json", lambda value: value.pop("chat_template")),
    "generation: another end": _settings(eos_token_id=5),
    "generation: no end": _json("generation_config.json", lambda value: value.pop("eos_token_id")),
    "generation: repetition penalty": _settings(repetition_penalty=5.0),
    "generation: tokens suppressed": _settings(suppress_tokens=[3]),
    "generation: greedy": _settings(do_sample=False),
    "generation: another top_p": _settings(top_p=0.1),
    "config: another end": _said(eos_token_id=403),
    "config: shorter context": _said(max_position_embeddings=64),
    "config: quantised": _said(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "config: stored in another type": _said(torch_dtype="bfloat16"),
    "config: another class": _said(architectures=["LlamaForSequenceClassification"]),
    "config: code of its own": _said(auto_map={"AutoModelForCausalLM": "modeling_x.Model"}),
    "config: attention both ways": _said(is_causal=False),
    "config: a rotation said twice": _said(rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters=_PLAIN),
    "claim: noise is approximate": _weights(_noise, {"exactness": "approximate"}),
    "claim: a cast that was not": _weights(_noise, {"exactness": "approximate", "edits": [_CAST], "steps": []}),
    "claim: garbage behind ids of the end": _weights(_garbage, eos_token_id=[2, *range(300, ROWS)]),
    "claim: a vocabulary cut by an edit": _weights(_cut, _VOCABULARY, vocab_size=100),
    "claim: further rows that win": _weights(_more, {"options": {"vocabulary": {"edit": "extend-vocab"}}}, vocab_size=ROWS + 30),
    "noise behind a stray narrow tensor": _weights(_stray),
}  # fmt: skip

EQUAL: dict[str, Edit] = {
    "documents indented": lambda folder: _indented(folder),
    "template said otherwise": _template(TEMPLATE.replace("m['role']", "m.role").replace("{{ m[", "{{m[")),
    "template in its own file": lambda folder: _moved_template(folder),
    "merges in the other spelling": _json("tokenizer.json", lambda value: _respelled(value["model"])),
    "idle generation settings": _settings(repetition_penalty=1.0, top_k=50, transformers_version="4.0"),
    "config: defaults said": _said(attention_dropout=0.0, pretraining_tp=1, use_cache=True),
    "config: the rotation in the other spelling": _json(
        "config.json", lambda value: value.update(rope_parameters={"rope_type": "default", "rope_theta": value.pop("rope_theta")})
    ),
}  # fmt: skip


def _last_first(merges: list[Any]) -> None:
    merges.insert(0, merges.pop())


def _respelled(model: dict[str, Any]) -> None:
    pairs = [one.split(" ") if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    model["merges"] = pairs


def _indented(folder: Path) -> None:
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))


def _moved_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    _json("tokenizer_config.json", lambda value: value.pop("chat_template"))(folder)


def outcomes(only: frozenset[str] | None = None) -> Iterator[Outcome]:
    """Every mistake and every equivalent; `only` names the ones that are wanted."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, mock.patch("convert.verification.child.run_child", _here):
        base = source(Path(folder) / "base")
        truth = heard(base)
        for number, (name, edit) in enumerate((MISTAKES | EQUAL).items()):
            if only is not None and name not in only:
                continue
            out = Path(folder) / str(number)
            shutil.copytree(base, out)
            edit(out)
            failed, where = _verdict(base, out)
            changed = heard(out) != truth
            yield Outcome(FAMILY, "a small Llama", "itself", name, _fate(name, failed, changed), where, float(changed))


def _fate(name: str, failed: bool, changed: bool) -> Fate:
    if name in EQUAL:
        assert not changed, f"{name} changes what the library makes of the folder"
        return "false alarm" if failed else "same function"
    return ("killed" if failed else "survived") if changed else "seen by reading" if failed else "same function"


def _verdict(base: Path, out: Path) -> tuple[bool, str]:
    try:
        checked = judgement(open_checkpoint(base), open_checkpoint(out), witness="off").checked
    except ConversionError as refusal:
        return True, f"refused: {str(refusal)[:60]}"
    return not checked.passed, checked.verdict.first_divergence or ""


def heard(folder: Path) -> Any:
    """What the library makes of a folder, one thing after the other; an error is an answer too."""
    return [_asked(one, folder) for one in (_tokens, _prompts, _generation, _config, _logits)]


def _asked(question: Callable[[Path], Any], folder: Path) -> Any:
    try:
        return question(folder)
    except Exception as error:  # of many classes
        return type(error).__name__


def _tokenizer(folder: Path) -> Any:
    return transformers().AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _tokens(folder: Path) -> Any:
    tokenizer = _tokenizer(folder)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    return ids, [tokenizer.decode(one) for one in ids]


def _prompts(folder: Path) -> Any:
    tokenizer = _tokenizer(folder)
    return [tokenizer.apply_chat_template(list(TALK), tokenize=False, add_generation_prompt=more) for more in (True, False)]


def _generation(folder: Path) -> Any:
    told = transformers().GenerationConfig.from_pretrained(folder).to_dict()
    idle = {"repetition_penalty": 1.0, "top_k": 50}  # the library's own when it generates
    return {key: value for key, value in told.items() if key != "transformers_version" and value not in (None, idle.get(key))}


def _config(folder: Path) -> Any:
    config = transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False)
    named = ("eos_token_id", "max_position_embeddings", "architectures", "quantization_config", "dtype", "auto_map", "is_causal")
    return copy.deepcopy({name: getattr(config, name, None) for name in named})


def _logits(folder: Path) -> Any:
    model = transformers().AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    model.eval()
    ids = torch.arange(3, 43).view(2, 20)
    with torch.inference_mode():
        logits = model(ids, use_cache=False).logits
    return [list(logits.shape), (logits * 1e4).round().long().tolist()]
