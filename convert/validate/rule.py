"""A rule is a value: what it looks for, why that matters, how to mend it, where that was learnt, and the check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from convert.validate.subject import Subject

Severity = Literal["error", "warning", "note"]
Proof = Literal["executed", "read"]
#: what a rule cannot judge without: the family's table, every weight file, a vocabulary that can be read, or the licences of
#: the models that this one was made from
Need = Literal["table", "files", "vocabulary", "licence"]

#: the programs that a repository can be checked for
CONSUMERS = ("transformers", "transformers-4", "vllm", "llama.cpp", "mlx")


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a rule is broken. ``file`` is relative to the repository; ``message`` is safe for a terminal."""

    file: str
    message: str
    tensor: str = ""


Check = Callable[["Subject"], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a repository of weights."""

    id: str
    severity: Severity
    what: str
    why: str
    fix: str
    source: str
    check: Check
    deep: bool = False  # needs every byte of the weights
    consumer: str = ""  # asked only for this one of CONSUMERS
    proof: Proof | None = None  # for consumers: was it executed here, or read in the consumer's source?
    needs: Need | None = None

    @property
    def group(self) -> str:
        """The file that the rule lies in, as `--only` names it."""
        return self.check.__module__.rpartition(".")[2]


def rule(
    name: str, severity: Severity, *, what: str, why: str, fix: str, source: str,
    deep: bool = False, consumer: str = "", proof: Proof | None = None, needs: Need | None = None,
) -> Callable[[Check], Rule]:  # fmt: skip
    """Make a check a `Rule`; the function's own name then stands for the rule."""

    def made(check: Check) -> Rule:
        return Rule(name, severity, what, why, fix, source, check, deep, consumer, proof, needs)

    return made


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule at a place, as reports show it."""

    rule: Rule
    file: str
    message: str
    tensor: str = ""
    ignored: str = ""  # the reason for which the user wants it ignored
