"""The same function in another family's layout passes: conversions written out here by hand, and no false alarm."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from convert.verification.decoders import decoder_for
from convert.verification.run import judge
from tests.goldens import golden
from tests.verification.decoding import held
from tests.verification.test_run import LARGE, Tensors, loaded

Converted = tuple[Tensors, dict[str, Any]]


def llama_config(config: dict[str, Any], **keys: Any) -> dict[str, Any]:
    kept = ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
    kept += ("rms_norm_eps", "rope_theta", "hidden_act", "bos_token_id", "eos_token_id", "pad_token_id")
    said = {key: config[key] for key in (*kept, "max_position_embeddings") if key in config}
    return {**said, "model_type": "llama", **keys}


def named(tensors: Tensors, words: dict[str, str]) -> Tensors:
    """Every name with its words replaced, in order."""
    found = {}
    for name, tensor in tensors.items():
        for old, new in words.items():
            name = name.replace(old, new)
        found[name] = tensor
    return found


def qwen(tensors: Tensors, config: dict[str, Any]) -> Converted:
    words = {
        "transformer.h.": "model.layers.", "transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.norm",
        "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj",
        "mlp.w1": "mlp.up_proj", "mlp.w2": "mlp.gate_proj", "mlp.c_proj": "mlp.down_proj",
    }  # fmt: skip
    found = named({name: tensor for name, tensor in tensors.items() if "c_attn" not in name}, words)
    for layer in range(3):
        for kind in ("weight", "bias"):
            packed = tensors[f"transformer.h.{layer}.attn.c_attn.{kind}"]
            for part, rows in zip("qkv", packed.chunk(3), strict=True):
                found[f"model.layers.{layer}.self_attn.{part}_proj.{kind}"] = rows
        found[f"model.layers.{layer}.self_attn.o_proj.bias"] = torch.zeros(64)
    said = llama_config(config, attention_bias=True, rms_norm_eps=config["layer_norm_epsilon"], hidden_act="silu")
    return found, {**said, "rope_theta": config["rotary_emb_base"], "max_position_embeddings": config["seq_length"]}


def internlm2(tensors: Tensors, config: dict[str, Any]) -> Converted:
    words = {
        "model.tok_embeddings": "model.embed_tokens", "attention_norm": "input_layernorm",
        "attention.wo": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
    }  # fmt: skip
    found = named({name: tensor for name, tensor in tensors.items() if "wqkv" not in name}, words)
    found["lm_head.weight"] = found.pop("output.weight")
    for layer in range(3):
        grouped = tensors[f"model.layers.{layer}.attention.wqkv.weight"].reshape(2, 5, 16, 96)
        at = f"model.layers.{layer}.self_attn."
        found[at + "q_proj.weight"] = grouped[:, :3].reshape(96, 96)
        found[at + "k_proj.weight"] = grouped[:, 3].reshape(32, 96)
        found[at + "v_proj.weight"] = grouped[:, 4].reshape(32, 96)
    return found, llama_config(config)


def gemma(tensors: Tensors, config: dict[str, Any]) -> Converted:
    found = {name: tensor + 1.0 if "norm" in name else tensor for name, tensor in tensors.items()}
    found["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    found["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] * 8.0
    return found, llama_config(config, head_dim=config["head_dim"], hidden_act="gelu_pytorch_tanh")


def minicpm_in_a_gauge(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """The embedding stays as it is, and tied: the stream shrinks by scale_emb instead, eps with its square."""
    branch = config["scale_depth"] / 3**0.5 / config["scale_emb"]
    found = {
        name: tensor * branch if name.endswith(("o_proj.weight", "down_proj.weight")) else tensor
        for name, tensor in tensors.items()
    }
    found["model.norm.weight"] = tensors["model.norm.weight"] / (config["hidden_size"] / config["dim_model_base"])
    eps = config["rms_norm_eps"] / config["scale_emb"] ** 2
    return found, llama_config(config, tie_word_embeddings=True, rms_norm_eps=eps)


def chatglm(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Interleaved halves of heads become half-split whole heads whose last pairs never turn."""
    words = {
        "transformer.encoder.layers": "model.layers", "transformer.encoder.final_layernorm": "model.norm",
        "transformer.embedding.word_embeddings": "model.embed_tokens", "transformer.output_layer": "lm_head",
        "self_attention.dense": "self_attn.o_proj", "mlp.dense_4h_to_h": "mlp.down_proj",
    }  # fmt: skip
    fused = ("query_key_value", "dense_h_to_4h", "inv_freq")
    found = named({name: tensor for name, tensor in tensors.items() if not any(word in name for word in fused)}, words)
    order = [0, 2, 4, 6, 8, 9, 10, 11, 1, 3, 5, 7, 12, 13, 14, 15]
    for layer in range(3):
        at, to = f"transformer.encoder.layers.{layer}.", f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            q, k, v = tensors[f"{at}self_attention.query_key_value.{kind}"].split([64, 32, 32])
            for part, rows in (("q", q), ("k", k)):
                rows = rows.unflatten(0, (-1, 16))[:, order].flatten(0, 1)
                found[f"{to}self_attn.{part}_proj.{kind}"] = rows
            found[f"{to}self_attn.v_proj.{kind}"] = v
        found[f"{to}self_attn.o_proj.bias"] = torch.zeros(64)
        gate, up = tensors[f"{at}mlp.dense_h_to_4h.weight"].chunk(2)
        found[f"{to}mlp.gate_proj.weight"], found[f"{to}mlp.up_proj.weight"] = gate, up
    theta = 10000.0 * config.get("rope_ratio", 1)
    slow = [theta ** (2 * i / 8 - 2 * i / 16) for i in range(4)] + [1e16] * 4
    scaling = {
        "rope_type": "longrope", "short_factor": slow, "long_factor": slow, "factor": 1.0, "attention_factor": 1.0,
        "original_max_position_embeddings": config["seq_length"],
    }  # fmt: skip
    said = llama_config(
        config, num_hidden_layers=3, num_key_value_heads=2, vocab_size=config["padded_vocab_size"], attention_bias=True
    )
    more = {"rms_norm_eps": config["layernorm_epsilon"], "rope_theta": theta, "rope_scaling": scaling}
    return found, {**said, **more, "max_position_embeddings": config["seq_length"], "hidden_act": "silu"}


def meta(tensors: Tensors, config: dict[str, Any]) -> Converted:
    def joined(name: str, axis: int) -> torch.Tensor:
        return torch.cat([tensors[f"0/{name}.weight"], tensors[f"1/{name}.weight"]], axis)

    def unpaired(matrix: torch.Tensor, heads: int) -> torch.Tensor:
        return matrix.reshape(heads, 4, 2, 64).transpose(1, 2).reshape(matrix.shape)

    found = {
        "model.embed_tokens.weight": joined("tok_embeddings", 1),
        "model.norm.weight": tensors["0/norm.weight"],
        "lm_head.weight": joined("output", 0),
    }
    for layer in range(3):
        at, to = f"layers.{layer}.", f"model.layers.{layer}."
        found[to + "input_layernorm.weight"] = tensors[f"0/{at}attention_norm.weight"]
        found[to + "post_attention_layernorm.weight"] = tensors[f"0/{at}ffn_norm.weight"]
        found[to + "self_attn.q_proj.weight"] = unpaired(joined(at + "attention.wq", 0), 8)
        found[to + "self_attn.k_proj.weight"] = unpaired(joined(at + "attention.wk", 0), 2)
        found[to + "self_attn.v_proj.weight"] = joined(at + "attention.wv", 0)
        found[to + "self_attn.o_proj.weight"] = joined(at + "attention.wo", 1)
        for ours, theirs, axis in (("gate", "w1", 0), ("up", "w3", 0), ("down", "w2", 1)):
            found[f"{to}mlp.{ours}_proj.weight"] = joined(f"{at}feed_forward.{theirs}", axis)
    said = {
        "model_type": "llama", "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2,
        "num_hidden_layers": 3, "rms_norm_eps": config["norm_eps"], "vocab_size": found["lm_head.weight"].shape[0],
    }  # fmt: skip
    return found, said


CONVERSIONS: dict[str, tuple[Callable[[Tensors, dict[str, Any]], Converted], str]] = {
    "qwen-7b": (qwen, "byte"),
    "internlm2-7b": (internlm2, "byte"),
    "gemma1-2b": (gemma, "algebraic"),
    "minicpm-2b": (minicpm_in_a_gauge, "algebraic"),
    "chatglm3": (chatglm, "algebraic"),
    "chatglm3-32k": (chatglm, "algebraic"),
    "meta-llama2-gqa": (meta, "byte"),
}


@pytest.mark.parametrize("mode", ["full", "quick"])
@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_right_conversion_passes(name: str, compute: str, mode: str):
    convert, exactness = CONVERSIONS[name]
    tensors, config = loaded(name)
    converted, said = convert(tensors, config)
    dtype = getattr(torch, compute)
    sides = decoder_for(config, held(tensors, compute=dtype)), decoder_for(said, held(converted, compute=dtype))
    verdict = judge(*sides, exactness=exactness, compute=compute, mode=mode, size=LARGE)
    assert verdict.passed, verdict.sentence
    assert verdict.logits.top1 == 1.0


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_right_conversion_has_the_goldens_logits(name: str):
    tensors, config = loaded(name)
    converted, said = CONVERSIONS[name][0](tensors, config)
    recorded = load_file(golden(name).logits)
    decoder = decoder_for(said, held(converted))
    ids = recorded["input_ids"]
    x = decoder.embed(ids)
    for layer in range(decoder.layers):
        x = decoder.layer(layer, x, ids)
    logits = decoder.head(decoder.finish(x), 0, decoder.vocab)
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)
