"""For every rule a repository that breaks it, and one near by that does not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.validate.changes import (
    ABSENT,
    adapter_config,
    added,
    after,
    card,
    config,
    dangerous,
    data,
    dropped,
    every,
    file,
    generation,
    indexed,
    link,
    manifest,
    many,
    nothing,
    overlapping,
    pickled,
    settings,
    single,
    sparse,
    tensor,
    text,
    to_adapter,
    without,
)  # fmt: skip
from tests.validate.repository import (
    FFN,
    HIDDEN,
    INDEX,
    SHARDS,
    TEMPLATE,
    VOCAB,
    Change,
    Repository,
    adapter,
    good,
    safetensors,
)

Fixture = tuple[Change, ...]
ONE, TWO = SHARDS
Q0, DOWN1 = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"
EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4000000000\n"
LONG = {
    "rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0, 1.0], "factor": 1.0,
    "original_max_position_embeddings": 128, "attention_factor": 1.0,
}  # fmt: skip
LLAMA2, LLAMA3 = "meta-llama/Llama-2-7b-hf", "meta-llama/Meta-Llama-3-8B"
BAICHUAN = {
    "license": "other",
    "license_name": "baichuan",
    "license_link": "LICENSE",
    "base_model": "baichuan-inc/Baichuan2-7B-Base",
}


def rope(scaling: dict[str, Any] | None, theta: float = 500000.0) -> Change:
    """Rope in both forms."""
    return config(
        rope_theta=theta,
        rope_scaling=scaling,
        rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": theta},
    )


def no_shards(made: Repository) -> None:
    made.shards, made.index = {}, None


def no_index(made: Repository) -> None:
    made.index = None


def metadata(value: dict[str, Any] | None) -> Change:
    return lambda made: setattr(made, "metadata", value)


def body(value: str) -> Change:
    return lambda made: setattr(made, "body", value)


def template(value: str | None) -> Change:
    return lambda made: setattr(made, "template", value)


def no(part: str) -> Change:
    """Without the generation config, the tokenizer, its settings or the card."""
    return lambda made: setattr(made, part, None)


def vocabulary(edit: Any) -> Change:
    return lambda made: edit(made.tokenizer)


def with_nan(value: np.ndarray) -> np.ndarray:
    spoilt = value.copy()
    spoilt.flat[5] = np.nan
    return spoilt


def with_inf(value: np.ndarray) -> np.ndarray:
    spoilt = value.copy()
    spoilt.flat[-1] = -np.inf
    return spoilt


def with_row(value: np.ndarray, row: int = 3, number: float = 0.25) -> np.ndarray:
    spoilt = value.copy()
    spoilt[row] = number
    return spoilt


def copied(target: str, source: str) -> Change:
    def change(made: Repository) -> None:
        made.put(target, made.tensor(source).copy())

    return change


def moved_to_both(made: Repository) -> None:
    made.shards[TWO][Q0] = made.shards[ONE][Q0]


def misaligned(made: Repository) -> None:
    """One byte of metadata too many before the tensors' bytes."""
    made.after.append(lambda path: (path / ONE).write_bytes(_shifted((path / ONE).read_bytes())))


def _shifted(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    return (length + 1).to_bytes(8, "little") + content[8 : 8 + length] + b" " + content[8 + length :]


def large_header(made: Repository) -> None:
    made.metadata = {"format": "pt", "told": "x" * 25_000_001}


def mode(name: str, bits: int) -> Change:
    return after(lambda path: os.chmod(path / name, bits))


def sentencepiece(spelling: str) -> Change:
    """A tokenizer.model and a tokenizer.json made for it, or for another one."""

    def change(made: Repository) -> None:
        from sentencepiece import sentencepiece_model_pb2 as form
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        model = form.ModelProto()
        pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b"]
        for place, piece in enumerate(pieces):
            kind = 2 if place == 0 else 3 if place < 3 else 6 if place < 259 else 1
            model.pieces.add(piece=piece, score=-float(place), type=kind)
        model.trainer_spec.model_type, model.trainer_spec.byte_fallback, model.trainer_spec.vocab_size = (
            2,
            True,
            len(pieces),
        )
        model.normalizer_spec.add_dummy_prefix = False
        model.normalizer_spec.remove_extra_whitespaces = False
        model.normalizer_spec.escape_whitespaces = True
        made.files["tokenizer.model"] = model.SerializeToString()
        ids = {piece: place for place, piece in enumerate(pieces)}
        if spelling == "other":
            ids["a"], ids["b"] = ids["b"], ids["a"]
            ids["<0x48>"], ids["<0x65>"] = ids["<0x65>"], ids["<0x48>"]
        fast = Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True))
        fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        fast.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
        made.tokenizer, made.template = json.loads(fast.to_str()), None
        assert made.settings is not None and made.generation is not None
        made.settings |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "add_bos_token": False}
        ids_now = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        made.config |= ids_now
        made.generation |= ids_now

    return change


def meta(*, whole: bool) -> Change:
    """Meta's model-parallel files; with one tensor in only one of them, they do not fit together."""

    def write(path: Path) -> None:
        import torch

        for name in ("config.json", "generation_config.json"):
            (path / name).unlink()
        params = {"dim": 16, "n_heads": 4, "n_layers": 1, "vocab_size": 32, "multiple_of": 8, "norm_eps": 1e-5}
        (path / "params.json").write_text(json.dumps(params))
        rows = {"attention.wq": 8, "attention.wk": 8, "attention.wv": 8, "feed_forward.w1": 24, "feed_forward.w3": 24}
        for number in range(2):
            held = {f"layers.0.{name}.weight": torch.ones(n, 16) for name, n in rows.items()}
            held |= {
                "layers.0.attention.wo.weight": torch.ones(16, 8),
                "layers.0.feed_forward.w2.weight": torch.ones(16, 24),
            }
            held |= {"tok_embeddings.weight": torch.ones(32, 8), "output.weight": torch.ones(16, 16)}
            held |= {f"layers.0.{name}.weight": torch.ones(16) for name in ("attention_norm", "ffn_norm")}
            held["norm.weight"] = torch.ones(16)
            if number and not whole:
                del held["layers.0.attention.wq.weight"]
            torch.save(held, path / f"consolidated.{number:02d}.pth")

    def change(made: Repository) -> None:
        no_shards(made)
        made.after.append(write)

    return change


def lora_beside(*, config: bool) -> Change:
    """The files of an adapter in the repository of the model that it was merged into."""

    def change(path: Path) -> None:
        adapter().write(path / "adapter")
        for name in ("adapter_model.safetensors", *(["adapter_config.json"] if config else [])):
            (path / "adapter" / name).rename(path / name)
        shutil.rmtree(path / "adapter")

    return after(change)


def mistral_form(*, params: bool) -> Fixture:
    """All tensors once more in one consolidated file, as Mistral publishes them, with its params.json or without."""

    def write(path: Path) -> None:
        made = good()
        every = {name: value for tensors in made.shards.values() for name, value in tensors.items()}
        (path / "consolidated.safetensors").write_bytes(safetensors(every, None))
        if params:
            (path / "params.json").write_text('{"dim": 16, "n_layers": 2}')

    return (after(write),)


def results(**changes: Any) -> Change:
    """An evaluation in the card, as the Hub's leaderboards read it, with changes."""
    result = {
        "task": {"type": "text-generation"}, "dataset": {"type": "org/set", "name": "A set", "config": "en"},
        "metrics": [{"type": "accuracy", "value": 0.5}],
    }  # fmt: skip
    return card(**{"model-index": [{"name": "a-model", "results": [{**result, **changes}]}]})


def sentence_classifier(made: Repository) -> None:
    made.config["architectures"] = ["LlamaForSequenceClassification"]


def fp8(made: Repository) -> None:
    made.config["quantization_config"] = {"quant_method": "gptq", "bits": 4}


def renamed(old: str, new: str) -> Change:
    def change(made: Repository) -> None:
        shard = next(tensors for tensors in made.shards.values() if old in tensors)
        shard[new] = shard.pop(old)
        made.reindex()

    return change


def tied(*, stored: bool, same: bool = True) -> Fixture:
    changes: tuple[Change, ...] = (config(tie_word_embeddings=True),)
    if not stored:
        return (*changes, dropped(HEAD))
    return (*changes, copied(HEAD, EMBED)) if same else changes


def vision(made: Repository) -> None:
    made.config |= {
        "architectures": ["SomeVLForConditionalGeneration"],
        "model_type": "some_vl",
        "vision_config": {"depth": 2},
    }


def qwen_vl(made: Repository) -> None:
    """Qwen2.5-VL by its config, with biases and a vision tensor."""
    made.config |= {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "vision_config": {"depth": 1},
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]},
    }  # fmt: skip
    del made.config["rope_parameters"]
    for layer in range(2):
        for part, width in (("q", HIDDEN), ("k", HIDDEN // 2), ("v", HIDDEN // 2)):
            added(f"model.layers.{layer}.self_attn.{part}_proj.bias", np.ones(width, np.float32))(made)


def mit_text() -> str:
    return "Permission is hereby granted, free of charge, to any person obtaining a copy of this software\n"


def licensed(
    identifier: str, base: str, legal: str, notice: str = "", words: str = "", title: str = "A model"
) -> Fixture:
    """A repository under one of Meta's licences."""
    changes = [
        card(license=identifier, base_model=base),
        file("LICENSE", legal),
        body(f"\n# {title}\n\n{words} It is for the tests of the validator.\n"),
    ]
    return (*changes, file("NOTICE", notice)) if notice else tuple(changes)


LLAMA2_NOTICE = (
    "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved."
)
LLAMA3_NOTICE = "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright Meta Platforms, Inc."
LLAMA2_TEXT, LLAMA3_TEXT = "LLAMA 2 COMMUNITY LICENSE AGREEMENT\n", "META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n"
GOOD_LLAMA3 = licensed("llama3", LLAMA3, LLAMA3_TEXT, LLAMA3_NOTICE, "Built with Meta Llama 3.", "Llama 3 of the tests")

#: rule -> (what breaks it, what comes near and does not)
FIXTURES: dict[str, tuple[Fixture, Fixture]] = {
    # files
    "no-weights": ((no_shards,), (single,)),
    "config-missing": ((without("config.json"),), to_adapter()),
    "lfs-pointer": (
        (data(ONE, lambda old: POINTER),),
        (file("notes.txt", "a file of git-lfs begins with: version https://git-lfs\n"),),
    ),
    "disguised-file": (
        (data(ONE, lambda old: b"<!doctype html><html>Sign in</html>"),),
        (file("page.html", "<!doctype html>"),),
    ),
    "weights-unreadable": ((data(ONE, lambda old: old[:-16]),), (nothing,)),
    "pickle-unsafe": ((no_shards, after(dangerous)), (pickled,)),
    "pickle-weights": ((pickled,), (nothing,)),
    "weights-twice": ((after(lambda path: overlapping(path, whole=True)),), (single,)),
    "remote-code": ((file("modeling_mine.py", "class Mine: pass\n"),), (file("modeling_mine.py.txt"),)),
    "link-outside": ((link("notes.txt", "/etc/hostname"),), (link("COPYING.txt", "LICENSE"),)),
    "link-dangling": ((link("notes.txt", "nowhere.txt"),), (link("COPYING.txt", "LICENSE"),)),
    "special-file": ((after(lambda path: os.mkfifo(path / "pipe")),), (nothing,)),
    "empty-file": ((file("merges.txt", b""),), (file(".gitkeep", b""),)),
    "case-collision": ((file("license"),), (file("licence-notes"),)),
    "file-name": ((file("a:b.txt"),), (file("a-b_c.1.txt"),)),
    "file-too-large": ((sparse("data.raw", 500_000_000_001),), (sparse("data.raw", 499_000_000_000),)),
    "file-large": ((sparse("data.raw", 200_000_000_001),), (sparse("data.raw", 199_000_000_000),)),
    "too-many-files": ((many("logs", 10_001),), (many("logs", 100),)),
    "file-mode": ((mode(ONE, 0o600),), (mode(ONE, 0o644),)),
    # leftovers
    "unfinished-file": ((file(".tmpa1B2c3"),), (file(".tmp-notes.md"),)),
    "training-state": ((file("optimizer.pt"),), (file("optimizer.md"),)),
    "private-folder": ((file("__pycache__/x.pyc"),), (file("assets/picture.svg"),)),
    # index
    "index-unreadable": ((text(INDEX, lambda old: old[:-20]),), (single,)),
    "index-path": ((indexed(lambda i: i["weight_map"].__setitem__(Q0, f"../{ONE}")),), (nothing,)),
    "shard-missing": ((without(TWO),), (single,)),
    "shard-orphan": (
        (after(lambda path: (path / "model-00003-of-00003.safetensors").write_bytes((path / ONE).read_bytes())),),
        (nothing,),
    ),
    "index-and-single": (
        (after(lambda path: (path / "model.safetensors").write_bytes((path / ONE).read_bytes())),),
        (single,),
    ),
    "weights-beside": (mistral_form(params=False), mistral_form(params=True)),
    "index-missing": ((no_index,), (single,)),
    "index-absent-tensor": ((indexed(lambda i: i["weight_map"].__setitem__("model.extra.weight", ONE)),), (nothing,)),
    "index-wrong-shard": ((indexed(lambda i: i["weight_map"].__setitem__(Q0, TWO)),), (nothing,)),
    "index-unlisted-tensor": ((indexed(lambda i: i["weight_map"].pop(Q0)),), (nothing,)),
    "index-total-size": ((indexed(lambda i: i["metadata"].__setitem__("total_size", 1)),), (nothing,)),
    "index-total-parameters": (
        (indexed(lambda i: i["metadata"].__setitem__("total_parameters", 1)),),
        (indexed(lambda i: i["metadata"].pop("total_parameters")),),
    ),
    "shard-name": (
        (single, after(lambda path: (path / "model.safetensors").rename(path / "weights.safetensors"))),
        (single,),
    ),
    "tensor-twice": ((moved_to_both,), (nothing,)),
    # headers
    "header-no-format": ((metadata({}),), (metadata({"format": "pt", "more": "words"}),)),
    "header-too-large": ((large_header,), (metadata({"format": "pt", "told": "x" * 24_000_000}),)),
    "misaligned": ((misaligned,), (nothing,)),
    "dtype-config": ((config(dtype="bfloat16", torch_dtype="bfloat16"),), (config(dtype=ABSENT, torch_dtype=ABSENT),)),
    "dtype-keys-disagree": ((config(torch_dtype="float16"),), (config(torch_dtype=ABSENT),)),
    "dtype-mixed": ((tensor(Q0, lambda v: v.astype(np.float16)),), (tensor(NORM, lambda v: v.astype(np.float16)),)),
    "dtype-float64": (
        (every(lambda v: v.astype(np.float64)), config(dtype="float64", torch_dtype="float64")),
        (nothing,),
    ),
    "tensor-empty": ((tensor(Q0, lambda v: np.zeros((0,), np.float32)),), (nothing,)),
    "tensors-overlap": (
        (no_shards, after(lambda path: overlapping(path, whole=False))),
        (no_shards, after(lambda path: overlapping(path, whole=True))),
    ),
    "manifest-size": ((manifest(outputs=[{"name": ONE, "size": 5, "xxh3_128": ""}]),), (manifest(),)),
    # values
    "nan": ((tensor(Q0, with_nan),), (nothing,)),
    "infinite": ((tensor(Q0, with_inf),), (tensor(Q0, lambda v: with_row(v, 0, np.finfo(np.float32).max)),)),
    "tensor-zero": (
        (tensor(Q0, np.zeros_like),),
        (
            config(attention_bias=True),
            *(
                added(
                    f"model.layers.{n}.self_attn.{p}_proj.bias",
                    np.zeros(HIDDEN if p in "qo" else HIDDEN // 2, np.float32),
                )
                for n in range(2)
                for p in "qkvo"
            ),
        ),
    ),
    "rows-constant": ((tensor(Q0, with_row),), (tensor(EMBED, lambda v: with_row(v, VOCAB - 1, 0.0)),)),
    "tensors-equal": ((copied("model.layers.1.self_attn.q_proj.weight", Q0),), tied(stored=True)),
    "manifest-hash": ((manifest(outputs=[{"name": ONE, "size": 0, "xxh3_128": "00"}]),), (manifest(),)),
    # config
    "config-unreadable": ((text("config.json", lambda old: old.replace("{", '{"vocab_size": 1,', 1)),), (nothing,)),
    "config-architectures": ((config(architectures=None),), (config(architectures=["LlamaForCausalLM", "Other"]),)),
    "config-contradiction": ((config(hidden_size=ABSENT),), (config(head_dim=HIDDEN // 4),)),
    "config-unread-key": (
        (config(strange_factor=3), config(strange_factor=None), config(is_causal=False)),
        (config(is_causal=True),),
    ),
    "config-layer-types": (
        (config(layer_types=["full_attention"] * 3),),
        (config(layer_types=["full_attention"] * 2, mlp_layer_types=None),),
    ),
    "config-class": (
        (sentence_classifier,),
        (sentence_classifier, dropped(HEAD), added("score.weight", np.ones((2, HIDDEN), np.float32))),
    ),
    "config-heads": ((config(num_key_value_heads=3),), (config(num_key_value_heads=2),)),
    "config-number-as-text": ((config(rms_norm_eps="1e-5"),), (config(rms_norm_eps=1e-5),)),
    "auto-map-dangling": (
        (config(auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"}),),
        (config(auto_map={"AutoModelForCausalLM": "org/name--modeling_mine.Mine"}),),
    ),
    "special-ids": ((config(eos_token_id=VOCAB),), (config(eos_token_id=[257, VOCAB - 1]),)),
    # rope
    "rope-disagree": ((config(rope_theta=10000.0),), (rope({"rope_type": "linear", "factor": 2.0}),)),
    "rope-new-form-only": (
        (config(rope_theta=ABSENT, rope_scaling=ABSENT),),
        (
            config(
                rope_theta=ABSENT, rope_scaling=ABSENT, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}
            ),
        ),
    ),
    "rope-partial-ignored": ((config(partial_rotary_factor=0.5),), (config(partial_rotary_factor=1.0),)),
    "rope-type": ((rope({"rope_type": "mrope", "mrope_section": [1, 1, 0]}),), (qwen_vl,)),
    "rope-factors": ((rope({**LONG, "short_factor": [1.0]}),), (rope(LONG),)),
    # architecture
    "architecture-unknown": ((config(architectures=["MineForCausalLM"], model_type="mine"),), (nothing,)),
    "architecture-ambiguous": (
        (
            config(
                architectures=["BaichuanForCausalLM"],
                model_type="baichuan",
                max_position_embeddings=ABSENT,
                model_max_length=128,
            ),
        ),
        (nothing,),
    ),
    "weights-quantised": ((fp8,), (nothing,)),
    "architecture-unsolved": ((meta(whole=False),), (meta(whole=True),)),
    "layer-count": ((config(num_hidden_layers=3),), (nothing,)),
    "tensor-missing": ((dropped(DOWN1),), (nothing,)),
    "head-missing": ((dropped(HEAD),), tied(stored=False)),
    "tensor-unexpected": (
        (added("model.layers.0.self_attn.q_proj.bias", np.ones(HIDDEN, np.float32)),),
        (added("model.layers.0.self_attn.rotary_emb.inv_freq", np.ones(2, np.float32)),),
    ),
    "buffer-saved": ((added("model.layers.0.self_attn.rotary_emb.inv_freq", np.ones(2, np.float32)),), (nothing,)),
    "parts-unchecked": ((qwen_vl, added("visual.patch_embed.proj.weight", np.ones((4, 4), np.float32))), (qwen_vl,)),
    "tensor-transposed": ((tensor(DOWN1, np.transpose),), (nothing,)),
    "tensor-shape": ((tensor(DOWN1, lambda v: v[:, : FFN - 1]),), (nothing,)),
    "vocab-rows": ((config(vocab_size=VOCAB + 8),), (nothing,)),
    "tied-head-differs": (tied(stored=True, same=False), tied(stored=True)),
    "tied-head-stored": (tied(stored=True), tied(stored=False)),
    "processor-missing": ((vision,), (vision, file("preprocessor_config.json", "{}"))),
    # adapter
    "adapter-config": (to_adapter(adapter_config(r=0)), to_adapter(adapter_config(r=4))),
    "adapter-base": (to_adapter(adapter_config(base_model_name_or_path="/scratch/base")), to_adapter()),
    "adapter-halves": (
        to_adapter(lambda made: made.shards["adapter_model.safetensors"].popitem()),
        to_adapter(),
    ),
    "adapter-beside": ((lora_beside(config=True),), (lora_beside(config=False),)),
    "adapter-empty": (to_adapter(lambda made: made.shards["adapter_model.safetensors"].clear()), to_adapter()),
    # tokenizer
    "tokenizer-missing": ((no("tokenizer"), no("settings"), template(None)), to_adapter()),
    "tokenizer-unreadable": ((text("tokenizer.json", lambda old: old[:-30]),), (nothing,)),
    "tokenizer-config-unreadable": ((text("tokenizer_config.json", lambda old: old[:-3]),), (nothing,)),
    "tokenizer-ids": (
        (
            vocabulary(
                lambda v: v["added_tokens"].append({**v["added_tokens"][-1], "id": VOCAB, "content": "<|more|>"})
            ),
        ),
        (
            vocabulary(
                lambda v: v["added_tokens"].append({**v["added_tokens"][-1], "id": VOCAB - 1, "content": "<|more|>"})
            ),
        ),
    ),
    "special-ids-disagree": ((generation(eos_token_id=256),), (generation(eos_token_id=[256, 257]),)),
    "special-token-unknown": ((settings(eos_token="<|nowhere|>"),), (settings(eos_token={"content": "</s>"}),)),
    "special-map-disagrees": (
        (file("special_tokens_map.json", '{"eos_token": "<s>"}'),),
        (file("special_tokens_map.json", '{"eos_token": "</s>"}'),),
    ),
    "tokenizer-class-clash": (
        (settings(tokenizer_class="LlamaTokenizerFast"),),
        (settings(tokenizer_class="PreTrainedTokenizer"),),
    ),
    "tokenizer-class-ignores-file": (
        (sentencepiece("same"), settings(tokenizer_class="LlamaTokenizer")),
        (sentencepiece("same"),),
    ),
    "bos-not-added": (
        (vocabulary(lambda v: v.__setitem__("post_processor", None)),),
        (settings(add_bos_token=ABSENT),),
    ),
    "round-trip": ((vocabulary(lambda v: v.__setitem__("decoder", {"type": "Fuse"})),), (nothing,)),
    "tokenizer-files-disagree": ((sentencepiece("other"),), (sentencepiece("same"),)),
    "pad-is-eos": ((settings(pad_token="</s>"),), (nothing,)),
    # chat
    "chat-template-syntax": ((template("{% for message in messages %}"),), (nothing,)),
    "chat-template-render": ((template("{{ messages[0]['nothing']['more'] }}"),), (nothing,)),
    "chat-template-twice": (
        (settings(chat_template="{{ messages[0]['content'] }}"),),
        (template(None), settings(chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}")),
    ),
    "chat-template-tokens": (
        (template("{% for message in messages %}<|mark|>{{ message['content'] }}{% endfor %}"),),
        (nothing,),
    ),
    "chat-template-end": ((generation(eos_token_id=257),), (no("generation"), config(eos_token_id=260))),
    "chat-template-unread": (
        (template(None), file("chat_template.json", json.dumps({"chat_template": TEMPLATE}))),
        (file("chat_template.json", json.dumps({"chat_template": TEMPLATE})),),
    ),
    # generation
    "generation-unreadable": ((text("generation_config.json", lambda old: old + "}"),), (no("generation"),)),
    "generation-sampling": ((generation(do_sample=False),), (generation(do_sample=False, temperature=1.0),)),
    "generation-range": ((generation(top_p=1.5),), (generation(top_p=1.0),)),
    "generation-ids": ((generation(eos_token_id=[257, 9999]),), (generation(eos_token_id=[257]),)),
    "generation-no-eos": ((generation(eos_token_id=ABSENT),), (no("generation"),)),
    # card
    "card-missing": ((no("card"),), (nothing,)),
    "card-no-metadata": ((lambda made: setattr(made, "card", {}),), (nothing,)),
    "card-yaml": ((text("README.md", lambda old: old.replace("---\n{", "---\n{ [", 1)),), (nothing,)),
    "licence-missing": ((no("card"),), (nothing,)),
    "licence-unknown": ((card(license="llama-2"),), (card(license=["apache-2.0"]),)),
    "licence-unnamed": (
        (card(license="other"),),
        (card(license="other", license_name="mine", license_link="LICENSE"),),
    ),
    "licence-link": (
        (card(license="other", license_name="mine", license_link="TERMS.pdf"),),
        (card(license="other", license_name="mine", license_link="https://example.org/terms"),),
    ),
    "base-model-form": ((card(base_model="./checkpoints/last"),), (card(base_model=["a/b", "gpt2"]),)),
    "base-model-missing": ((card(base_model=ABSENT), manifest()), (card(base_model=ABSENT),)),
    "base-model-relation": ((card(base_model_relation="conversion"),), (card(base_model_relation="finetune"),)),
    "library-missing": ((card(library_name=ABSENT),), (nothing,)),
    "pipeline-tag": ((card(pipeline_tag="chatting"),), (card(pipeline_tag="text2text-generation"),)),
    "languages": ((card(language=["Chinese"]),), (card(language="zh"),)),
    "datasets-form": (
        (card(datasets=["some texts from the web"]),),
        (card(datasets=["wikipedia", "/var/images"]),),
    ),
    "datasets-path": ((card(datasets=["/var/images"]),), (card(datasets=["org/name", "some texts"]),)),
    "model-index": ((results(dataset={"type": "org/set", "name": "A set", "config": 3}),), (results(),)),
    "widget-form": ((card(widget="Once upon a time"),), (card(widget=[{"text": "Once upon a time"}]),)),
    "tags-form": ((card(tags="one, two"),), (card(tags=["one", "two"]),)),
    "card-unfinished": (
        (body("\n# A model\n\n- **Developed by:** [More Information Needed]\n- and some more words\n"),),
        (nothing,),
    ),
    "card-empty": ((body("\n# A model\n"),), (nothing,)),
    # licence
    "licence-changed": (
        (card(**{**BAICHUAN, "license": "llama2"}), file("LICENSE", LLAMA2_TEXT)),
        (card(**BAICHUAN), file("LICENSE", "Baichuan Community License\n")),
    ),
    "licence-other-name": (
        (card(**{**BAICHUAN, "license_name": "mine"}),),
        (card(**{**BAICHUAN, "license_name": "Baichuan 2 Community License"}),),
    ),
    "licence-own-terms": (
        (card(license="mit", base_model="mistralai/Mistral-7B-v0.1"),),
        (card(license="apache-2.0", base_model="mistralai/Mistral-7B-v0.1"),),
    ),
    "licence-inherited": (
        (card(license="mit", base_model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),),
        (card(license="mit", base_model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),),
    ),
    "licence-copy": ((without("LICENSE"),), (nothing,)),
    "licence-modified": (
        (manifest(),),
        (manifest(), body("\n# A model\n\nThe weights and config.json were changed by a conversion to Llama's form.\n")),
    ),
    "licence-text-missing": (
        (card(license="llama2", base_model=LLAMA2), without("LICENSE")),
        licensed("llama2", LLAMA2, LLAMA2_TEXT, LLAMA2_NOTICE),
    ),
    "licence-text-differs": ((file("LICENSE", mit_text()),), (card(license="mit"), file("LICENSE", mit_text()))),
    "licence-notice": (licensed("llama2", LLAMA2, LLAMA2_TEXT), licensed("llama2", LLAMA2, LLAMA2_TEXT, LLAMA2_NOTICE)),
    "licence-built-with": (licensed("llama3", LLAMA3, LLAMA3_TEXT, LLAMA3_NOTICE), GOOD_LLAMA3),
    "licence-name": (licensed("llama3", LLAMA3, LLAMA3_TEXT, LLAMA3_NOTICE, "Built with Meta Llama 3."), GOOD_LLAMA3),
    "licence-merge": (
        (card(base_model=[LLAMA2, "01-ai/Yi-6B"]),),
        (card(base_model=["01-ai/Yi-6B", "mistralai/Mistral-7B-v0.3"]),),
    ),
    "licence-duties": ((card(**BAICHUAN),), (nothing,)),
    # secrets
    "secret": (
        (file("train.log", f"token={'hf_'}{'aB3dE6gH9k' * 3}abcd\n"),),
        (file("train.log", "token=hf_hub, hf_transfer\n"),),
    ),
    "private-path": ((config(_name_or_path="/home/somebody/models/last"),), (config(_name_or_path="org/name"),)),
    "e-mail": (
        (body(f"{'A model with a long text about it. ' * 3} Write to somebody@{'mail'}.org.\n"),),
        (body(f"{'A long text. ' * 9} me@example.com\n"),),
    ),
    # consumers
    "transformers-width": ((config(num_attention_heads=3, num_key_value_heads=1, head_dim=4),), (config(head_dim=4),)),
    "transformers-remote-code": (
        (config(auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"}), file("modeling_mine.py")),
        (nothing,),
    ),
    "transformers-tokenizer": ((no("tokenizer"), no("settings"), template(None)), (nothing,)),
    "transformers-4-rope": ((config(rope_theta=ABSENT, rope_scaling=ABSENT),), (nothing,)),
    "transformers-4-rope-type": ((rope({"rope_type": "proportional", "partial_rotary_factor": 0.5}),), (rope(LONG),)),
    "transformers-4-tokenizer": ((settings(tokenizer_class="TokenizersBackend"),), (nothing,)),
    "transformers-4-tokenizer-missing": ((no("tokenizer"), no("settings"), template(None)), (nothing,)),
    "vllm-activation": ((config(hidden_act="gelu"),), (config(hidden_act="silu"),)),
    "vllm-longrope": ((rope({**LONG, "original_max_position_embeddings": 64}),), (rope(LONG),)),
    "vllm-remote-code": (
        (config(auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"}), file("modeling_mine.py")),
        (nothing,),
    ),
    "vllm-tokenizer": ((no("tokenizer"), no("settings"), template(None)), (nothing,)),
    "llama-cpp-activation": ((config(hidden_act="gelu_pytorch_tanh"),), (nothing,)),
    "llama-cpp-rope": ((rope(LONG),), (rope({"rope_type": "linear", "factor": 2.0}),)),
    "llama-cpp-llama3-length": (
        (
            rope(
                _llama3 := {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64,
                }
            ),
        ),
        (rope({**_llama3, "original_max_position_embeddings": 8192}),),
    ),
    "llama-cpp-tokenizer": ((no("tokenizer"), no("settings"), template(None)), (nothing,)),
    "mlx-tokenizer": ((no("tokenizer"), no("settings"), template(None)), (nothing,)),
    "mlx-rope-form": ((config(rope_theta=ABSENT, rope_scaling=ABSENT),), (nothing,)),
    "mlx-activation": ((config(hidden_act="relu"),), (nothing,)),
    "mlx-rope-type": (
        (rope({"rope_type": "dynamic", "factor": 2.0}),),
        (rope({"rope_type": "linear", "factor": 2.0}),),
    ),
    "mlx-longrope": ((rope({**LONG, "long_factor": [2.0, 2.0]}),), (rope(LONG),)),
    "mlx-tie-default": ((config(tie_word_embeddings=ABSENT),), (nothing,)),
    "mlx-files": ((pickled,), (single,)),
}
