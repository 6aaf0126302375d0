"""What holds for every test: no network, one thread each, repeatable examples; what is left out, and that it is said."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.goldens import GOLDEN, goldens
from tests.shared import SHARED, needs_shared

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
    parser.addoption("--left-out", action="store_true", help="run only what a plain run in a bare clone leaves out")
    parser.addoption("--share", type=_share, metavar="N/M", help="of the slow cases of a test every Mth, from the Nth on")


def _share(text: str) -> tuple[int, int]:
    """(place, of how many): of `2/3`, the second of three."""
    number, _, of = text.partition("/")
    place, count = int(number) - 1, int(of)
    if not 0 <= place < count:
        raise ValueError(text)
    return place, count


#: marker -> (whether a run leaves its tests out, why it does)
LEFT_OUT = {
    "slow": (lambda config: not config.getoption("--slow"), "slow: runs with --slow (make test-all)"),
    "needs_shared": (lambda config: not SHARED.is_dir(), "needs ../shared, which a fresh clone does not have"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    outside = {case.name for case in goldens() if case.folder.parent != GOLDEN}
    for item in items:  # a golden case that only ../shared has
        if not outside.isdisjoint(map(str, _parameters(item))):
            item.add_marker(needs_shared)
    if config.getoption("--left-out"):
        others = [item for item in items if not any(item.get_closest_marker(marker) for marker in LEFT_OUT)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    if share := config.getoption("--share"):
        for item in _beyond(share, items):
            item.add_marker(pytest.mark.skip(reason="slow, and not of this share: runs without --share (make test-all)"))
    for marker, (leaves, reason) in LEFT_OUT.items():
        if leaves(config):
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))


def _beyond(share: tuple[int, int], items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The slow cases that are not of a share. A test with one slow case always runs; every share has some of the others."""
    place, count = share
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for number, cases in enumerate(tests.values()):
        for at, case in enumerate(cases):
            if len(cases) > 1 and (at + number) % min(count, len(cases)) != place % min(count, len(cases)):
                yield case


def _parameters(item: pytest.Item) -> list[object]:
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Below everything else, one line that says how many tests were left out, and why."""
    yield
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    if reasons:
        told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"left out: {reasons.total()} tests: {told}")


def _reason(report: pytest.TestReport) -> str:
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")
