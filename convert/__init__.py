"""Convert LLM checkpoints between families, with proof. What the commands do, as functions.

    import convert, surgery
    artefact = convert.open("Baichuan2-7B-Base")     # lazy: headers only
    artefact = surgery.untie(artefact)               # Artefact -> Artefact
    plan = convert.plan(artefact, to="llama")        # a value: print it, test it
    convert.write(plan, "out")                       # stream it
    verdict = convert.verify("Baichuan2-7B-Base", "out")

Importing this is cheap: torch, transformers and the Hub's library are loaded by what needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.version import VERSION as __version__

if TYPE_CHECKING:
    from convert.planning import Plan
    from convert.verification.verdict import Verdict
    from convert.writing import Progress, Written
    from surgery.model import Artefact

__all__ = ["__version__", "open", "plan", "verify", "write"]


def open(source: str | Path, *, family: str | None = None, variant: str | None = None) -> Artefact:
    """The checkpoint at a directory or of a Hub id, in the hub's words; only headers are read."""
    from convert.checkpoint import open_checkpoint
    from convert.prepare import open_artefact

    return open_artefact(open_checkpoint(source), source=family, variant=variant)


def plan(artefact: Artefact, to: str | None = None, **options: Any) -> Plan:
    """The plan that writes ``artefact`` as the family ``to``; options as ``convert.prepare.plan_artefact`` takes them."""
    from convert.prepare import plan_artefact

    return plan_artefact(artefact, to, **options)


def write(
    plan: Plan, out: str | Path, *, verify: str = "quick", witness: str | None = None, progress: Progress | None = None
) -> Written:
    """Carry out a plan under the name ``out``, verified before it appears unless ``verify`` is ``off``.

    ``witness`` (``auto``, ``required``, ``off``) says whether transformers judges a miniature of it too.
    """
    from convert.verified import verifier
    from convert.writing import write as execute

    return execute(plan, out, verify=verifier(plan, verify, witness=witness), progress=progress)


def verify(source: str | Path, output: str | Path, **options: Any) -> Verdict:
    """Whether ``output`` computes what ``source`` computes, as the command ``verify`` says; options are ``judgement``'s."""
    from convert.checkpoint import open_checkpoint
    from convert.judgement import judgement

    return judgement(open_checkpoint(source), open_checkpoint(output), **options).verdict
