"""What a verification found, as a value that survives JSON. Imports no torch: the parent process reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from surgery.errors import ConversionError

Mode = Literal["full", "quick"]
Exactness = Literal["byte", "algebraic", "approximate"]
Compute = Literal["float32", "float64"]

#: unit roundoff: the largest relative error of rounding once to the type
ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}
_ARITHMETIC: dict[Compute, float] = {"float64": 2.0**-53, "float32": 2.0**-24}

_TYPICAL = 0.42  # the root mean square of a rounding error, in unit roundoffs: 1/sqrt(3) over a mean mantissa of 1.39
_COMPUTE = 4.0  # roundoffs that one sub-block adds in compute dtype: matmuls, softmax, norms (measured 0.5 to 2)
_SAFETY = 3.0
_COARSEST = 0.25  # beyond a quarter of the logits' spread nothing is proved, whatever the derivation says


@dataclass(frozen=True)
class Tolerance:
    """How far apart the same function may come out, relative to the spread of what is compared."""

    stored: float  # rms relative error that rounding puts on stored values
    compute: float  # roundoff of the arithmetic
    stages: int  # sub-blocks, embedding and head included
    because: str

    def sub_block(self, amplification: float) -> float:
        """Bound on one sub-block's contribution, both sides starting from the same hidden states."""
        return _SAFETY * max(amplification, 1.0) * (math.sqrt(3.0) * self.stored + _COMPUTE * self.compute)

    def logits(self, amplification: float) -> float:
        """Bound on the rms error of the logits: errors of all stages add up as independent ones do."""
        per_stage = self.stored + _COMPUTE * self.compute
        return min(_SAFETY * max(amplification, 1.0) * math.sqrt(self.stages) * per_stage, _COARSEST)

    @property
    def cancellation(self) -> float:
        """What subtracting the residual stream from itself costs, relative to the stream."""
        return _COMPUTE * self.compute


def tolerance(exactness: Exactness, compute: Compute, layers: int, sub_blocks: int, stored: Iterable[str]) -> Tolerance:
    """The tolerance that follows from what the plan promises and what the output stores (`stored`: its float types)."""
    stages = layers * sub_blocks + 2
    roundoff = _ARITHMETIC[compute]
    arithmetic = f"{stages} stages of {compute} arithmetic, {_COMPUTE:g} roundoffs of {roundoff:.1e} each"
    if exactness == "byte":
        because = f"byte: stored values are equal, so only the order of additions differs: {arithmetic}"
        return Tolerance(0.0, roundoff, stages, because)
    coarsest = max((kind for kind in stored if kind in ROUNDOFF), key=ROUNDOFF.__getitem__, default="F32")
    times = 2.0 if exactness == "approximate" else 1.0
    rounding = times * _TYPICAL * ROUNDOFF[coarsest]
    because = (
        f"{exactness}: each stored value is rounded {'twice' if times > 1 else 'once'} to {coarsest} "
        f"(rms {rounding:.1e} of its size), errors of {stages} stages add as squares; {arithmetic}"
    )
    return Tolerance(rounding, roundoff, stages, because)


@dataclass(frozen=True)
class Stage:
    """One sub-block compared from the same hidden states, and the residual stream after it in a free run."""

    label: str  # "layer 3 attention"
    error: float  # rms of the difference over rms of the contribution
    allowed: float
    residual: float | None  # rms of the streams' difference over rms of the stream; None where nothing ran freely

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # false for NaN


Status = Literal["fails", "warns", "explained"]


@dataclass(frozen=True)
class Finding:
    """One difference between what the two sides' configs (or unread tensors) say, and what it means."""

    fact: str
    source: str
    output: str
    status: Status
    because: str

    @property
    def line(self) -> str:
        return f"{self.fact}: {self.source or 'nothing'} -> {self.output or 'nothing'} ({self.status}: {self.because})"


@dataclass(frozen=True)
class Logits:
    """How two sets of logits differ, over all compared positions and tokens; differences are absolute."""

    positions: int
    tokens: int
    largest: float
    mean: float
    error: float  # rms of the difference over rms of the centred source logits
    allowed: float
    worst: float  # largest difference over the same rms
    worst_allowed: float
    kl_source_output: float  # mean over positions of KL(source || output), in nats
    kl_output_source: float
    top1: float  # share of positions whose best token is the same
    top5: float  # mean share of the five best that both sides name

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed and self.worst <= self.worst_allowed


@dataclass(frozen=True)
class Stock:
    """One run of a library's own class in a process of its own; `logits` is None where it did not come to that."""

    side: Literal["source", "output"]
    runner: str  # "LlamaForCausalLM of transformers 5.23.0"
    against: str  # what its logits were compared with
    logits: Logits | None
    because: str = ""  # why it did not run, or what it complained of
    fault: bool = False  # whether `because` is the output's fault

    @property
    def passed(self) -> bool:
        return not self.fault and (self.logits is None or self.logits.passed)

    @property
    def line(self) -> str:
        """The run in one line for a person."""
        if self.logits is None:
            return f"{self.side}: {self.runner}: not compared, {self.because}"
        word = "equal" if self.passed else "DIFFERENT"
        found = f"largest difference {self.logits.largest:.2g}, relative {self.logits.error:.1e}"
        more = f"; {self.because}" if self.because else ""
        allowed = f"(allowed {self.logits.allowed:.1e})"
        return f"{self.side}: {self.runner} against {self.against}: {word}, {found} {allowed}{more}"


@dataclass(frozen=True)
class Verdict:
    """Whether the output computes what the source computes, and by how much not."""

    passed: bool
    mode: Mode
    proved: str
    frame: str  # how the output's hidden states relate to the source's
    logits: Logits
    stages: tuple[Stage, ...]
    first_divergence: str | None
    tolerance: Tolerance
    amplification: float  # of a small relative change of the embedding, on the way to the logits
    unread: tuple[str, ...]  # tensors of the output that its architecture never reads (full mode only)
    compute: Compute
    source_family: str
    output_family: str
    prompts: str = ""  # what both sides read, in words
    findings: tuple[Finding, ...] = ()
    stock: tuple[Stock, ...] = ()

    @property
    def sentence(self) -> str:
        """One line for a person. A quick run says that it compared some layers, and does not speak of logits."""
        word = "verified" if self.passed else "NOT the same function"
        where = f", first different at {self.first_divergence}" if self.first_divergence else ""
        where += ", where one side computes no numbers (NaN)" if math.isnan(self.logits.largest) else ""
        what, end = ("logits", f", top-1 equal in {self.logits.top1:.1%}") if self.mode == "full" else ("head rows", "")
        return (
            f"{word}: {self.proved}; {what} differ by {self.logits.largest:.2g} at most, relative error "
            f"{self.logits.error:.1e} (allowed {self.logits.allowed:.1e}){end}{where}"
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Verdict:
        try:
            return cls(
                **{
                    **found,
                    "logits": Logits(**found["logits"]),
                    "stages": tuple(Stage(**stage) for stage in found["stages"]),
                    "tolerance": Tolerance(**found["tolerance"]),
                    "unread": tuple(found["unread"]),
                    "findings": tuple(Finding(**finding) for finding in found["findings"]),
                    "stock": tuple(
                        Stock(**{**each, "logits": each["logits"] and Logits(**each["logits"])})
                        for each in found["stock"]
                    ),
                }
            )
        except (TypeError, KeyError) as error:
            raise ConversionError(f"This is not a verdict of the verifier: {error}.") from error
