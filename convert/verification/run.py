"""Two checkpoints, run as functions and compared: the whole of both, or a sample that says what it proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convert.checkpoint.stored import Checkpoint
from convert.verification import compare
from convert.verification.compare import Frame
from convert.verification.decoder import Decoder
from convert.verification.decoders import decoder_for
from convert.verification.verdict import Compute, Exactness, Logits, Mode, Stage, Tolerance, Verdict, tolerance
from convert.verification.weights import open_weights
from surgery.errors import ConversionError

_SMALL = 300 << 20  # bytes of weights: up to here `quick` is full
_SEQUENCES = 3
_LENGTH, _SMALL_LENGTH = 40, 96
_HEAD_ROWS, _HEAD_BLOCK = 4096, 256


@dataclass(frozen=True)
class _Pair:
    """Both sides of a comparison, and what it draws from."""

    source: Decoder
    output: Decoder
    tolerance: Tolerance
    random: torch.Generator

    @property
    def vocabulary(self) -> int:
        return min(self.source.vocab, self.output.vocab)

    @property
    def labels(self) -> tuple[str, ...]:
        """The sub-blocks to compare; whole layers where the two sides divide them differently."""
        return self.source.steps if self.source.steps == self.output.steps else ("layer",)


def verify(
    source: Checkpoint,
    output: Checkpoint,
    *,
    mode: Mode = "full",
    exactness: Exactness,
    compute: Compute = "float32",
    variant: str | None = None,
    output_variant: str | None = None,
    prompts: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Verdict:
    """Whether `output` computes what `source` computes, as far as `exactness` promises it.

    `variant` tells the four Baichuans apart. `prompts` are token ids, lengthened by random ones to the longest: in a
    causal model a prefix is a prompt of its own, so every shorter prompt, down to one token, is compared along with it.
    A full run reads every tensor once, layer by layer on both sides; a quick one reads three layers.
    """
    dtype = getattr(torch, compute)
    weights = open_weights(output, compute=dtype)
    # block-scaled FP8 stored as bf16 is the vendors' own dequantisation: compare with what that computes
    narrow = torch.bfloat16 if "BF16" in weights.dtypes and "F8_E4M3" not in weights.dtypes else None
    one = decoder_for(source.config, open_weights(source, compute=dtype, rounded=narrow), variant)
    other = decoder_for(output.config, weights, output_variant)
    size = sum(tensor.nbytes for tensor in source.tensors.values())
    return judge(one, other, mode=mode, exactness=exactness, compute=compute, prompts=prompts, seed=seed, size=size)


def judge(
    source: Decoder,
    output: Decoder,
    *,
    exactness: Exactness,
    mode: Mode = "full",
    compute: Compute = "float32",
    prompts: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    size: int = 0,
) -> Verdict:
    """`verify` on decoders that are at hand; `size` is the source's weight bytes."""
    if source.layers != output.layers or source.hidden != output.hidden:
        raise ConversionError(
            f"The source has {source.layers} layers of width {source.hidden}, the output {output.layers} of "
            f"{output.hidden}: the verifier compares layer by layer, so it cannot judge an edit that changes them."
        )
    allowed = tolerance(exactness, compute, source.layers, len(source.steps), output.weights.dtypes)
    pair = _Pair(source, output, allowed, torch.Generator().manual_seed(seed))
    small = size <= _SMALL
    lengths = (_SMALL_LENGTH if small else _LENGTH, source.context, output.context)
    ids = _ids(pair, prompts, min(length for length in lengths if length))
    run = _full if mode == "full" or small else _quick
    with torch.inference_mode():
        frame, stages, logits, amplification, proved = run(pair, ids)
    failed = next((stage.label for stage in stages if not stage.passed), None if logits.passed else "head")
    return Verdict(
        passed=failed is None,
        mode="full" if run is _full else "quick",
        proved=proved + (" (small enough for quick to be full)" if mode == "quick" and run is _full else ""),
        frame=str(frame),
        logits=logits,
        stages=tuple(stages),
        first_divergence=failed,
        tolerance=allowed,
        amplification=amplification,
        unread=tuple(sorted(output.weights.names - output.weights.used)) if run is _full else (),
        compute=compute,
        source_family=source.family,
        output_family=output.family,
    )


_Found = tuple[Frame, list[Stage], Logits, float, str]


def _full(pair: _Pair, ids: Tensor) -> _Found:
    """Both models in lockstep: freely, and each sub-block once more from the source's own hidden states."""
    frame, x, free = _start(pair, ids)
    ids = torch.cat((ids, ids[:1]))
    every = compare.grid(pair.vocabulary, pair.source.hidden)
    stages = [compare.embedding(pair.source, pair.output, frame, every, pair.tolerance)]
    for layer in range(pair.source.layers):
        for label in pair.labels:
            stage, x, after = compare.sub_block(
                label, (pair.source, layer), (pair.output, layer), frame, x, ids, pair.tolerance, pair.random, free
            )
            assert after is not None
            free = after
            stages.append(stage)
    blocks = compare.grid(pair.vocabulary, x.shape[0] * x.shape[1])
    found, amplification = compare.logits(pair.source, pair.output, (x, free), blocks, pair.tolerance)
    proved = (
        f"all {pair.source.layers} layers, {found.positions} positions, "
        f"the whole vocabulary of {pair.vocabulary}{_remaining(pair)}"
    )
    return frame, stages, found, amplification, proved


def _quick(pair: _Pair, ids: Tensor) -> _Found:
    """Three layers, each from the same random hidden states on both sides, some embeddings and some head rows."""
    frame, start, _ = _start(pair, ids)
    ids = torch.cat((ids, ids[:1]))
    chosen = sorted({0, pair.source.layers // 2, pair.source.layers - 1})
    some = _some_rows(pair.vocabulary, pair.random)
    stages = [compare.embedding(pair.source, pair.output, frame, some, pair.tolerance)]
    for layer in chosen:
        for label in pair.labels:
            x = _hidden_like(start, pair.random)
            sides = (pair.source, layer), (pair.output, layer)
            stages.append(compare.sub_block(label, *sides, frame, x, ids, pair.tolerance, pair.random)[0])
    x = _hidden_like(start[:-1], pair.random)
    x = torch.cat((x, compare.perturbed(x[:1], pair.random)))
    blocks = _some_rows(pair.vocabulary, pair.random)
    alone = replace(pair.tolerance, stages=2)
    found, amplification = compare.logits(pair.source, pair.output, (x, frame(x)), blocks, alone)
    proved = (
        f"{len(chosen)} of {pair.source.layers} layers ({', '.join(map(str, chosen))}) from random hidden states, "
        f"{sum(stop - start for start, stop in some)} embeddings and {found.tokens} head rows of {pair.vocabulary}"
        f"{_remaining(pair)}"
    )
    return frame, stages, found, amplification, proved


def _start(pair: _Pair, ids: Tensor) -> tuple[Frame, Tensor, Tensor]:
    """Both sides' embeddings of `ids`, the frame that they fix, and the first sequence once more, perturbed."""
    one, other = pair.source.embed(ids), pair.output.embed(ids)
    frame = Frame.fit(one, other, pair.tolerance.sub_block(1.0))
    probe = compare.perturbed(one[:1], pair.random)
    return frame, torch.cat((one, probe)), torch.cat((other, frame(probe)))


def _hidden_like(x: Tensor, random: torch.Generator) -> Tensor:
    """Normal hidden states, half of them as small as embeddings (eps shows), half as large as late layers have."""
    noise = torch.randn(x.shape, generator=random, dtype=torch.float32).to(x)
    size = x.square().mean().sqrt() * torch.logspace(0, 1, len(x), dtype=x.dtype)
    return noise * size[:, None, None]


def _ids(pair: _Pair, prompts: Sequence[Sequence[int]] | None, length: int) -> Tensor:
    """The prompts as one rectangle, below the smaller vocabulary."""
    given = [list(prompt) for prompt in prompts or ()]
    beyond = [token for prompt in given for token in prompt if not 0 <= token < pair.vocabulary]
    if beyond:
        raise ConversionError(f"The prompt token {beyond[0]} lies outside the common {pair.vocabulary} tokens.")
    shape = (len(given) or _SEQUENCES, max((len(prompt) for prompt in given), default=length))
    ids = torch.randint(pair.vocabulary, shape, generator=pair.random)
    for row, prompt in enumerate(given):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids


def _some_rows(vocabulary: int, random: torch.Generator) -> list[tuple[int, int]]:
    """All rows of a small head, blocks spread at random over a large one."""
    if vocabulary <= _HEAD_ROWS:
        return [(0, vocabulary)]
    count = vocabulary // _HEAD_BLOCK
    chosen = torch.randperm(count, generator=random)[: _HEAD_ROWS // _HEAD_BLOCK].sort().values
    return [(int(block) * _HEAD_BLOCK, (int(block) + 1) * _HEAD_BLOCK) for block in chosen]


def _remaining(pair: _Pair) -> str:
    extra = abs(pair.source.vocab - pair.output.vocab)
    side = "source" if pair.source.vocab > pair.output.vocab else "output"
    return f" (the {extra} further tokens of the {side} have no counterpart)" if extra else ""
