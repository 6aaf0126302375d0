"""Running the reference decoder of a folder, with every hidden state that golden files record."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint import open_checkpoint
from convert.checkpoint.stored import Stored
from convert.verification.decoder import Decoder, decode
from convert.verification.decoders import decoder_for
from convert.verification.weights import Weights, open_weights

BAICHUAN = {"baichuan v1 7B": "7b", "baichuan v1 13B": "13b", "baichuan2 7B": "2-7b", "baichuan2 13B": "2-13b"}

TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def held(tensors: dict[str, torch.Tensor], **options: Any) -> Weights:
    """Weights that lie in memory."""
    stored = {
        name: Stored(name, "memory", TYPES[tensor.dtype], tuple(tensor.shape), tensor.stride(), 0)
        for name, tensor in tensors.items()
    }

    def read(what: Stored, start: int, stop: int) -> bytearray:
        rows = tensors[what.name].reshape(what.shape)[start:stop].contiguous()
        return bytearray(rows.view(torch.uint8).numpy().tobytes())

    return Weights(stored, read, **options)


def decoder_of(folder: Path, variant: str | None = None, rounded: torch.dtype | None = None) -> Decoder:
    checkpoint = open_checkpoint(folder)
    return decoder_for(checkpoint.config, open_weights(checkpoint, rounded=rounded), variant)


def decoded(
    folder: Path, ids: Tensor, variant: str | None = None, rounded: torch.dtype | None = None
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Logits, the embedding and every layer's output, and what the final norm makes of the last."""
    seen: dict[object, Tensor] = {}
    decoder = decoder_of(folder, variant, rounded)
    with torch.inference_mode():
        logits = decode(decoder, ids, seen.__setitem__)
    streams = [seen["embed"], *(seen[(layer, decoder.steps[-1])] for layer in range(decoder.layers))]
    return logits, streams, seen["final"]
