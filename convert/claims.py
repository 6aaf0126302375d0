"""What an output says of itself, in its ``weightsmith.json``: claims, each believed as far as it can be made again from SRC.

A manifest lies beside the weights, written by whoever wrote them. So a plan is remade and must give the tensors that are
there; an edit of the vocabulary is remade from both tokenizers; a class laxer than what the files explain is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.checkpoint import Checkpoint, read_json
from convert.checkpoint.files import list_folder
from convert.common_tokens import Pairs, vocabularies
from convert.manifest import NAME as MANIFEST
from convert.manifest import told as told_by
from convert.new_rows import made_rows
from convert.planning import Plan, weakest
from convert.prepare import plan_conversion
from convert.recipe import STEPS
from convert.remake import remake
from convert.verification.asked import NOTHING, Asked
from convert.verification.verdict import Finding
from convert.wish import Wish, variant_of
from surgery.errors import ConversionError, show
from surgery.values import Exactness


@dataclass(frozen=True)
class Compared:
    """Which tokens are compared, and what asked for those that only one side has."""

    shared: Pairs | None
    asked: Asked = NOTHING

    @property
    def elsewhere(self) -> bool:
        """Whether an edit of the vocabulary, or the user, says why texts may be cut with other tokens."""
        return bool(self.asked.gone or self.asked.claimed)


def remade_plan(source: Checkpoint, output: Checkpoint, variant: str | None = None) -> Plan | None:
    """The plan by which ``output`` was made of ``source``, if its manifest says so and the plan still gives its tensors.

    An edit that takes a file, another version, or another source has no such plan: that is said, and no failure.
    """
    told = manifest_of(output)
    try:
        plan = _edited(source, told, variant) if told.get("edits") else _converted(source, told, variant)
        if plan is None or list(plan.steps) != told["steps"]:
            return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ConversionError):
        return None
    planned = {each.name: (each.shape, each.dtype) for file in plan.files for each in file.outputs}
    return plan if planned == {name: (stored.shape, stored.dtype) for name, stored in output.tensors.items()} else None


def explained(plan: Plan | None) -> Exactness:
    """The strictest class that the files explain: the remade plan's, else that of one rounding to what is stored."""
    return weakest(plan.files) if plan is not None else Exactness.ALGEBRAIC


def claim(output: Checkpoint, plan: Plan | None, asked: str | None) -> tuple[Finding, ...]:
    """A finding where the manifest promises less than the files explain; it fails unless ``asked`` allows as little."""
    classes = {str(each): each for each in Exactness}
    told = manifest_of(output).get("exactness")
    if not isinstance(told, str) or told not in classes or classes[told] <= explained(plan):
        return ()
    if asked is not None and classes[asked] >= classes[told]:
        return ()
    why = (
        "OUT's weightsmith.json promises less than what its files explain, and was not believed: no plan that can be made "
        f"again from SRC rounds as much. If that was meant, say --exactness {told}"
    )
    return (Finding("exactness that OUT claims", str(explained(plan)), told, "fails", why),)


def compared_tokens(source: Checkpoint, output: Checkpoint, asked: str = "") -> Compared:
    """Which tokens to compare; an edit of the vocabulary that the manifest names counts where both tokenizers bear it out.

    ``asked`` is the user's word for rows that only one side has.
    """
    told = _vocabulary_told(output)
    edit = vocabulary_edit(output)
    both = vocabularies(source, output, edit)
    if both is None:
        return Compared(None, Asked(gone=asked, further=asked))
    shared = both.pairs()
    claimed = f"weightsmith.json says that {show(edit)} made them" if edit else ""
    parts = f"{claimed}, and so its own begin and end texts" if both.replaced and both.ends(output.config) else ""
    if asked:
        return Compared(shared, Asked(gone=asked, further=asked, parts=parts))
    spoken, because = set(both.one.spoken), "no token of the source's tokenizer has them"
    if (edit == "trim-vocab" and both.trimmed) or edit == "transplant-tokenizer":
        spoken &= set(shared[0]) if shared is not None else spoken
        because = f"{edit}, which weightsmith.json names, left them out, as both tokenizers bear out"
    beyond = max(spoken, default=-1) + 1
    idle = sorted(set(range(beyond)) - spoken), beyond
    made = made_rows(both, told, source.config)
    return Compared(shared, Asked(claimed=claimed, parts=parts, idle=idle, idle_because=because, made=made))


def manifest_of(output: Checkpoint) -> Mapping[str, Any]:
    """``weightsmith.json`` beside an output, as far as there is one that can be read."""
    path = output.path / MANIFEST
    try:
        return told_by(read_json(list_folder(output.path).find(MANIFEST))) if path.is_file() else {}
    except ConversionError:
        return {}


def _vocabulary_told(output: Checkpoint) -> Mapping[str, Any]:
    """What the manifest says of an edit of the vocabulary."""
    options = manifest_of(output).get("options")
    told = options.get("vocabulary") if isinstance(options, Mapping) else None
    return told if isinstance(told, Mapping) else {}


def vocabulary_edit(output: Checkpoint) -> str:
    """The edit of the vocabulary that the manifest names; empty where it names none."""
    edit = _vocabulary_told(output).get("edit")
    return edit if isinstance(edit, str) else ""


def _converted(source: Checkpoint, told: Mapping[str, Any], variant: str | None) -> Plan:
    family = told["target"].partition("-")[0]
    return plan_conversion(source, family, variant=variant or variant_of(told["source"]["family"]), **told["options"])


def _edited(source: Checkpoint, told: Mapping[str, Any], variant: str | None) -> Plan | None:
    """The plan of a manifest with edits, where none of them takes a file: whose it was is not known here."""
    for edit in told["edits"]:
        settings = {setting.argument or key.replace("-", "_"): setting for key, setting in STEPS[edit["do"]].settings.items()}
        given = {key: value for key, value in edit.items() if key != "do"}
        if any(key not in settings or type(value) is not settings[key].kind for key, value in given.items()):
            return None
        if any(setting.required and key not in given for key, setting in settings.items()):
            return None
    family, _, own = told["source"]["family"].partition("-")
    return remake(Wish.from_json({
        "family": family, "variant": variant or own, "to": told["target"], "edits": told["edits"], "options": told["options"],
    }), source)  # fmt: skip


def said_by(output: Checkpoint) -> str:
    """The edits that an output's manifest names, in words."""
    edits = manifest_of(output).get("edits")
    names = [one.get("do") for one in edits if isinstance(one, Mapping)] if isinstance(edits, list) else []
    return ", ".join(show(name) for name in (*names, vocabulary_edit(output)) if name)
