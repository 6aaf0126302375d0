"""`make mutation`: every mutant of every case; writes docs/mutation.md and the rates that CI holds the verifier to."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.mutation import beside
from tests.mutation.explained import because
from tests.mutation.suite import Outcome, judged, subjects

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutation.md"
RATES = Path(__file__).with_name("rates.json")


def main(workers: int) -> None:
    found: list[Outcome] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, some in enumerate(pool.map(judged, list(subjects())), 1):
            found += some
            told = Counter(outcome.fate for outcome in some)
            print(f"{number:3} {some[0].case if some else '?':24} {dict(told)}", flush=True)
    found += beside.outcomes()
    PAGE.write_text(page(found), encoding="utf-8")
    RATES.write_text(json.dumps(rates(found), indent=2) + "\n", encoding="utf-8")
    print(table(found))
    unexplained = [o for o in found if o.fate == "false alarm" or (o.fate == "survived" and not because(o))]
    for outcome in unexplained:
        print("NOT EXPLAINED", outcome)
    sys.exit(bool(unexplained))


def rates(found: list[Outcome]) -> dict[str, float]:
    """Killed of those that change the function, by family."""
    by: dict[str, list[bool]] = defaultdict(list)
    for outcome in found:
        if outcome.fate in ("killed", "survived"):
            by[outcome.family].append(outcome.fate == "killed")
    return {family: round(sum(each) / len(each), 4) for family, each in sorted(by.items())}


def table(found: list[Outcome]) -> str:
    """The rates as a table."""
    lines = ["| family | mutants | killed | rate | seen by reading | no alarm | false alarms |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    families = sorted({outcome.family for outcome in found})
    for family in (*families, "all"):
        told = Counter(outcome.fate for outcome in found if family in (outcome.family, "all"))
        changing = told["killed"] + told["survived"]
        rate = f"{100 * told['killed'] / changing:.1f} %" if changing else ""
        name = f"**{family}**" if family == "all" else family
        others = [told[fate] for fate in ("seen by reading", "same function", "false alarm")]
        cells = (name, changing, told["killed"], rate, *others)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def page(found: list[Outcome]) -> str:
    """docs/mutation.md."""
    survivors = [outcome for outcome in found if outcome.fate == "survived"]
    alarms = [outcome for outcome in found if outcome.fate == "false alarm"]
    lines = [
        "# The verifier, tested by mistakes",
        "",
        "Written by `make mutation`. Every golden case that converts was converted, and then spoilt, one mistake at a time: in",
        "the output on disk, in the table that converts, in a pass. A mutant counts when it changes the function, which is",
        "decided by the logits of transformers' own class on prompts that the verifier does not use (of a reference decoder",
        "where there is no class). It is killed when `weightsmith verify` fails it with the tolerance that the conversion's own",
        "exactness class gives. Lineage is not looked at. Mistakes that move those logits by less than 1e-5 of their spread are",
        "outside the rate; many are seen all the same, by constants in the config or in tokens that the other prompts do not",
        "use. Outputs that are made of other bytes and compute the same must raise no alarm: resharded, saved again by",
        "transformers, MLP units and heads permuted, experts renumbered, the residual stream in another gauge.",
        "",
        f"The row `{beside.FAMILY}` is about tokenizer, chat template, generation settings, what a config says that is no",
        "number, and what an output claims of itself: there AutoTokenizer, the library's generation settings, its config and",
        "its class decide, and the whole judge is tested that `verify` is.",
        "",
        table(found),
        "",
        "## Mistakes, and how many of them were seen",
        "",
        "| mistake | killed | survived | seen by reading | same function |",
        "|---|---:|---:|---:|---:|",
    ]
    for mutation in dict.fromkeys(outcome.mutation for outcome in found):
        told = Counter(outcome.fate for outcome in found if outcome.mutation == mutation)
        if told["killed"] + told["survived"] + told["seen by reading"]:
            cells = [told[fate] for fate in ("killed", "survived", "seen by reading", "same function")]
            lines.append(f"| {mutation} | {' | '.join(map(str, cells))} |")
    lines += ["", "## Survivors, and why", ""]
    reasons: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in survivors:
        reasons[because(outcome) or "not explained"].append(outcome)
    for reason, group in reasons.items():
        lines += [f"{reason}", ""]
        lines += [f"- {o.case} to {o.target}: {o.mutation} (logits moved by {o.moved:.1e} of their spread)" for o in group]
        lines.append("")
    lines += ["None."] if not survivors else []
    if alarms:
        lines += ["## False alarms", "", *(f"- {o.case} to {o.target}: {o.mutation} ({o.where})" for o in alarms)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
