"""What holds for the repository as a whole: which way imports point, what importing costs, what is never written."""

import ast
import configparser
import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.published import published

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("convert", "mappings", "surgery")
# Which of our packages each may import.
ARROWS = {"convert": {"convert", "mappings", "surgery"}, "mappings": {"mappings", "surgery"}, "surgery": {"surgery"}}
HEAVY = ("torch", "numpy", "transformers", "huggingface_hub", "sentencepiece", "tokenizers", "ml_dtypes", "jinja2")


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """(statement, absolute module name) of every import below `tree`, relative ones left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node, node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_from_convert_to_mappings_to_surgery(package: str) -> None:
    against = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in sources(package)
        for node, name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if (top := name.split(".")[0]) in PACKAGES and top not in ARROWS[package]
    ]
    assert not against


@pytest.mark.parametrize("package", PACKAGES)
def test_relative_imports_stay_inside_their_package(package: str) -> None:
    escaping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > len(path.relative_to(ROOT).parts) - 1
    ]
    assert not escaping


@pytest.mark.parametrize("package", ["surgery", "mappings"])
def test_every_module_of_surgery_and_mappings_imports_without_torch_or_numpy(package: str) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(package)]
    modules = [name.removesuffix(".__init__") for name in modules]
    assert _loaded_by(*modules).isdisjoint({"torch", "numpy"})


@pytest.mark.parametrize("module", ["convert", "convert.cli"])
def test_importing_convert_and_its_command_line_loads_nothing_heavy(module: str) -> None:
    assert _loaded_by(module).isdisjoint(HEAVY)


def _loaded_by(*modules: str) -> set[str]:
    """The names in sys.modules of a new interpreter that imported `modules`."""
    program = f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_every_console_script_names_a_function_that_exists() -> None:
    scripts = dict(
        line.replace(" ", "").split("=", 1)
        for line in _setup()["options.entry_points"]["console_scripts"].strip().splitlines()
    )
    assert set(scripts) == {"convert", "weightsmith", "surgery"}
    assert scripts["convert"] == scripts["weightsmith"]
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_requirement_is_a_lower_bound_that_the_constraints_satisfy() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    setup = _setup()
    asked = setup["options"]["install_requires"].split() + [
        line for extra in setup["options.extras_require"].values() for line in extra.split()
    ]
    for requirement in map(Requirement, asked):
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
    assert versions["torch"] == "2.13.0"


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs the git repository, which an unpacked archive is not")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# Written in two halves so that this file does not contain them.
PRIVATE = tuple(
    first + second
    for first, second in (
        ("/wor", "k/"),
        ("/opt/whe", "els"),
        ("/opt/py", "pi"),
        ("/root/.py", "env"),
        ("/tmp/ba", "sh_jobs"),
        ("HOU", "SE.md"),
        (".libr", "ary/"),
        ("issues sh", "ow"),
        ("pypi", ".org"),
        ("python", "hosted"),
        ("registry.npm", "js"),
        ("download.py", "torch"),
    )
)


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in _tracked()
        for word in PRIVATE
        if word.encode() in path.read_bytes()
    ]
    assert not named


def test_no_commit_message_names_one_either() -> None:
    log = subprocess.run(["git", "log", "--format=%h %B"], cwd=ROOT, capture_output=True, text=True)
    if log.returncode != 0:
        pytest.skip("needs the git repository, which an unpacked archive is not")
    assert [word for word in PRIVATE if word in log.stdout] == []


def test_the_repository_carries_no_large_file_and_no_vocabulary() -> None:
    tracked = _tracked()
    assert [path.name for path in tracked if path.stat().st_size > 2_000_000] == []
    assert [path for path in tracked if path.name in {"tokenizer.model", "tokenizer.json", "vocab.json"}] == []
    assert sum(path.stat().st_size for path in tracked if ROOT / "tests/golden" in path.parents) < 80_000_000


def test_at_least_forty_published_configs_say_where_they_were_read() -> None:
    models = published()
    assert len(models) >= 40
    assert [model.name for model in models if not model.source.startswith(("github:", "http"))] == []
    assert [model.name for model in models if not model.family or not model.config.get("architectures")] == []
    assert Counter(str(dict(model.config)) for model in models).most_common(1)[0][1] == 1


def test_every_test_that_the_promises_name_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for path, name in named:
        assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8") if name else (ROOT / path).is_file(), (path, name)
