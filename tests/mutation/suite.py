"""Running the mutations: every golden case that converts, every mistake, judged by the verifier and by somebody else.

Whether a mistake changes the function is decided by transformers' logits on prompts of its own (by the reference decoders
where transformers has no class). A mutant that does is *killed* when the verifier fails it, or a loader cannot load it at all.
One whose logits hardly move may still be seen: by its constants, or in tokens that the prompts do not use. Lineage is
not looked at: it is the verifier alone that is tested.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from convert.checkpoint import Checkpoint, open_checkpoint
from convert.planning import Plan, weakest
from convert.prepare import plan_conversion
from convert.verification.decoder import decode
from convert.verification.run import verify
from convert.writing import write
from mappings import families
from surgery.errors import ConversionError
from tests.goldens import Golden, goldens
from tests.mutation.outputs import Config, Tensors, mutants, same_function
from tests.mutation.tables import mistakes
from tests.oracle import tensors, transformers
from tests.verification.decoding import BAICHUAN, decoder_of

Fate = Literal["killed", "survived", "seen by reading", "same function", "false alarm"]
_CHANGED = 1e-5  # relative to the spread of the logits: float32 sums in another order stay a tenth of it
_EXTRA = {"llama-gqa": ("internlm2", "phi3", "glm", "yi", "qwen2"), "llama-mha": ("baichuan",), "qwen-7b": ("qwen2",)}


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    family: str
    case: str
    target: str
    mutation: str
    fate: Fate
    where: str  # what the verifier named first
    moved: float  # by how much the logits changed, relative to their spread


@dataclass(frozen=True)
class Subject:
    """A golden case with a target."""

    case: Golden
    target: str
    variant: str | None

    @property
    def source(self) -> Checkpoint:
        return open_checkpoint(self.case.checkpoint)

    def plan(self) -> Plan:
        return plan_conversion(self.source, self.target, variant=self.variant)

    def __str__(self) -> str:
        return f"{self.case.name}-to-{self.target}"


def subjects() -> Iterator[Subject]:
    """Each golden case on its way to llama, or to itself where it is no llama; some more targets for some."""
    for case in goldens():
        if case.name.startswith(("lora-", "delta-")):
            continue
        variant = case.provenance.get("variant")
        name = BAICHUAN[variant["family"]] if variant else None
        own = next((t for t in ("llama", *_own(case)) if _plans(Subject(case, t, name))), None)
        for target in (own, *_EXTRA.get(case.name, ())):
            if target is not None and _plans(Subject(case, target, name)):
                yield Subject(case, target, name)


def _own(case: Golden) -> tuple[str, ...]:
    """The families that a case may belong to, those that it says first; files that we do not edit (torch's) left out."""
    kind = open_checkpoint(case.checkpoint).config.get("model_type", "")
    named = [f.name for f in families() if f.stored == "safetensors" and kind in (f.model_type, f.name)]
    return tuple(dict.fromkeys([*named, "gpt2"]))


def _plans(subject: Subject) -> bool:
    try:
        subject.plan()
    except ConversionError:
        return False
    return True


def outcomes(subject: Subject, folder: Path, only: frozenset[str] | None = None) -> Iterator[Outcome]:
    """Every mutant of a subject, in turn; `only` names the ones that are wanted."""
    good = folder / "good"
    plan = subject.plan()
    write(plan, good)
    source, family = subject.source, plan.source.partition("-")[0]
    exactness = str(weakest(plan.files))
    judge = _Judge(subject, source, good, exactness, plan)
    held, config = tensors(good), json.loads((good / "config.json").read_text())
    for mutant in mutants(held, config):
        if only is None or mutant.name in only:
            yield judge.mutant(family, mutant.name, _stored(folder / "bad", mutant.tensors, mutant.config))
    for mutant in same_function(held, config):
        if only is None or mutant.name in only:
            yield judge.equal(family, mutant.name, _stored(folder / "same", mutant.tensors, mutant.config))
    for name in ("resharded", "saved again by transformers"):
        if (only is None or name in only) and (made := _rewritten(name, subject, good, folder / "same")):
            yield judge.equal(family, name, made)
    for mistake in mistakes(family):
        if only is not None and mistake.name not in only:
            continue
        bad = folder / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        with mistake.made() as applies:  # type: ignore[attr-defined]
            if not applies:
                continue
            try:
                wrong = subject.plan()
            except (ConversionError, AssertionError, KeyError, ValueError, TypeError):
                continue  # refused before anything is written: there is nothing to verify
            if wrong.digest == plan.digest:
                continue
            try:
                write(wrong, bad)
            except (ConversionError, AssertionError, ValueError, RuntimeError):
                continue
        yield judge.mutant(family, mistake.name, bad)


def judged(subject: Subject) -> list[Outcome]:
    """All outcomes of a subject, in a folder of their own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        with tempfile.TemporaryDirectory() as folder:
            return list(outcomes(subject, Path(folder)))
    except Exception as error:  # some of ours do not survive the way between processes
        raise RuntimeError(f"{subject}: {type(error).__name__}: {error}") from None


class _Judge:
    """The verifier on one side, logits on other prompts on the other."""

    def __init__(self, subject: Subject, source: Checkpoint, good: Path, exactness: str, plan: Plan) -> None:
        self.subject, self.source, self.exactness = subject, source, exactness
        self.variants = subject.variant, plan.target.partition("-")[2] or None
        ids = torch.Generator().manual_seed(20260)
        vocab = _vocabulary(good)
        context = json.loads((good / "config.json").read_text()).get("max_position_embeddings") or 64
        self.ids = torch.randint(vocab, (3, min(48, context)), generator=ids)
        self.native = True
        truth = self._logits(good)
        if truth is None:  # no class, or one that cannot read what is stored (FP8)
            self.native = False
            truth = self._logits(good)
        assert truth is not None, subject
        self.truth = truth

    def mutant(self, family: str, name: str, bad: Path) -> Outcome:
        moved = self._moved(bad)
        failed, where = self._verdict(bad)
        fates: dict[tuple[bool, bool], Fate] = {
            (True, True): "killed", (False, True): "survived", (True, False): "seen by reading", (False, False): "same function",
        }  # fmt: skip
        fate = fates[failed, moved > _CHANGED]
        return Outcome(family, self.subject.case.name, self.subject.target, name, fate, where, moved)

    def equal(self, family: str, name: str, same: Path) -> Outcome:
        failed, where = self._verdict(same)
        fate: Fate = "false alarm" if failed else "same function"
        return Outcome(family, self.subject.case.name, self.subject.target, name, fate, where, self._moved(same))

    def _verdict(self, folder: Path) -> tuple[bool, str]:
        try:
            verdict = verify(
                self.source, open_checkpoint(folder), exactness=self.exactness, variant=self.variants[0],  # type: ignore[arg-type]
                output_variant=self.variants[1],
            )  # fmt: skip
        except ConversionError as refusal:
            return True, f"refused: {str(refusal)[:60]}"
        return not verdict.passed, verdict.first_divergence or ""

    def _moved(self, folder: Path) -> float:
        logits = self._logits(folder)
        if logits is None or logits.shape != self.truth.shape or not logits.isfinite().all():
            return float("inf")
        spread = (self.truth - self.truth.mean(-1, keepdim=True)).square().mean().sqrt()
        return float((logits - self.truth).square().mean().sqrt() / spread)

    def _logits(self, folder: Path) -> torch.Tensor | None:
        """Logits by transformers' class, by our decoder where there is none; None where it cannot be loaded."""
        try:
            if self.native:
                return _native(folder, self.ids)
            with torch.inference_mode():
                return decode(decoder_of(folder, self.variants[1]), self.ids)
        except Exception:  # a loader that gives up has told the two apart
            return None


def _native(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """Logits by the library's class; a tensor that it would have to make up is an error."""
    loaded: Any = transformers().AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True, attn_implementation="eager"
    )
    model, told = loaded
    if told["missing_keys"] or told["mismatched_keys"]:
        raise ValueError(told)
    model.eval()
    with torch.inference_mode():
        logits: torch.Tensor = model(ids, use_cache=False).logits.to(torch.float32)
    return logits


def _vocabulary(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text())
    config |= config.get("text_config") or {}
    return int(config.get("padded_vocab_size") or config["vocab_size"])


def _stored(folder: Path, held: Tensors, config: Config) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored = {name: tensor.contiguous().clone() for name, tensor in held.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _rewritten(name: str, subject: Subject, good: Path, folder: Path) -> Path | None:
    """The same model written again in another way; None where transformers has no class to write it."""
    shutil.rmtree(folder, ignore_errors=True)
    if name == "resharded":
        write(plan_conversion(subject.source, subject.target, variant=subject.variant, max_shard_size=100_000), folder)
        return folder
    kind = json.loads((good / "config.json").read_text()).get("model_type")
    if kind not in transformers().models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return None
    model: Any = transformers().AutoModelForCausalLM.from_pretrained(good, dtype="auto")
    model.save_pretrained(folder)
    return folder
