"""What holds for every test: no network, one thread each, repeatable examples, and slow tests only with --slow."""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Set before anything imports torch or huggingface_hub, and inherited by every command that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="weightsmith-tests-hf-")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Every conversion asks transformers about a miniature, which takes seconds; tests that are about that ask for it by name.
os.environ["WEIGHTSMITH_WITNESS"] = "off"

# On a loaded machine a deadline fails for reasons that are not the code's; in CI the same examples run every time.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: runs with --slow (make test-all)"))
