"""The package as a user gets it: the built wheel, in a fresh environment, used from another directory."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.goldens import golden

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("convert", "mappings", "surgery")
DATA = {".jinja", ".json", ".txt"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made of, so that building leaves nothing behind in the repository."""
    folder = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source], cwd=source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel installed.

    What the wheel depends on is not fetched again: a path file lends it from the environment that runs the tests. Path
    files there are not followed from here, so an editable install of these sources stays out of sight.
    """
    root = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(root, with_pip=False)
    python = root / "bin" / "python"
    site = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=root).strip())
    lent = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (site / "lent.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, "--no-deps", "--no-index", wheel], cwd=root)
    return root / "bin"


def test_the_wheel_holds_every_module_and_every_data_file(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(source))
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.suffix in {".py", *DATA} or path.name == "py.typed"
    }
    assert held == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_the_installed_package_is_the_wheel_and_not_these_sources(environment: Path, tmp_path: Path) -> None:
    program = "import convert, mappings, surgery; [print(each.__file__) for each in (convert, mappings, surgery)]"
    for file in _run([environment / "python", "-c", program], cwd=tmp_path).split():
        assert Path(file).is_relative_to(environment.parent)


@pytest.mark.parametrize("command", ["weightsmith", "convert"])
def test_the_installed_command_says_its_version(environment: Path, tmp_path: Path, command: str) -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] in _run([environment / command, "--version"], cwd=tmp_path)


def test_the_installed_surgery_command_shows_its_help(environment: Path, tmp_path: Path) -> None:
    assert "untie" in _run([environment / "surgery", "--help"], cwd=tmp_path)


def test_the_installed_command_converts_a_checkpoint_from_another_directory(environment: Path, tmp_path: Path) -> None:
    shutil.copytree(golden("baichuan2-7b").checkpoint, tmp_path / "Baichuan2-tiny")
    _run([environment / "convert", "baichuan-to-llama", "Baichuan2-tiny", "out", "--variant", "2-7b"], cwd=tmp_path)
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert list((tmp_path / "out").glob("*.safetensors"))


def _run(command: Sequence[str | Path], *, cwd: Path) -> str:
    """The command's stdout; a failure shows what it printed. PYTHONPATH is not handed on."""
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True)
    assert run.returncode == 0, f"{command} exited {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run.stdout
