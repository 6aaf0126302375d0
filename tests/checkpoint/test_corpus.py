"""The corpus of malformed, malicious and odd checkpoints: the verdict, the kind of refusal, and the accepted values."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convert.checkpoint import open_checkpoint, open_sources, read_tensor
from surgery.errors import ConversionError
from tests.shared import SHARED, needs_shared

SEEDS = {"public": 7, "second": 4242}

#: judged elsewhere, because they need what a family expects of its config and tensors, or the values themselves.
NEEDS_A_FAMILY = re.compile(
    r"cfg_(absurd_\w+|zero_heads|wrong_type|heads_not_dividing|more_layers|fewer_layers|wrong_family|unknown_arch"
    r"|quantized|tied_but_differs|untied_head_absent|weird_dtype)"
    r"|sem_(missing_\w+|extra_tensor|transposed|packed_rows_wrong|scalar_norm|1d_broadcast|empty_weight|int_weight"
    r"|bool_weight|complex_weight|case_pair)"
)
NEEDS_VALUES = re.compile(r"sem_(nan|inf|all_zero)|st_dtype_relabelled")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("corpus")
    program = SHARED / "tools" / "make_bad_inputs.py"
    for half, seed in SEEDS.items():
        command = [sys.executable, str(program), "--out", str(top), "--half", half, "--seed", str(seed), "--no-verify"]
        subprocess.run(command, check=True, capture_output=True)
    return top


def cases(top: Path, half: str) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted((top / half).glob("*/expect.json")):
        expected = json.loads(path.read_text())
        if not NEEDS_A_FAMILY.fullmatch(expected["case"]) and not NEEDS_VALUES.fullmatch(expected["case"]):
            found.append((path.parent, expected))
    return found


@needs_shared
@pytest.mark.parametrize("half", sorted(SEEDS))
def test_every_case_of_the_corpus_is_judged_rightly(
    corpus: Path, half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPT_CANARY_DIR", str(tmp_path))
    judged = cases(corpus, half)
    assert len(judged) > 190
    wrong = [f"{expected['case']}: {fault}" for root, expected in judged for fault in faults(root, expected)]
    assert wrong == []
    assert list(tmp_path.iterdir()) == []


def faults(root: Path, expected: dict[str, Any]) -> list[str]:
    """In what ways our verdict on this case differs from the expected one."""
    if expected["detail"].get("needs_unprivileged_user") and os.geteuid() == 0:
        return []
    try:
        opened = open_checkpoint(root / expected["input"])
    except ConversionError as error:
        message, status = str(error), error.status
        found = [] if "reject" in (expected["must"], *expected["also_ok"]) else [f"refused: {message}"]
        if expected["must"] == "reject" and status != expected["exit"]:
            found.append(f"status {status} instead of {expected['exit']}: {message}")
        if not all(re.search(word, message, re.IGNORECASE) for word in expected["mention"]):
            found.append(f"the message lacks {expected['mention']}: {message}")
        if not message.isprintable() or len(message) > 2000:
            found.append(f"the message is no paragraph: {message!r}")
        return found
    verdict = "warn" if opened.warnings else "accept"
    allowed = {expected["must"], *expected["also_ok"]} | ({"warn"} if expected["must"] == "accept" else set())
    if verdict not in allowed:
        return [f"{verdict} instead of {sorted(allowed)}: {opened.warnings}"]
    with open_sources(opened) as sources:
        values = {
            name: [tensor.dtype, list(tensor.shape), hashlib.sha256(read_tensor(sources, tensor)).hexdigest()]
            for name, tensor in opened.tensors.items()
        }
    wanted = {name: entry[:3] for name, entry in expected["tensors"].items()}
    return [f"tensor {name} differs" for name in wanted if values.get(name) != wanted[name]]
