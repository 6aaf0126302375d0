"""A run says what it leaves out, and --left-out runs exactly that: judged on a suite of five tests of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUITE = """
import pytest
from tests.shared import needs_shared

def test_plain(): pass

@pytest.mark.slow
def test_slow(): pass

@needs_shared
def test_of_others(): pass

@pytest.mark.slow
@needs_shared
def test_slow_and_of_others(): pass

@pytest.mark.skipif(True, reason="no browser here")
def test_browser(): pass
"""


CASES = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("number", range(7))
def test_case(number): pass

@pytest.mark.slow
def test_lone(): pass
"""


@pytest.fixture
def run(tmp_path: Path):
    """Our conftest.py and configuration over another suite; with ../shared or without."""
    root = tmp_path / "clone"
    (root / "tests" / "golden" / "here").mkdir(parents=True)
    (root / "tests" / "golden" / "here" / "provenance.json").touch()
    for file in ("tests/__init__.py", "tests/conftest.py", "tests/goldens.py", "tests/shared.py", "setup.cfg"):
        shutil.copy(ROOT / file, root / file)
    (root / "tests" / "test_suite.py").write_text(SUITE)

    def told(*options: str, shared: bool = False) -> list[str]:
        if shared:
            (tmp_path / "shared").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", *options]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        return done.stdout.splitlines()

    return told


def test_shares_have_each_slow_case_once_and_every_lone_one(run, tmp_path):
    (tmp_path / "clone" / "tests" / "test_cases.py").write_text(CASES)
    shares = [run("--slow", "--share", f"{place}/3", "-rp", "-k", "case or lone") for place in (1, 2, 3)]
    ran = [line.split("::")[1] for lines in shares for line in lines if line.startswith("PASSED")]
    assert sorted(name for name in ran if "case" in name) == [f"test_case[{number}]" for number in range(7)]
    assert ran.count("test_lone") == 3
    assert any("not of this share" in line for line in shares[0])


def test_a_bare_run_says_what_it_left_out_and_why(run):
    *_, said, counted = run()
    assert said == (
        "left out: 4 tests: 2 slow: runs with --slow (make test-all); "
        "1 needs ../shared, which a fresh clone does not have; 1 no browser here"
    )
    assert counted.startswith("1 passed, 4 skipped in ")


def test_what_a_bare_run_left_out_runs_by_itself_where_everything_is(run):
    *_, counted = run("--slow", "--left-out", shared=True)
    assert counted.startswith("3 passed, 2 deselected in ")


def test_a_golden_case_that_only_the_others_have_counts_as_theirs(run, tmp_path):
    suite = (
        "import pytest\nfrom tests.goldens import goldens\n"
        "@pytest.mark.parametrize('case', goldens(), ids=str)\ndef test_case(case): pass\n"
        "@pytest.mark.parametrize('name', [case.name for case in goldens()])\ndef test_name(name): pass\n"
    )
    (tmp_path / "clone" / "tests" / "test_suite.py").write_text(suite)
    (tmp_path / "shared" / "golden" / "there").mkdir(parents=True)
    (tmp_path / "shared" / "golden" / "there" / "provenance.json").touch()
    assert run(shared=True)[-1].startswith("4 passed")
    assert run("--left-out", shared=True)[-1].startswith("2 passed, 2 deselected")


def test_with_nothing_left_out_nothing_is_said(run):
    lines = run("--slow", "-k", "not browser", shared=True)
    assert not any("left out" in line for line in lines) and lines[-1].startswith("4 passed")


def test_a_parametrisation_over_nothing_is_an_error(run, tmp_path):
    suite = "import pytest\n@pytest.mark.parametrize('x', [])\ndef test_x(x): pass\n"
    (tmp_path / "clone" / "tests" / "test_suite.py").write_text(suite)
    assert any("Empty parameter set in 'test_x'" in line for line in run())
