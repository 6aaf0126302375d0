"""Ninety-seven ways to spoil a good converted directory, one at a time, each with the rule and the file that should tell.

`python -m tests.validate.damage` prints the table of what was found. The last three change what no rule can see: they are
the reason why `weightsmith verify` exists.
"""

import gzip
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.card import Wishes, make_card, write_card
from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact, plan_artefact
from convert.validate.check import Report, validate
from convert.validate.rule import CONSUMERS
from tests.shared import SHARED
from tests.trained.pieces import Spelled, model

INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4000000000\n"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Q0, Q1, K0 = (f"model.layers.{n}.self_attn.{p}_proj.weight" for n, p in ((0, "q"), (1, "q"), (0, "k")))
DOWN2 = "model.layers.2.mlp.down_proj.weight"

Tensors = dict[str, np.ndarray]
Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Damage:
    """One way to spoil a directory; ``file`` may be a tensor's name, which stands for the shard that holds it."""

    name: str
    rule: str
    file: str
    spoil: Spoil
    seen: bool = True  # whether any rule can see it


STORIES = SHARED / "real" / "stories260K-baichuan"


def small_baichuan(folder: Path) -> Path:
    """A Baichuan of five layers and 512 rows with random weights, and a vocabulary trained here: files as its vendor has them."""
    random = np.random.default_rng(11)
    hidden, ffn = 64, 172
    shapes = {"model.embed_tokens": (512, hidden), "lm_head": (512, hidden), "model.norm": (hidden,)}
    for layer in range(5):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}input_layernorm": (hidden,), f"{at}post_attention_layernorm": (hidden,)}
        shapes |= {f"{at}self_attn.W_pack": (3 * hidden, hidden), f"{at}self_attn.o_proj": (hidden, hidden)}
        shapes |= {f"{at}mlp.{part}_proj": (ffn, hidden) for part in ("gate", "up")} | {f"{at}mlp.down_proj": (hidden, ffn)}
    folder.mkdir(parents=True)
    store(
        folder / "model.safetensors",
        {
            f"{name}.weight": (random.normal(0, 0.1, shape) + (len(shape) == 1)).astype(np.float32)
            for name, shape in shapes.items()
        },
        {"format": "pt"},
    )
    config = {
        "architectures": ["BaiChuanForCausalLM"], "model_type": "baichuan", "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": ffn, "num_hidden_layers": 5, "num_attention_heads": 8, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "float32", "use_cache": True, "vocab_size": 512,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "auto_map": {"AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(model(Spelled(corpus="english", pieces=512)))
    return folder


def prepare(path: Path, source: Path) -> Path:
    """A good repository: the Baichuan of ``source``, copied, converted to Llama in several shards, with its card."""
    copy, out = path / "source", path / "out"
    shutil.copytree(source, copy)
    for entry in copy.iterdir():
        os.chmod(entry, 0o644)
    (copy / "LICENSE").write_text("Baichuan Community License Agreement, as the publisher of the weights wrote it.\n")
    (copy / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}')
    card = {"license": "other", "license_name": "baichuan", "license_link": "LICENSE", "language": ["en"]}
    (copy / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n\n# Stories\n")
    from convert import write

    write(plan_artefact(open_artefact(open_checkpoint(copy)), "llama", max_shard_size=400_000), out, verify="off")
    (out / "chat_template.jinja").write_text(TEMPLATE)
    write_card(out, make_card(copy, out, Wishes(base_model="baichuan-inc/Baichuan2-7B-Base", name="stories-llama")))
    return out


def look(path: Path) -> Report:
    """The flags under which good and spoilt directories are judged alike."""
    return validate(path, deep=True, consumers=CONSUMERS)


# --- how things are spoilt -----------------------------------------------------------------------------------------


def shards(path: Path) -> list[Path]:
    return sorted(path.glob("model-*.safetensors"))


def load(file: Path) -> tuple[Tensors, Any]:
    """A safetensors file by hand."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "F16": np.float16}
    return {
        name: np.frombuffer(content[8 + length :][slice(*e["data_offsets"])], kinds[e["dtype"]])
        .reshape(e["shape"])
        .copy()
        for name, e in header.items()
    }, metadata


def store(file: Path, tensors: Tensors, metadata: Any = None) -> None:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, value in tensors.items():
        raw = np.ascontiguousarray(value).tobytes()
        kind = {"float32": "F32", "float16": "F16"}[str(value.dtype)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


def holder(path: Path, name: str) -> str:
    table: Mapping[str, str] = json.loads((path / INDEX).read_text())["weight_map"]
    return table[name]


def weights(edit: Callable[[Tensors], object], name: str = "", *, reindex: bool = True) -> Spoil:
    """A change to the tensors of the shard that holds ``name``, or of every shard; the index follows."""

    def spoil(path: Path) -> None:
        for file in [path / holder(path, name)] if name else shards(path):
            tensors, metadata = load(file)
            edit(tensors)
            store(file, tensors, metadata)
        if reindex:
            held = {n: (f.name, t) for f in shards(path) for n, t in load(f)[0].items()}
            total = {
                "total_size": sum(t.nbytes for _, t in held.values()),
                "total_parameters": sum(t.size for _, t in held.values()),
            }
            table = {"metadata": total, "weight_map": {n: f for n, (f, _) in sorted(held.items())}}
            (path / INDEX).write_text(json.dumps(table))

    return spoil


def value(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return weights(lambda tensors: tensors.__setitem__(name, make(tensors[name])), name)


def table(file: str, edit: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(path: Path) -> None:
        content = json.loads((path / file).read_text("utf-8"))
        edit(content)
        (path / file).write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")

    return spoil


def config(**keys: Any) -> Spoil:
    return table("config.json", lambda c: c.update(keys))


def words(file: str, edit: Callable[[str], str]) -> Spoil:
    return lambda path: (path / file).write_text(edit((path / file).read_text("utf-8")), "utf-8")


def replace(file: str, old: str, new: str) -> Spoil:
    def edit(text: str) -> str:
        assert old in text, (file, old)
        return text.replace(old, new, 1)

    return words(file, edit)


def shard(edit: Callable[[bytes], bytes], number: int = 0) -> Spoil:
    return lambda path: shards(path)[number].write_bytes(edit(shards(path)[number].read_bytes()))


def create(file: str, content: bytes | str = b"x") -> Spoil:
    def spoil(path: Path) -> None:
        (path / file).parent.mkdir(exist_ok=True)
        (path / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def remove(*files: str) -> Spoil:
    def spoil(path: Path) -> None:
        for file in files:
            (path / file).unlink()

    return spoil


def front(line: str) -> Spoil:
    """One more line in the card's block of YAML."""
    return replace("README.md", "---\n", f"---\n{line}\n")


def linked(file: str, target: str) -> Spoil:
    def spoil(path: Path) -> None:
        (path / file).unlink()
        (path / file).symlink_to(target)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(path: Path) -> None:
        for one in spoils:
            one(path)

    return spoil


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def set_item(place: Any, number: float) -> Callable[[np.ndarray], np.ndarray]:
    def make(old: np.ndarray) -> np.ndarray:
        old[place] = number
        return old

    return make


def rename(old: str, new: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__setitem__(new, tensors.pop(old))


def swap(one: str, other: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[one], tensors[other] = tensors[other], tensors[one]

    return edit


def drop_layer(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.startswith("model.layers.4.")]:
        del tensors[name]


def copy_across(path: Path) -> None:
    """Layer 1 gets the queries of layer 0."""
    wanted = load(path / holder(path, Q0))[0][Q0]
    value(Q1, lambda old: wanted)(path)


def halved(tensors: Tensors) -> None:
    for name in tensors:
        tensors[name] = tensors[name].astype(np.float16)


def unmarked(path: Path) -> None:
    tensors, _ = load(shards(path)[0])
    store(shards(path)[0], tensors)


def moved(path: Path) -> None:
    shards(path)[0].rename(path / "model-1.safetensors")


SHARD1, SHARD2 = "@0", "@1"  # the first and the second shard, whatever they are called

DAMAGES: tuple[Damage, ...] = (
    # files
    Damage("second shard deleted", "shard-missing", SHARD2, lambda path: shards(path)[1].unlink()),
    Damage("shard one byte short", "weights-unreadable", SHARD1, shard(lambda old: old[:-1])),
    Damage("shard cut in half", "weights-unreadable", SHARD2, shard(lambda old: old[: len(old) // 2], 1)),
    Damage("bytes behind the last tensor", "weights-unreadable", SHARD1, shard(lambda old: old + b"\0" * 8)),
    Damage("one bit of a header", "weights-unreadable", SHARD1, shard(lambda old: flipped(old, 11))),
    Damage("one bit of a weight", "manifest-hash", SHARD1, shard(lambda old: flipped(old, len(old) - 1))),
    Damage("pointer instead of a shard", "lfs-pointer", SHARD1, shard(lambda old: POINTER)),
    Damage(
        "login page instead of a shard", "disguised-file", SHARD1, shard(lambda old: b"<!DOCTYPE html><html></html>")
    ),
    Damage("compressed shard", "disguised-file", SHARD1, shard(gzip.compress)),
    Damage("empty shard", "empty-file", SHARD1, shard(lambda old: b"")),
    Damage("renamed shard", "shard-missing", SHARD1, moved),
    Damage(
        "stale whole model",
        "index-and-single",
        "model.safetensors",
        lambda p: shutil.copy(shards(p)[0], p / "model.safetensors"),
    ),
    Damage(
        "stale shard",
        "shard-orphan",
        "model-00009-of-00009.safetensors",
        lambda p: shutil.copy(shards(p)[0], p / "model-00009-of-00009.safetensors"),
    ),
    Damage(
        "half a download", "unfinished-file", "model.safetensors.incomplete", create("model.safetensors.incomplete")
    ),
    Damage("optimizer", "training-state", "optimizer.pt", create("optimizer.pt")),
    Damage("training arguments", "training-state", "training_args.bin", create("training_args.bin")),
    Damage("remote code", "remote-code", "modeling_mine.py", create("modeling_mine.py", "import os\n")),
    Damage("auto_map left", "auto-map-dangling", "config.json", config(auto_map={"AutoModel": "modeling_mine.Mine"})),
    Damage("old .bin beside", "weights-twice", "pytorch_model.bin", create("pytorch_model.bin")),
    Damage("link to the outside", "link-outside", "tokenizer.model", linked("tokenizer.model", "/etc/hostname")),
    Damage("dangling link", "link-dangling", "tokenizer.model", linked("tokenizer.model", "../gone/tokenizer.model")),
    Damage("names that differ in case", "case-collision", "license", create("license", "words")),
    Damage("shard for its owner only", "file-mode", SHARD1, lambda path: os.chmod(shards(path)[0], 0o600)),
    Damage("executable config", "file-mode", "config.json", lambda path: os.chmod(path / "config.json", 0o755)),
    Damage("Finder's file", "private-folder", ".DS_Store", create(".DS_Store")),
    # index
    Damage("index cut off", "index-unreadable", INDEX, words(INDEX, lambda old: old[:-10])),
    Damage("index without its table", "index-unreadable", INDEX, table(INDEX, lambda i: i.pop("weight_map"))),
    Damage("wrong total", "index-total-size", INDEX, table(INDEX, lambda i: i["metadata"].update(total_size=7))),
    Damage(
        "tensor in the wrong shard",
        "index-wrong-shard",
        INDEX,
        lambda p: table(INDEX, lambda i: i["weight_map"].update({Q0: shards(p)[-1].name}))(p),
    ),
    Damage("tensor not listed", "index-unlisted-tensor", Q0, table(INDEX, lambda i: i["weight_map"].pop(Q0))),
    Damage(
        "tensor listed but absent",
        "index-absent-tensor",
        INDEX,
        lambda p: table(INDEX, lambda i: i["weight_map"].update({"model.new": shards(p)[0].name}))(p),
    ),
    Damage(
        "index leads outside",
        "index-path",
        INDEX,
        table(INDEX, lambda i: i["weight_map"].update({Q0: "/etc/x.safetensors"})),
    ),
    Damage("index deleted", "index-missing", INDEX, remove(INDEX)),
    # tensors
    Damage("tensor lost", "tensor-missing", INDEX, weights(lambda t: t.pop(DOWN2), DOWN2)),
    Damage(
        "tensor renamed",
        "tensor-unexpected",
        "model.layers.2.mlp.down.weight",
        weights(rename(DOWN2, "model.layers.2.mlp.down.weight"), DOWN2),
    ),
    Damage("tensor transposed", "tensor-transposed", DOWN2, value(DOWN2, np.transpose)),
    Damage("square matrix transposed", "manifest-hash", Q0, value(Q0, np.transpose)),
    Damage("queries and keys swapped", "manifest-hash", Q0, weights(swap(Q0, K0), Q0)),
    Damage("output projection lost", "head-missing", "config.json", weights(lambda t: t.pop(HEAD), HEAD)),
    Damage("last layer lost", "layer-count", "config.json", weights(drop_layer)),
    Damage("one NaN", "nan", Q0, value(Q0, set_item((3, 5), np.nan))),
    Damage("one infinity", "infinite", Q0, value(Q0, set_item((3, 5), np.inf))),
    Damage("NaN in a norm", "nan", "model.norm.weight", value("model.norm.weight", set_item(-1, np.nan))),
    Damage("matrix of zeros", "tensor-zero", Q0, value(Q0, np.zeros_like)),
    Damage("rows overwritten", "rows-constant", DOWN2, value(DOWN2, set_item(slice(10, 14), 0.5))),
    Damage("layer copied over another", "tensors-equal", Q1, copy_across),
    Damage("one matrix in float16", "dtype-mixed", Q0, value(Q0, lambda old: old.astype(np.float16))),
    Damage("all in float16, config not", "dtype-config", "config.json", weights(halved)),
    Damage("format not marked", "header-no-format", SHARD1, unmarked),
    Damage("one row fewer", "vocab-rows", EMBED, value(EMBED, lambda old: old[:-1])),
    # config
    Damage("config deleted", "config-missing", "config.json", remove("config.json")),
    Damage("key twice", "config-unreadable", "config.json", replace("config.json", "{", '{"head_dim": 4,')),
    Damage("width of another model", "tensor-shape", Q0, config(hidden_size=72, head_dim=9)),
    Damage("key-value heads of another model", "tensor-shape", K0, config(num_key_value_heads=4)),
    Damage("heads that do not divide", "config-heads", "config.json", config(num_key_value_heads=3)),
    Damage("theta in one form only", "rope-disagree", "config.json", config(rope_theta=1e6)),
    Damage(
        "only the new form",
        "rope-new-form-only",
        "config.json",
        table(
            "config.json",
            lambda c: (
                c.pop("rope_theta"),
                c.pop("rope_scaling"),
                c["rope_parameters"].update(rope_theta=1e6),
            ),
        ),
    ),
    Damage("end of text beyond the rows", "special-ids", "config.json", config(eos_token_id=512)),
    Damage(
        "tied over a changed head",
        "tied-head-differs",
        HEAD,
        both(
            value(HEAD, set_item((7, 7), 0.5)),
            config(tie_word_embeddings=True),
        ),
    ),
    Damage(
        "class not named", "config-architectures", "config.json", table("config.json", lambda c: c.pop("architectures"))
    ),
    Damage("vocabulary rounded up", "vocab-rows", EMBED, config(vocab_size=576)),
    Damage("biases promised", "tensor-missing", INDEX, config(attention_bias=True)),
    Damage("another activation", "llama-cpp-activation", "config.json", config(hidden_act="gelu")),
    Damage("another type", "dtype-config", "config.json", config(dtype="float16", torch_dtype="float16")),
    # tokenizer, chat, generation
    Damage(
        "tokenizer cut off", "tokenizer-unreadable", "tokenizer.json", words("tokenizer.json", lambda old: old[:-40])
    ),
    Damage("tokenizer deleted", "tokenizer-missing", "tokenizer.json", remove("tokenizer.json", "tokenizer.model")),
    Damage(
        "another tokenizer.model",
        "tokenizer-files-disagree",
        "tokenizer.json",
        lambda p: (p / "tokenizer.model").write_bytes(model(Spelled(pieces=800))),
    ),
    Damage(
        "token beyond the rows",
        "tokenizer-ids",
        "tokenizer.json",
        table(
            "tokenizer.json",
            lambda t: t["added_tokens"].append(
                {
                    **t["added_tokens"][-1],
                    "id": 512,
                    "content": "<new>",
                }
            ),
        ),
    ),
    Damage(
        "another end of text",
        "special-ids-disagree",
        "config.json",
        replace("tokenizer_config.json", '"eos_token": "</s>"', '"eos_token": "<unk>"'),
    ),
    Damage(
        "class that ignores the file",
        "tokenizer-class-ignores-file",
        "tokenizer_config.json",
        replace("tokenizer_config.json", "PreTrainedTokenizerFast", "LlamaTokenizer"),
    ),
    Damage(
        "broken template",
        "chat-template-syntax",
        "chat_template.jinja",
        replace("chat_template.jinja", "{% endfor %}", ""),
    ),
    Damage(
        "template of another model",
        "chat-template-tokens",
        "chat_template.jinja",
        replace("chat_template.jinja", "{{ message['role'] }}: ", "<|user|>"),
    ),
    Damage(
        "temperature without sampling",
        "generation-sampling",
        "generation_config.json",
        table("generation_config.json", lambda g: g.update(temperature=0.3)),
    ),
    Damage(
        "stop id that does not exist",
        "generation-ids",
        "generation_config.json",
        table("generation_config.json", lambda g: g.update(eos_token_id=32000)),
    ),
    # card, licence, secrets
    Damage("card deleted", "card-missing", "README.md", remove("README.md")),
    Damage("broken YAML", "card-yaml", "README.md", replace("README.md", "license: other", "license: [other")),
    Damage(
        "Llama's licence on a Baichuan",
        "licence-changed",
        "README.md",
        replace("README.md", "license: other", "license: llama2"),
    ),
    Damage("licence file deleted", "licence-text-missing", "LICENSE", remove("LICENSE")),
    Damage(
        "token in the card",
        "secret",
        "README.md",
        words("README.md", lambda old: old + "export HF_TOKEN=" + "hf_" + "Ab3" * 11 + "z\n"),
    ),
    Damage("path of a machine", "private-path", "config.json", config(_name_or_path="/home/somebody/out")),
    # what was not seen at first: each was met in a repository that loaded wrongly or that the Hub refused
    Damage(
        "answers that end with no end of text",
        "chat-template-end",
        "chat_template.jinja",
        replace("chat_template.jinja", "\n{% endfor %}", "{% if message['role'] == 'assistant' %}<s>{% endif %}\n{% endfor %}"),
    ),
    Damage(
        "template in a processor's file",
        "chat-template-unread",
        "chat_template.json",
        both(remove("chat_template.jinja"), create("chat_template.json", json.dumps({"chat_template": TEMPLATE}))),
    ),
    Damage("layer types of another depth", "config-layer-types", "config.json", config(layer_types=["full_attention"] * 4)),
    Damage(
        "rope type of another class",
        "rope-type",
        "config.json",
        table("config.json", lambda c: c["rope_parameters"].update(rope_type="mrope")),
    ),
    Damage("class of another head", "config-class", "config.json", config(architectures=["LlamaForSequenceClassification"])),
    Damage("class of another model_type", "config-class", "config.json", config(model_type="mistral")),
    Damage(
        "adapter beside the merged weights",
        "adapter-beside",
        "adapter_config.json",
        both(create("adapter_config.json", '{"peft_type": "LORA"}'), create("adapter_model.safetensors")),
    ),
    Damage(
        "weights under another name beside",
        "weights-beside",
        "consolidated.safetensors",
        lambda p: shutil.copy(shards(p)[0], p / "consolidated.safetensors"),
    ),
    Damage("half-written safetensors", "unfinished-file", ".tmpQ4x9Zk", create(".tmpQ4x9Zk")),
    Damage("results in words", "model-index", "README.md", front("model-index: not correct")),
    Damage("example in words", "widget-form", "README.md", front("widget: Once upon a time")),
    Damage("data set by its path", "datasets-path", "README.md", front("datasets: [/var/hf/images]")),
    Damage("card deleted, and the licence with it", "licence-missing", "README.md", remove("README.md")),
    Damage("no tokenizer to serve with", "vllm-tokenizer", "tokenizer.json", remove("tokenizer.json", "tokenizer.model")),
    # what no rule can see: only `verify` against the source does
    Damage("another epsilon", "", "config.json", config(rms_norm_eps=1e-6), seen=False),
    Damage(
        "another theta in both forms",
        "",
        "config.json",
        table(
            "config.json",
            lambda c: (
                c.update(rope_theta=20000.0),
                c["rope_parameters"].update(rope_theta=20000.0),
            ),
        ),
        seen=False,
    ),
    Damage("another context", "", "config.json", config(max_position_embeddings=4096), seen=False),
)


def place(good: Path, path: Path, damage: Damage) -> str:
    """The file that a finding should name."""
    if damage.file.startswith("@"):
        return shards(good)[int(damage.file[1:])].name
    if damage.file.endswith(".weight"):
        table = json.loads((path / INDEX).read_text())["weight_map"]
        return str(table.get(damage.file) or holder(good, damage.file))
    return damage.file


def told(good: Path, damage: Damage, scratch: Path) -> list[str]:
    """What is said about a spoilt copy beyond what is said about the good one, as ``rule file``."""
    path = scratch / "spoilt"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(good, path, symlinks=True)
    damage.spoil(path)
    return [f"{finding.rule.id} {finding.file}" for finding in look(path).findings]


def found(good: Path, damage: Damage, scratch: Path) -> bool:
    """Whether the right rule names the right file."""
    said = told(good, damage, scratch)
    return f"{damage.rule} {place(good, scratch / 'spoilt', damage)}" in said


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        good = prepare(Path(scratch), small_baichuan(Path(scratch) / "small"))
        count = 0
        for damage in DAMAGES:
            hit = found(good, damage, Path(scratch))
            count += hit
            sys.stdout.write(f"{'found ' if hit else 'MISSED'}  {damage.name}  ({damage.rule or 'no rule can'})\n")
        sys.stdout.write(f"{count} of {len(DAMAGES)} found\n")


if __name__ == "__main__":
    main()
