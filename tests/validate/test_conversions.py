"""What our own converter writes: every conversion of every golden case validates without an error.

None is verified here: tests/verification/test_directions.py verifies the same conversions.
"""

from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion, plan_repack
from convert.validate.check import validate
from convert.validate.rule import Finding
from surgery.errors import ConversionError
from tests.goldens import Golden, goldens
from tests.writing import write

TARGETS = ("llama", "qwen2", "glm", "yi", "baichuan", "mistral", "phi3")
#: the goldens have none of it, so neither have their conversions
LACKING = {"card-missing", "licence-missing", "tokenizer-missing"}
#: repacking changes neither: an id of the vendor's over a toy vocabulary, and a config that names its class by auto_map only
KEPT = {"deepseek-v2-lite": {"special-ids"}} | {
    name: {"config-architectures"}
    for name in ("minicpm-2b", "minicpm-2b-bf16", "minicpm-untied-gqa", "minicpm-untied-gqa-fp16")
}
CASES = [case for case in goldens() if (case.checkpoint / "config.json").is_file()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_conversion_of_a_golden_validates(case: Golden, tmp_path: Path) -> None:
    for target in TARGETS:
        try:
            plan = plan_conversion(open_checkpoint(case.checkpoint), target)
        except ConversionError:
            continue
        out = write(plan, tmp_path / target, verify="off").out
        told = {f"{finding.rule.id}: {finding.message}" for finding in grave(out)}
        assert told == set(), (target, told)


def grave(out: Path) -> list[Finding]:
    findings = validate(out, deep=True).findings
    return [f for f in findings if f.rule.severity != "note" and f.rule.id not in LACKING]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_repacked_golden_validates(case: Golden, tmp_path: Path) -> None:
    out = write(plan_repack(open_checkpoint(case.checkpoint)), tmp_path / "out", verify="off").out
    errors = {finding.rule.id for finding in validate(out, deep=True).findings if finding.rule.severity == "error"}
    assert errors <= KEPT.get(case.name, set())
