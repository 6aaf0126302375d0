"""Two checkpoints, run as functions and compared: the whole of both, or a sample that says what it proves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint.stored import Checkpoint
from convert.verification import compare, loading, meaning, stock, symbolic
from convert.verification.additions import with_additions
from convert.verification.asked import NOTHING, Asked
from convert.verification.decoder import Decoder
from convert.verification.decoders import decoder_for
from convert.verification.frame import Frame
from convert.verification.meaning import Meaning
from convert.verification.prompts import Prompts, choose, encoded, lengths
from convert.verification.rows import Others, other_rows
from convert.verification.shared import Renumbered, moved_ids, shared_texts
from convert.verification.stated import check_config
from convert.verification.verdict import (
    Compute,
    Exactness,
    Finding,
    Logits,
    Mode,
    Stage,
    Stock,
    Tolerance,
    Verdict,
    is_narrower,
    tolerance,
)
from convert.verification.weights import open_weights
from surgery.errors import CannotJudge, ConversionError, VerificationFailed, listed, show

_SMALL = 300 << 20  # bytes of weights: up to here `quick` is full
_SEQUENCES = 3
_SHAPES = re.compile("shape|size|dimension")  # words of torch's complaints about operands
_STOCK = 4_000_000_000  # bytes that transformers may map beside the weights
_HEAD_ROWS, _HEAD_BLOCK = 4096, 256
_UNRELATED = 1.5  # relative: logits that have nothing to do with each other are 1.41 apart
_HEADS = ("lm_head.weight", "output_layer.weight", "output.weight")
_ROTATED = "lengths and angles of the embeddings are the source's, but in other directions: the residual stream was rotated"
#: recomputed by every loader
_BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", "rope.freqs", "attn.bias", "attn.masked_bias")


@dataclass(frozen=True)
class _Pair:
    """Both sides of a comparison, and what it draws from."""

    source: Decoder
    output: Decoder
    tolerance: Tolerance
    random: torch.Generator
    asked: Asked

    @property
    def others(self) -> Others:
        return Others.of(self.source, self.output, self.asked)

    @property
    def vocabulary(self) -> int:
        return min(self.source.vocab, self.output.vocab)

    @property
    def tokens(self) -> str:
        """Which tokens are compared, in words."""
        if isinstance(self.source, Renumbered):
            return f"the {self.vocabulary} tokens that both vocabularies have, each by its own id"
        return f"the whole vocabulary of {self.vocabulary}{_remaining(self)}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The sub-blocks to compare; whole layers where the two sides divide them differently."""
        return self.source.steps if self.source.steps == self.output.steps else ("layer",)


@dataclass(frozen=True)
class _Found:
    """What one run over both models found; `hidden` is the source's stream behind the last layer, if it ran freely."""

    frame: Frame
    stages: list[Stage]
    logits: Logits
    amplification: float
    proved: str
    tolerance: Tolerance
    others: tuple[Finding, ...]  # about rows that only one side has
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Stocked:
    """The folders to run by transformers' own classes as well, and the limits of each run.

    A stock class holds all weights in float32 beside the mapped files: four times the files' bytes, and some, is enough.
    """

    source: Checkpoint
    output: Checkpoint
    seconds: float = 3600.0
    memory: int | None = None  # bytes beyond what torch and transformers map; None: what such a class should need

    def allowed(self, checkpoint: Checkpoint) -> int:
        """Bytes that the run of this side may map."""
        weights = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
        return _STOCK + 4 * weights if self.memory is None else self.memory


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
    device: str = "cpu",
    with_transformers: bool = False,
    witness_seconds: float = 3600.0,
    witness_memory: int | None = None,
    additions: Sequence[Mapping[str, Any]] = (),
    shared: tuple[Sequence[int], Sequence[int]] | None = None,
    asked: Asked = NOTHING,
) -> Verdict:
    """Whether `output` computes what `source` computes, as far as `exactness` promises it.

    `asked` is what the plan or the user allows the output.

    `shared` are the ids, in the source and in the output, of the tokens that both have, where the vocabularies differ by
    more than tokens behind the last; only those are compared.

    `additions` are adapters and deltas (JSON of `convert.checkpoint.stored.Addition`) that the source is to be read with.

    `with_transformers` runs both by the library's classes too, each for `witness_seconds` at most and within
    `witness_memory` bytes.

    `variant` tells the four Baichuans apart. `prompts` are token ids, lengthened by random ones to the longest: in a
    causal model a prefix is a prompt of its own, so every shorter prompt, down to one token, is compared along with it.
    A full run reads every tensor once, layer by layer on both sides; a quick one reads three layers.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConversionError(f"--device {show(device)}: torch finds no CUDA device here. Leave the option out.")
    for checkpoint in (source, output):
        check_config(checkpoint)
    dtype = getattr(torch, compute)
    weights = open_weights(output, compute=dtype, device=device)
    # block-scaled FP8 stored as bf16 is the vendors' own dequantisation: compare with what that computes
    narrow = torch.bfloat16 if weights.main_dtype == "BF16" else None
    source, changes = with_additions(source, additions)
    read = open_weights(source, compute=dtype, rounded=narrow, device=device, changes=changes, wrapped=True)
    one = decoder_for(source.config, read, variant)
    other = decoder_for(output.config, weights, output_variant)
    tokenizer = output.documents.get("tokenizer.json")
    texts: Sequence[Sequence[int]] = encoded(tokenizer.path) if tokenizer is not None and not prompts else ()
    if shared is not None:
        one, other = Renumbered(one, shared[0]), Renumbered(other, shared[1])
        texts = shared_texts(texts, shared[1])
    meanings = meaning.read(source.config, variant), meaning.read(output.config, output_variant)
    return judge(
        one,
        other,
        mode=mode,
        exactness=exactness,
        compute=compute,
        prompts=prompts,
        seed=seed,
        size=sum(tensor.nbytes for tensor in source.tensors.values()),
        meanings=meanings if shared is None else (moved_ids(meanings[0], shared), meanings[1]),
        texts=texts,
        asked=asked,
        stocked=Stocked(source, output, witness_seconds, witness_memory) if with_transformers else None,
    )


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
    meanings: tuple[Meaning | None, Meaning | None] | None = None,
    texts: Sequence[Sequence[int]] = (),
    stocked: Stocked | None = None,
    asked: Asked = NOTHING,
) -> Verdict:
    """`verify` on decoders that are at hand; `size` is the source's weight bytes.

    Without `meanings` only values are compared.
    """
    if source.layers != output.layers or source.hidden != output.hidden:
        raise ConversionError(
            f"The source has {source.layers} layers of width {source.hidden}, the output {output.layers} of "
            f"{output.hidden}: the verifier compares layer by layer, so it cannot judge an edit that changes them."
        )
    promise = partial(tolerance, exactness, compute, source.layers, len(source.steps), narrower=asked.narrower)
    pair = _Pair(source, output, promise(output.weights.dtypes), torch.Generator().manual_seed(seed), asked)
    small = size <= _SMALL
    run = _full if mode == "full" or small or stocked is not None else _quick
    read = _prompts(pair, prompts, texts, meanings or (None, None), small)
    with torch.inference_mode():
        runs = [run(pair, each.ids) for each in read]
        found = _merged(runs)
        stocks: tuple[Stock, ...] = ()
        if stocked is not None:
            assert runs[0].hidden is not None
            reference = compare.rows_of(source, runs[0].hidden)
            stocks = stock.compared(stocked, reference, read[0].ids, pair.vocabulary, found.tolerance, found.amplification)
        said = symbolic.differences(*meanings, found.frame, asked) if meanings else ()
        said += loading.differences(source, output) if meanings else ()
        findings = (*said, *found.others, *_unread(output, run is _full), *_unknown(found.frame))
    lost = found.tolerance.added(found.amplification) > found.logits.error  # more than the bound, which stops where proof does
    flipping = [each.label for each in found.stages if each.flips or (lost and each.allowed > found.logits.allowed)]
    if flipping and not found.logits.passed and all(stage.passed for stage in found.stages):
        found = replace(found, logits=replace(found.logits, allowed=_UNRELATED, worst_allowed=math.inf))
        findings += (_unsteady(flipping),)
    failed = next((stage.label for stage in found.stages if not stage.passed), None if found.logits.passed else "head")
    if failed is not None and not asked.narrower:
        findings += _narrowed(source, output)
    failed = failed or next((f"config: {finding.fact}" for finding in findings if finding.status == "fails"), None)
    failed = failed or next((f"transformers ({one.side})" for one in stocks if not one.passed), None)
    because = promise(output.weights.dtypes if asked.narrower else _finer(source, output)).because
    return Verdict(
        passed=failed is None and not any(finding.status == "open" for finding in findings),
        mode="full" if run is _full else "quick",
        proved=found.proved + (" (small enough for quick to be full)" if mode == "quick" and small else ""),
        frame=str(found.frame),
        logits=found.logits,
        stages=tuple(found.stages),
        first_divergence=failed,
        tolerance=replace(found.tolerance, because=because),
        amplification=found.amplification,
        unread=tuple(sorted(output.weights.names - output.weights.used)) if run is _full else (),
        compute=compute,
        source_family=source.family,
        output_family=output.family,
        prompts="; ".join(each.words for each in read),
        findings=findings,
        stock=stocks,
    )


def _full(pair: _Pair, ids: Tensor) -> _Found:
    """Both models in lockstep: freely, and each sub-block once more from the source's own hidden states."""
    frame, x, free = _start(pair, ids)
    if not frame.known:
        return _unframed(pair, ids, frame, x, free)
    ids = torch.cat((ids, ids[:1]))
    every = compare.grid(pair.vocabulary, pair.source.hidden)
    stage, own, largest = compare.embedding(pair.source, pair.output, frame, every, pair.tolerance)
    stages, tolerances = [stage], [own]
    for layer in range(pair.source.layers):
        for label in pair.labels:
            with _computing(layer, label):
                stage, own, x, after = compare.sub_block(
                    label, (pair.source, layer), (pair.output, layer), frame, x, ids, pair.tolerance, pair.random, free
                )
            assert after is not None
            free = after
            stages.append(stage)
            tolerances.append(own)
    blocks = compare.grid(pair.vocabulary, 4 * x.shape[0] * x.shape[1])  # both sides, twice over
    found, amplification, head, whole, best = compare.free_logits(
        (pair.source, pair.output), (x, free), frame, blocks, pair.tolerance, tolerances, pair.random
    )
    stages.append(head)
    others = other_rows(pair.others, largest, free, best, pair.asked)
    proved = f"all {pair.source.layers} layers, {found.positions} positions, {pair.tokens}"
    return _Found(frame, stages, found, amplification, proved, whole, others, x[:-1])


def _unframed(pair: _Pair, ids: Tensor, frame: Frame, x: Tensor, free: Tensor) -> _Found:
    """Both models to their logits, each in its own frame: what can be compared where none is known between them."""
    sides = pair.source, pair.output
    asked = torch.cat((ids, ids[:1])), ids
    streams = [x, free[:-1]]
    with pair.source.weights.recorded() as theirs, pair.output.weights.recorded() as ours:
        for layer in range(pair.source.layers):
            streams = [side.layer(layer, each, read) for side, each, read in zip(sides, streams, asked, strict=True)]
        blocks = compare.grid(pair.vocabulary, 2 * x.shape[0] * x.shape[1])
        own = pair.tolerance.of(ours, theirs)
        found, amplification, best = compare.logits(*sides, (streams[0], streams[1]), blocks, own, alone=False)
    others = other_rows(pair.others, math.inf, streams[1], best, pair.asked)
    proved = f"logits alone, {found.positions} positions, {pair.tokens}"
    return _Found(frame, [], found, amplification, proved, own, others, streams[0][:-1])


def _quick(pair: _Pair, ids: Tensor) -> _Found:
    """Three layers, each from the same random hidden states on both sides, some embeddings and some head rows."""
    frame, start, _ = _start(pair, ids)
    if not frame.known:
        raise CannotJudge(f"{_ROTATED}: a quick run starts both sides from the same hidden states. Use --mode full.")
    ids = torch.cat((ids, ids[:1]))
    chosen = sorted({0, pair.source.layers // 2, pair.source.layers - 1})
    some = _some_rows(pair.vocabulary, pair.random)
    stage, own, largest = compare.embedding(pair.source, pair.output, frame, some, pair.tolerance)
    stages, tolerances = [stage], [own]
    for layer in chosen:
        for label in pair.labels:
            x = _hidden_like(start, pair.random)
            sides = (pair.source, layer), (pair.output, layer)
            with _computing(layer, label):
                stage, own = compare.sub_block(label, *sides, frame, x, ids, pair.tolerance, pair.random)[:2]
            stages.append(stage)
            tolerances.append(own)
    x = _hidden_like(start[:-1], pair.random)
    x = torch.cat((x, compare.perturbed(x[:1], pair.random)))
    blocks = _some_rows(pair.vocabulary, pair.random)
    alone = replace(pair.tolerance, stages=2)
    read = frame(x)
    found, amplification, best = compare.logits(pair.source, pair.output, (x, read), blocks, alone)
    all_rows = found.tokens == pair.vocabulary
    others = other_rows(pair.others, largest, read if all_rows else None, best, pair.asked)
    proved = (
        f"{len(chosen)} of {pair.source.layers} layers ({', '.join(map(str, chosen))}) from random hidden states, "
        f"{sum(stop - start for start, stop in some)} embeddings and {found.tokens} head rows of {pair.vocabulary}"
        f"{_remaining(pair)}"
    )
    return _Found(frame, stages, found, amplification, proved, pair.tolerance.over(tolerances), others)


@contextmanager
def _computing(layer: int, label: str) -> Iterator[None]:
    """Shapes that do not fit are a fault of the files, and the layer is what torch does not say."""
    try:
        yield
    except RuntimeError as error:
        if not _SHAPES.search(str(error)):
            raise
        raise VerificationFailed(
            f"layer {layer} {label} cannot be computed ({str(error).splitlines()[0]}): one side's tensors have other shapes than "
            "its config says."
        ) from error


def _merged(runs: Sequence[_Found]) -> _Found:
    """Several runs as one: of every stage, and of the logits, whichever came nearest to its bound or beyond it."""
    each = zip(*(found.stages for found in runs), strict=True)
    stages = [max(same, key=lambda stage: _share(stage.error, stage.allowed)) for same in each]
    worst = max(runs, key=lambda r: (not r.logits.passed, _share(r.logits.error, r.logits.allowed)))
    return replace(runs[0], stages=stages, logits=worst.logits, amplification=max(r.amplification for r in runs))


def _share(error: float, allowed: float) -> float:
    return error / allowed if error == error else float("inf")


def _prompts(
    pair: _Pair,
    given: Sequence[Sequence[int]] | None,
    texts: Sequence[Sequence[int]],
    meanings: tuple[Meaning | None, Meaning | None],
    small: bool,
) -> list[Prompts]:
    contexts = (pair.source.context, pair.output.context)
    wanted = lengths(meanings, contexts, small) if not given else (0,)
    return [choose(given, texts, pair.vocabulary, _SEQUENCES, length, pair.random) for length in wanted]


def _start(pair: _Pair, ids: Tensor) -> tuple[Frame, Tensor, Tensor]:
    """Both sides' embeddings of `ids`, the frame that they fix, and the first sequence once more, perturbed."""
    with pair.source.weights.recorded() as theirs:
        one = pair.source.embed(ids)
    with pair.output.weights.recorded() as ours:
        other = pair.output.embed(ids)

    def sample(count: int) -> tuple[Tensor, Tensor]:
        some = torch.arange(0, pair.vocabulary, max(1, pair.vocabulary // count))[:, None]
        return pair.source.embed(some)[:, 0], pair.output.embed(some)[:, 0]

    frame = Frame.fit(one, other, pair.tolerance.of(ours, theirs).sub_block(1.0), sample)
    probe = compare.perturbed(one[:1], pair.random)
    return frame, torch.cat((one, probe)), torch.cat((other, frame(probe)))


def _hidden_like(x: Tensor, random: torch.Generator) -> Tensor:
    """Normal hidden states, half of them as small as embeddings (eps shows), half as large as late layers have."""
    noise = torch.randn(x.shape, generator=random, dtype=torch.float32).to(x)
    size = x.square().mean().sqrt() * torch.logspace(0, 1, len(x), dtype=x.dtype).to(x)
    return noise * size[:, None, None]


def _some_rows(vocabulary: int, random: torch.Generator) -> list[tuple[int, int]]:
    """All rows of a small head, blocks spread at random over a large one."""
    if vocabulary <= _HEAD_ROWS:
        return [(0, vocabulary)]
    count = vocabulary // _HEAD_BLOCK
    chosen = torch.randperm(count, generator=random)[: _HEAD_ROWS // _HEAD_BLOCK].sort().values
    return [(int(block) * _HEAD_BLOCK, (int(block) + 1) * _HEAD_BLOCK) for block in chosen]


def _unread(output: Decoder, full: bool) -> tuple[Finding, ...]:
    """Tensors of the output that are no part of its function; a tied head that is there must be the embedding."""
    weights = output.weights
    head = next((name for name in sorted(weights.names) if name in _HEADS), "")
    tied = getattr(output, "output", head)
    if head and tied != head and weights.has(tied):
        same = weights.shape(head) == weights.shape(tied) and all(
            torch.equal(weights.rows(head, low, high), weights.rows(tied, low, high))
            for low, high in compare.grid(weights.shape(head)[0], output.hidden)
        )
        if not same:
            why = "the config ties the head to the embedding, but other values are stored: loaders disagree"
            return (Finding("stored head", "", show(head), "fails", why),)
    unread = [name for name in sorted(weights.names - weights.used) if not name.endswith(_BUFFERS)] if full else []
    if not unread:
        return ()
    why = "no part of the function that the config describes; loaders ignore them or complain"
    return (Finding("unread tensors", "", listed(map(show, unread)), "warns", why),)


def _unknown(frame: Frame) -> tuple[Finding, ...]:
    """A frame that is there and cannot be found leaves the layers unproved, whatever the logits say."""
    if frame.known:
        return ()
    why = f"{_ROTATED}; it was not found, so that no layer could be compared from the same hidden states"
    return (Finding("hidden states", "", "", "open", why),)


def _unsteady(stages: Sequence[str]) -> Finding:
    """Where the source itself is at the mercy of rounding, two free runs say little; each stage was compared by itself."""
    why = (
        f"rounding alone flips what the source itself computes at {listed(stages, 3)}: its logits hang on the order of "
        "additions; every sub-block does what the source's does from the same hidden states"
    )
    return Finding("steadiness", "", "", "warns", why)


def _narrowed(source: Decoder, output: Decoder) -> tuple[Finding, ...]:
    """A type that neither plan nor user asked for, where values were lost to it."""
    theirs, ours = source.weights.dtypes, output.weights.dtypes
    if not is_narrower(ours, theirs):
        return ()
    why = (
        "values were rounded to a narrower type, which neither a plan that can be made again nor you asked for; "
        "if that was meant, say --exactness approximate"
    )
    return (Finding("stored types", ", ".join(sorted(theirs)), ", ".join(sorted(ours)), "fails", why),)


def _finer(source: Decoder, output: Decoder) -> frozenset[str]:
    """The types of the side that stores finer ones."""
    theirs, ours = source.weights.dtypes, output.weights.dtypes
    return theirs if is_narrower(ours, theirs) else ours


def _remaining(pair: _Pair) -> str:
    extra = abs(pair.source.vocab - pair.output.vocab)
    side = "source" if pair.source.vocab > pair.output.vocab else "output"
    return f" (the {extra} further rows of the {side} have no counterpart)" if extra else ""
