"""Small checkpoints with a vocabulary trained here: goldens given as many rows as it has ids, and Meta's own layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.trained.kinds import Kind
from tests.trained.pieces import form

_ROWS = ("vocab_size", "padded_vocab_size")


def size_of(kind: Kind) -> int:
    """How many tokens a kind's SentencePiece model has; 0 for another kind."""
    data = kind.files.get("tokenizer.model")
    return len(form.ModelProto.FromString(data).pieces) if data is not None and kind.engine == "sentencepiece" else 0


def widened(checkpoint: Path, rows: int, files: Mapping[str, bytes], folder: Path) -> Path:
    """The checkpoint with random rows behind its own wherever a tensor has one per token, and tokenizer ``files`` beside."""
    config = json.loads((checkpoint / "config.json").read_text())
    known = next(config[key] for key in _ROWS if key in config)
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.iterdir()):
        if path.suffix == ".safetensors":
            tensors |= load_file(path)
        elif path.suffix == ".bin":
            tensors |= torch.load(path, weights_only=True)
    random = torch.Generator().manual_seed(3)
    for name, tensor in tensors.items():
        if tensor.shape[0] == known:
            more = torch.randn(rows - known, *tensor.shape[1:], generator=random) * 0.1
            tensors[name] = torch.cat((tensor, more.to(tensor.dtype)))
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {key: rows for key in _ROWS if key in config}))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def meta_folder(folder: Path, rows: int, files: Mapping[str, bytes]) -> Path:
    """A Llama of one layer as Meta publishes it, with random weights."""
    random = torch.Generator().manual_seed(4)
    shapes = {"tok_embeddings": (rows, 16), "output": (rows, 16), "norm": (16,)}
    at = "layers.0."
    shapes |= {f"{at}attention.{part}": (16, 16) for part in ("wq", "wk", "wv", "wo")}
    shapes |= {f"{at}feed_forward.w1": (32, 16), f"{at}feed_forward.w3": (32, 16), f"{at}feed_forward.w2": (16, 32)}
    shapes |= {f"{at}attention_norm": (16,), f"{at}ffn_norm": (16,)}
    folder.mkdir(parents=True)
    torch.save(
        {f"{name}.weight": torch.randn(shape, generator=random) * 0.1 for name, shape in shapes.items()},
        folder / "consolidated.00.pth",
    )
    params = {"dim": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "vocab_size": rows, "multiple_of": 16,
              "ffn_dim_multiplier": 0.75, "norm_eps": 1e-5, "rope_theta": 500000.0}  # fmt: skip
    (folder / "params.json").write_text(json.dumps(params))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
