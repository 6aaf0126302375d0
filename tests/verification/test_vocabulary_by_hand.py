"""`verify` by hand says of an edited vocabulary what the command that wrote it said; and finds what was changed afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert
from convert.checkpoint import open_checkpoint
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import Revised, extend_vocab, plan_vocabulary
from convert.edits.vocabulary_size import pad_vocab, trim_vocab, unpad_vocab
from convert.judgement import Judgement, judgement
from convert.verification.verdict import Verdict
from surgery.errors import ConversionError
from surgery.model import Artefact
from surgery.tokenizer.grow import Addition
from tests.trained.corpus import lines
from tests.trained.kinds import Kind, kind
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_kinds import ATOMS, SMALL, WORDS, model_of, rows_of

_QUICK = ("llama-other-size", "gpt2-json")
by_kind = pytest.mark.parametrize(
    "own", [pytest.param(one, id=str(one), marks=() if one.name in _QUICK else pytest.mark.slow) for one in SMALL]
)

_SPECIAL = Addition((), atoms=ATOMS, special=True)
_MANY = Addition((), atoms=tuple(f"<|x{number}|>" for number in range(50)), special=True)
#: name -> (the base that it begins with, the edit, whether it needs the user's word once its manifest is gone)
EDITS: dict[str, tuple[str, Callable[[Artefact], Revised], bool]] = {
    "words": ("base", lambda base: extend_vocab(base, Addition(WORDS)), False),
    "specials": ("base", lambda base: extend_vocab(base, _SPECIAL), False),
    "words and specials, padded": (
        "base", lambda base: extend_vocab(base, Addition(WORDS, atoms=ATOMS), pad_to=128), False),
    "words into padding": ("roomy", lambda base: extend_vocab(base, Addition(WORDS)), False),
    "specials into padding": ("roomy", lambda base: extend_vocab(base, _SPECIAL), False),
    "specials beyond padding": ("roomy", lambda base: extend_vocab(base, _MANY), False),
    "mean": ("roomy", lambda base: extend_vocab(base, _SPECIAL, init="mean"), False),
    "zero": ("roomy", lambda base: extend_vocab(base, _SPECIAL, init="zero"), True),
    "normal": ("roomy", lambda base: extend_vocab(base, _SPECIAL, init="normal", seed=7), False),
    "near the mean": ("roomy", lambda base: extend_vocab(base, _SPECIAL, init="mean-cov", seed=7), False),
    "a copy": ("roomy", lambda base: extend_vocab(base, _SPECIAL, init="copy:e"), True),
    "pad": ("base", lambda base: pad_vocab(base, multiple=2048), False),
    "pad with zeros": ("base", lambda base: pad_vocab(base, multiple=2048, padding="zero"), True),
    "unpad": ("roomy", unpad_vocab, False),
    "trim": ("base", lambda base: trim_vocab(base, [line for line in lines(30) if line.isascii()]), True),
    "trim, padded": ("roomy", lambda base: trim_vocab(base, [line for line in lines(30) if line.isascii()], pad_to=64), True),
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier in this process, and nothing but the models: the documents are another's matter (test_companions)."""
    from convert.verification import run

    def verify(source: Path, output: Path, *, asked: Any, **options: Any) -> Verdict:
        return run.verify(open_checkpoint(source), open_checkpoint(output), asked=asked, **options)

    monkeypatch.setattr("convert.verification.child.run_child", verify)
    monkeypatch.setattr("convert.judgement.differences", lambda *sides: ())


def bases(own: Kind, folder: Path) -> None:
    """A model with a row for each id, whose head is its own; and a tied one with rows that no token has."""
    llama(folder / "base", rows=rows_of(own), tied=False, files=own.files)
    llama(folder / "roomy", rows=rows_of(own) + 40, tied=True, files=own.files, dtype=torch.bfloat16)


def judged(base: Path, out: Path, **options: Any) -> Judgement:
    return judgement(open_checkpoint(base), open_checkpoint(out), witness="off", **options)


@by_kind
@pytest.mark.parametrize("edit", EDITS)
def test_what_the_command_verified_is_verified_by_hand_and_a_changed_row_is_found(own: Kind, edit: str, tmp_path: Path) -> None:
    bases(own, tmp_path)
    which, make, own_word = EDITS[edit]
    base, out = tmp_path / which, tmp_path / "out"
    try:
        plan = plan_vocabulary(make(convert.open(base)))
    except ConversionError as refusal:
        assert "Unigram" in str(refusal) or "no such token" in str(refusal), "other kinds have this edit"
        return
    convert.write(plan, out, verify="full", witness="off")
    found = judged(base, out)
    assert found.passed, (found.checked.sentence, found.verdict.findings)
    shared = plan.shared[1] if plan.shared is not None else ()
    fresh = sorted(set(range(found_rows(out))) - set(shared)) if edit not in ("unpad", "trim") else []
    faults = {**OLD, **(NEW if fresh else {})}
    tensors = load_file(out / "model.safetensors")
    for name, fault in faults.items():
        changed = {key: tensor.clone() for key, tensor in tensors.items()}
        fault(changed, list(shared), _made_of(plan, fresh))
        save_file(changed, out / "model.safetensors", {"format": "pt"})
        told = judged(base, out)
        assert not told.passed and not told.checked.undecided, (name, told.checked.sentence)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "weightsmith.json").unlink()
    without = judged(base, out, other_rows=own_word)
    assert without.passed, (without.checked.sentence, without.verdict.findings)
    for name in (*OLD, *(("nan", "huge") if fresh else ())):
        changed = {key: tensor.clone() for key, tensor in tensors.items()}
        faults[name](changed, list(shared), _made_of(plan, fresh))
        save_file(changed, out / "model.safetensors", {"format": "pt"})
        told = judged(base, out, other_rows=own_word)
        assert not told.passed and not told.checked.undecided, (name, told.checked.sentence)


def _made_of(plan: Any, fresh: list[int]) -> list[int]:
    """The rows that the edit made, without padding of the source that is still there."""
    said = plan.options["vocabulary"]
    stop = said["first"] + said["tokens"] if said["edit"] == "extend-vocab" else None
    return [row for row in fresh if stop is None or row < stop]


def found_rows(out: Path) -> int:
    rows: int = json.loads((out / "config.json").read_text())["vocab_size"]
    return rows


def _nudge(tensors: dict[str, torch.Tensor], old: list[int], new: list[int]) -> None:
    tensors[EMBED][old[5]] *= 1.2


def _swap(tensors: dict[str, torch.Tensor], old: list[int], new: list[int]) -> None:
    for name in {EMBED, HEAD} & tensors.keys():
        tensors[name][[old[4], old[6]]] = tensors[name][[old[6], old[4]]]


def _nan(tensors: dict[str, torch.Tensor], old: list[int], new: list[int]) -> None:
    tensors[EMBED][new[-1], 3] = torch.nan


def _huge(tensors: dict[str, torch.Tensor], old: list[int], new: list[int]) -> None:
    tensors[HEAD if HEAD in tensors else EMBED][new[-1]] = 1e4 * (tensors[EMBED][old[5]] + 0.1)


def _other(tensors: dict[str, torch.Tensor], old: list[int], new: list[int]) -> None:
    tensors[HEAD if HEAD in tensors else EMBED][new[-1]] += 0.05


OLD = {"nudged": _nudge, "swapped": _swap}
NEW = {"nan": _nan, "huge": _huge, "another": _other}


@pytest.mark.parametrize(("own", "donor"), [
    ("llama-other-size", "minicpm"), ("minicpm", "llama-other-size"), ("gpt2-json", "minicpm"), ("llama-other-size", "gpt2-json"),
    ("gemma", "minicpm"), ("qwen2-json", "gpt2-json"),
])  # fmt: skip
def test_a_transplant_is_never_called_another_function_and_its_shared_rows_are_compared(
    own: str, donor: str, tmp_path: Path
) -> None:
    bases(kind(own), tmp_path)
    model_of(kind(donor), tmp_path / "donor")
    base, out = tmp_path / "base", tmp_path / "out"
    plan = plan_vocabulary(transplant_tokenizer(convert.open(base), convert.open(tmp_path / "donor")))
    convert.write(plan, out, verify="full", witness="off")
    assert plan.shared is not None
    found = judged(base, out)
    assert found.passed or found.checked.undecided, found.checked.sentence  # rows of the donor's win, which is not here
    assert judged(base, out, other_rows=True).passed
    tensors = load_file(out / "model.safetensors")
    fresh = sorted(set(range(found_rows(out))) - set(plan.shared[1]))
    for fault in (_nudge, _swap, _nan, _huge):
        changed = {key: tensor.clone() for key, tensor in tensors.items()}
        fault(changed, list(plan.shared[1]), fresh)
        save_file(changed, out / "model.safetensors", {"format": "pt"})
        for word in (True, False):
            told = judged(base, out, other_rows=word)
            assert not told.passed and not told.checked.undecided, (fault.__name__, told.checked.sentence)


def test_the_mean_of_other_rows_than_the_manifest_says_is_named(tmp_path: Path) -> None:
    bases(kind("gpt2-json"), tmp_path)
    revised = extend_vocab(convert.open(tmp_path / "base"), Addition(WORDS))
    convert.write(plan_vocabulary(revised), tmp_path / "out", witness="off")
    told = json.loads((tmp_path / "out/weightsmith.json").read_text())
    told["options"]["vocabulary"]["init"] = "mean"
    (tmp_path / "out/weightsmith.json").write_text(json.dumps(told))
    (failed,) = [finding for finding in judged(tmp_path / "base", tmp_path / "out").verdict.findings if finding.status == "fails"]
    assert "row 1501 of model.embed_tokens.weight is not what weightsmith.json says of it (the mean of the 1501 old rows)" in str(
        failed.because
    )


@pytest.mark.parametrize("told", [
    {"edit": "extend-vocab"}, {"edit": "extend-vocab", "first": -3, "tokens": 9, "rows": 2, "init": "mean", "seed": 0},
    {"edit": "extend-vocab", "first": "1", "tokens": None, "rows": [], "init": {}, "seed": "x"},
    {"edit": "pad-vocab", "rows": 1 << 70, "padding": "mean"}, {"edit": "trim-vocab", "tokens": 0, "rows": 1 << 40},
    {"edit": ["x"]}, {"edit": "trim-vocab", "tokens": "1", "rows": 3.5},
])  # fmt: skip
def test_a_manifest_that_says_nonsense_of_its_rows_is_not_believed_and_crashes_nothing(told: Any, tmp_path: Path) -> None:
    bases(kind("gpt2-json"), tmp_path)
    revised = extend_vocab(convert.open(tmp_path / "base"), Addition(WORDS))
    convert.write(plan_vocabulary(revised), tmp_path / "out", witness="off")
    manifest = json.loads((tmp_path / "out/weightsmith.json").read_text())
    manifest["options"]["vocabulary"] = told
    (tmp_path / "out/weightsmith.json").write_text(json.dumps(manifest))
    further = [f for f in judged(tmp_path / "base", tmp_path / "out").verdict.findings if f.fact == "further tokens"]
    assert further and all(finding.status in ("warns", "open") for finding in further)
