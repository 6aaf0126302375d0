"""A small repository that is ready to publish, as a value to be spoilt: a Llama of two layers and all beside it.

Written with struct and json alone, so that nothing of the code under test has a say in what a good repository is.
"""

import copy
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

VOCAB, HIDDEN, FFN, HEADS, KV, LAYERS = 272, 16, 24, 4, 2, 2
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
CODES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
APACHE = "Apache License\nVersion 2.0, January 2004\n"
BODY = "\n# A small Llama\n\nIt is used by the tests of the validator, and computes nothing that anybody wants.\n"

Change = Callable[["Repository"], None]


@dataclass
class Repository:
    """What will be written; ``after`` runs on the finished directory."""

    shards: dict[str, dict[str, np.ndarray]]
    config: dict[str, Any]
    generation: dict[str, Any] | None
    tokenizer: dict[str, Any] | None
    settings: dict[str, Any] | None
    card: dict[str, Any] | None
    body: str = BODY
    template: str | None = TEMPLATE
    files: dict[str, bytes] = field(default_factory=lambda: {"LICENSE": APACHE.encode()})
    metadata: dict[str, Any] | None = field(default_factory=lambda: {"format": "pt"})
    index: dict[str, Any] | None = None  # None: none is written
    after: list[Callable[[Path], object]] = field(default_factory=list)
    deep: bool = False

    def tensor(self, name: str) -> np.ndarray:
        return next(tensors[name] for tensors in self.shards.values() if name in tensors)

    def put(self, name: str, value: np.ndarray) -> None:
        """Replace a tensor where it lies."""
        next(tensors for tensors in self.shards.values() if name in tensors)[name] = value

    def drop(self, name: str) -> None:
        """Take a tensor out of its shard and out of the index."""
        del next(tensors for tensors in self.shards.values() if name in tensors)[name]
        self.reindex()

    def reindex(self) -> None:
        held = [(name, file, value) for file, tensors in self.shards.items() for name, value in tensors.items()]
        self.index = {
            "metadata": {
                "total_size": sum(v.nbytes for *_, v in held),
                "total_parameters": sum(v.size for *_, v in held),
            },
            "weight_map": {name: file for name, file, _ in held},
        }

    def write(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        for file, tensors in self.shards.items():
            (path / file).write_bytes(safetensors(tensors, self.metadata))
        tables = {
            "config.json": self.config, "generation_config.json": self.generation, "tokenizer.json": self.tokenizer,
            "tokenizer_config.json": self.settings, INDEX: self.index,
        }  # fmt: skip
        for name, table in tables.items():
            if table is not None:
                (path / name).write_text(json.dumps(table, indent=2, ensure_ascii=False), encoding="utf-8")
        if self.template is not None:
            (path / "chat_template.jinja").write_text(self.template, encoding="utf-8")
        if self.card is not None:
            block = f"---\n{json.dumps(self.card, indent=2)}\n---\n" if self.card else ""  # JSON is YAML
            (path / "README.md").write_text(block + self.body, encoding="utf-8")
        for name, content in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        for change in self.after:
            change(path)
        return path


def safetensors(tensors: dict[str, np.ndarray], metadata: dict[str, Any] | None) -> bytes:
    """The bytes of a file, as the format's description has it."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    body = b""
    for name, value in tensors.items():
        data = np.ascontiguousarray(value).tobytes()
        header[name] = {
            "dtype": CODES[str(value.dtype)], "shape": list(value.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }  # fmt: skip
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


@cache
def _weights() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(20)

    def matrix(*shape: int) -> np.ndarray:
        return numbers.normal(0, 0.1, shape).astype(np.float32)

    head = HIDDEN // HEADS
    found = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {
            f"{at}self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{at}self_attn.k_proj.weight": matrix(KV * head, HIDDEN),
            f"{at}self_attn.v_proj.weight": matrix(KV * head, HIDDEN),
            f"{at}self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{at}mlp.gate_proj.weight": matrix(FFN, HIDDEN),
            f"{at}mlp.up_proj.weight": matrix(FFN, HIDDEN),
            f"{at}mlp.down_proj.weight": matrix(HIDDEN, FFN),
            f"{at}input_layernorm.weight": matrix(HIDDEN),
            f"{at}post_attention_layernorm.weight": matrix(HIDDEN),
        }
    return found | {"model.norm.weight": matrix(HIDDEN), "lm_head.weight": matrix(VOCAB, HIDDEN)}


@cache
def _tokenizer() -> str:
    """Byte-level BPE without merges: every byte a token, and five special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.add_special_tokens(["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 256)])
    return made.to_str()


def good() -> Repository:
    """The repository without a fault."""
    weights = list(_weights().items())
    half = len(weights) // 2
    made = Repository(
        shards={SHARDS[0]: dict(weights[:half]), SHARDS[1]: dict(weights[half:])},
        config={
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
            "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV,
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "tie_word_embeddings": False,
            "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258, "dtype": "float32", "torch_dtype": "float32",
            "rope_theta": 500000.0, "rope_scaling": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        },
        generation={
            "bos_token_id": 256, "eos_token_id": [257, 260], "pad_token_id": 258, "do_sample": True, "temperature": 0.7,
        },
        tokenizer=json.loads(_tokenizer()),
        settings={
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
            "add_bos_token": True,
        },
        card={
            "license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "text-generation",
            "language": ["en", "zh"],
            "base_model": "mistralai/Mistral-7B-v0.3", "datasets": ["someone/some-texts"], "tags": ["tests"],
        },
    )  # fmt: skip
    made.reindex()
    return copy.deepcopy(made)


def adapter() -> Repository:
    """A LoRA adapter without a fault."""
    made = good()
    numbers = np.random.default_rng(21)
    at = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    made.shards = {
        "adapter_model.safetensors": {
            at.format("A"): numbers.normal(size=(4, HIDDEN)).astype(np.float32),
            at.format("B"): numbers.normal(size=(HIDDEN, 4)).astype(np.float32),
        }
    }
    settings = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
        "base_model_name_or_path": "mistralai/Mistral-7B-v0.3",
    }  # fmt: skip
    made.files["adapter_config.json"] = json.dumps(settings).encode()
    made.index = made.tokenizer = made.settings = made.generation = made.template = None
    made.after.append(lambda path: (path / "config.json").unlink())
    assert made.card is not None
    made.card |= {"library_name": "peft", "base_model_relation": "adapter"}
    return made


def changed(changes: Iterable[Change], start: Callable[[], Repository] = good) -> Repository:
    made = start()
    for change in changes:
        change(made)
    return made
