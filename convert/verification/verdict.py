"""What a verification found, as a value that survives JSON. Imports no torch: the parent process reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from surgery.errors import ConversionError

Mode = Literal["full", "quick"]
Exactness = Literal["byte", "algebraic", "approximate"]
Compute = Literal["float32", "float64"]

#: unit roundoff: the largest relative error of rounding once to the type
ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}
COARSER = {**ROUNDOFF, "F8_E4M3": 2.0**-4, "F8_E5M2": 2.0**-3}  # a stored value is multiplied out of these, not rounded to
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
    times: float = 1.0  # how often a value was rounded to the type that is stored
    narrower: bool = True  # whether the output may store a narrower type than the source does

    def of(self, output: Iterable[str], source: Iterable[str]) -> Tolerance:
        """The tolerance of what was computed from tensors of these types alone, on either side."""
        allowed = _rounded(output) if self.narrower else min(_rounded(output), _rounded(source))
        return replace(self, stored=self.times * allowed)

    def over(self, each: Sequence[Tolerance]) -> Tolerance:
        """The tolerance of stages that add up, each with its own."""
        square = sum(one.stored**2 for one in each) / len(each)
        return replace(self, stored=math.sqrt(square))

    def sub_block(self, amplification: float) -> float:
        """Bound on one sub-block's contribution, both sides starting from the same hidden states."""
        return _SAFETY * max(amplification, 1.0) * self.noise

    def logits(self, amplification: float) -> float:
        """Bound on the rms error of the logits: errors of all stages add up as independent ones do."""
        return min(self.added(amplification), _COARSEST)

    def added(self, amplification: float) -> float:
        """What errors of all stages may come to, though as much proves nothing."""
        per_stage = self.stored + _COMPUTE * self.compute
        return _SAFETY * max(amplification, 1.0) * math.sqrt(self.stages) * per_stage

    @property
    def noise(self) -> float:
        """The relative size of all roundings within one sub-block."""
        return math.sqrt(3.0) * self.stored + _COMPUTE * self.compute

    @property
    def safety(self) -> float:
        return _SAFETY

    @property
    def cancellation(self) -> float:
        """What subtracting the residual stream from itself costs, relative to the stream."""
        return _COMPUTE * self.compute


def is_narrower(output: Iterable[str], source: Iterable[str]) -> bool:
    """Whether the coarsest, or the finest, of the output's types is coarser than the source's."""
    (low, high), (least, most) = (_ends(kinds) for kinds in (output, source))
    return low > least or high > most


def _ends(kinds: Iterable[str]) -> tuple[float, float]:
    known = [COARSER[kind] for kind in kinds if kind in COARSER] or [ROUNDOFF["F32"]]
    return min(known), max(known)


def _rounded(kinds: Iterable[str]) -> float:
    """The rms relative error of rounding once to the coarsest of these types."""
    return _TYPICAL * max((ROUNDOFF[kind] for kind in kinds if kind in ROUNDOFF), default=ROUNDOFF["F32"])


def tolerance(
    exactness: Exactness, compute: Compute, layers: int, sub_blocks: int, stored: Iterable[str], *, narrower: bool = True
) -> Tolerance:
    """The tolerance that follows from what is promised and what the output stores (`stored`: its float types)."""
    stages = layers * sub_blocks + 2
    roundoff = _ARITHMETIC[compute]
    arithmetic = f"{stages} stages of {compute} arithmetic, {_COMPUTE:g} roundoffs of {roundoff:.1e} each"
    if exactness == "byte":
        because = f"byte: stored values are equal, so only the order of additions differs: {arithmetic}"
        return Tolerance(0.0, roundoff, stages, because, 0.0, narrower)
    coarsest = max((kind for kind in stored if kind in ROUNDOFF), key=ROUNDOFF.__getitem__, default="F32")
    times = 2.0 if exactness == "approximate" else 1.0
    rounding = times * _TYPICAL * ROUNDOFF[coarsest]
    because = (
        f"{exactness}: each stored value is rounded {'twice' if times > 1 else 'once'} to {coarsest} "
        f"(rms {rounding:.1e} of its size; each stage is held to the types of its own tensors), errors of {stages} stages "
        f"add as squares; {arithmetic}"
    )
    return Tolerance(rounding, roundoff, stages, because, times, narrower)


@dataclass(frozen=True)
class Stage:
    """One sub-block compared from the same hidden states, and the residual stream after it in a free run."""

    label: str  # "layer 3 attention"
    error: float  # rms of the difference over rms of the contribution
    allowed: float
    residual: float | None  # rms of the streams' difference over rms of the stream; None where nothing ran freely
    flips: bool = False  # whether rounding alone moves the source's own sub-block by as much, as no smaller step does

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # false for NaN


#: open: nobody can tell, so that nothing is proved and nothing refuted
Status = Literal["fails", "warns", "explained", "open"]


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
    def undecided(self) -> bool:
        """Whether nothing was refuted, and something could not be judged."""
        return not self.passed and self.first_divergence is None

    def with_findings(self, more: Sequence[Finding]) -> Verdict:
        """The verdict with what others found; what fails there fails it."""
        failed = next((f"config: {finding.fact}" for finding in more if finding.status == "fails"), None)
        first = self.first_divergence or failed
        findings = (*self.findings, *more)
        passed = first is None and not any(finding.status == "open" for finding in findings)
        return replace(self, findings=findings, first_divergence=first, passed=passed)

    @property
    def advice(self) -> str:
        """What to do about a failure; empty where there is none."""
        if self.passed:
            return ""
        if self.undecided:
            return "compare the two by other means (`--with transformers`), or verify what was made before that change"
        if self.first_divergence is not None and self.first_divergence.startswith("config: "):
            return "correct what the findings name, or say by the options that they name that it was meant"
        return "look at the first place that differs: everything before it is the same; and convert again, with this version"

    @property
    def sentence(self) -> str:
        """One line for a person. A quick run says that it compared some layers, and does not speak of logits."""
        open_ = next((f", because of {found.fact}" for found in self.findings if found.status == "open"), "")
        word = "verified" if self.passed else f"CANNOT JUDGE{open_}" if self.undecided else "NOT the same function"
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
