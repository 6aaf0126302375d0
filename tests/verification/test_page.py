"""The page: self-contained, says what was found, holds nothing of a checkpoint unescaped, and a browser shows it."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.claims import remade_plan
from convert.prepare import plan_conversion
from convert.verification import page
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.verification.verdict import Verdict
from convert.verified import Checked
from convert.verified_page import page_text
from tests.goldens import golden
from tests.writing import write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run",
    "--disable-component-update", "--disable-default-apps", "--hide-scrollbars", "--window-size=1100,2400",
)  # fmt: skip


def written(tmp_path: Path, change: dict[str, str] | None = None) -> tuple[Path, Verdict]:
    """The page of a Baichuan that became a Llama, or with the verdict of another one."""
    source = open_checkpoint(golden("baichuan2-7b").checkpoint)
    if not (tmp_path / "out").exists():
        write(plan_conversion(source, "llama"), tmp_path / "out", verify="off")
    output = open_checkpoint(tmp_path / "out")
    verdict = verify(source, output, exactness="algebraic", output_variant=None, variant=(change or {}).get("variant"))
    plan = remade_plan(source, output)
    assert plan is not None
    path = tmp_path / "page.html"
    path.write_text(page_text(Checked(verdict, prove(plan)), (source, output), plan, "algebraic", ("2-7b", None)), "utf-8")
    return path, verdict


def test_the_page_says_what_was_found_and_asks_for_nothing_from_outside(tmp_path):
    path, verdict = written(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert verdict.passed and "NOT the same function" not in text
    for stage in verdict.stages:
        assert f"<title>{stage.label}: error" in text
    assert "rows divided by their L2 norm" in text and "lineage of all 30 tensors proved" in text
    assert verdict.tolerance.because in text and "default-src &#39;none&#39;" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", text)
    assert text.count("xxh3 ") == 3


def test_the_page_of_a_failure_says_so_and_where(tmp_path):
    path, verdict = written(tmp_path, {"variant": "7b"})
    text = path.read_text(encoding="utf-8")
    assert not verdict.passed and verdict.first_divergence == "head"
    assert "NOT the same function" in text and "first different at head" in text


def test_what_a_checkpoint_says_is_escaped(tmp_path):
    _, verdict = written(tmp_path)
    evil = replace(verdict, source_family="<script>alert(1)</script>", unread=("<img src=x>",))
    sides = [page.Side(role, "<b>", "<i>", [("<u>", 1, "x")], None) for role in ("source", "output")]
    text = page.render(evil, sides, passed=evil.passed)
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("change", [{}, {"variant": "7b"}], ids=["verified", "different"])
def test_a_browser_shows_the_plot_and_the_verdict(change, tmp_path):
    assert CHROMIUM is not None
    path, verdict = written(tmp_path, change)
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    shot = tmp_path / "page.png"
    command = [CHROMIUM, *QUIET, profile, f"--screenshot={shot}", path.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=600)
    assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 50_000
    dumped = subprocess.run(
        [CHROMIUM, *QUIET, profile, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True, timeout=600
    ).stdout
    assert dumped.count("<rect") == len(verdict.stages)
    assert (">verified<" in dumped) == verdict.passed
