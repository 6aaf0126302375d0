"""Whatever a repository holds, validation ends with findings: no exception, no code run, nothing written."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.validate.check import validate
from convert.validate.repair import repairs
from convert.validate.rule import CONSUMERS
from convert.validate.sarif import sarif
from convert.validate.subject import Subject
from tests.validate.repository import Repository, adapter, good

ODD: list[Any] = [
    None, True, False, 0, -1, 2**70, 1.5, -0.0, 1e308, "", "x", "\x1b[31m", "\ud7ff\U0001f600", [], [[]], [None], [1, "a"],
    {}, {"a": {}}, {"": None}, "../../etc/passwd", "a" * 5000, ["x"] * 200, {"rope_type": 3}, {"type": []},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a table something can be put."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(place for key, one in list(inner)[:40] for place in places(one, (*path, key)))]


def put(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    if not place:
        return odd
    changed = copy.copy(value)
    changed[place[0]] = put(value[place[0]], place[1:], odd)
    return changed


# The tokenizers library panics on some odd files; with backtraces, each of which takes seconds, the tests would crawl.
os.environ["RUST_BACKTRACE"] = "0"

TABLES = ("config", "generation", "settings", "tokenizer", "index", "card")


@settings(max_examples=250)
@given(data=st.data())
def test_odd_values_anywhere_are_findings_and_not_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = good()
    for name in data.draw(st.lists(st.sampled_from(TABLES), min_size=1, max_size=2, unique=True)):
        table = getattr(made, name)
        if name == "config":
            table = {**table, "auto_map": {}, "quantization_config": None, "text_config": {}, "head_dim": 4}
        place = data.draw(st.sampled_from(places(table)))
        setattr(made, name, put(table, place, data.draw(st.sampled_from(ODD))))
    if not isinstance(made.card, dict | None):
        made.card = {}
    look(made, tmp_path_factory.mktemp("odd") / "made")


@settings(max_examples=60)
@given(data=st.data())
def test_odd_adapters_are_findings_and_not_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = adapter()
    table = json.loads(made.files["adapter_config.json"])
    odd = put(table, data.draw(st.sampled_from(places(table))), data.draw(st.sampled_from(ODD)))
    made.files["adapter_config.json"] = json.dumps(odd).encode()
    look(made, tmp_path_factory.mktemp("odd") / "made")


@settings(max_examples=60)
@given(data=st.data())
def test_odd_manifests_are_findings_and_not_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = good()
    told = {
        "tool": "weightsmith", "source": {"family": "baichuan-7b"}, "left": {"a": "b"}, "verification": {"verdict": "passed"},
        "outputs": [{"name": "model.safetensors", "size": 3, "xxh3_128": "0"}],
    }  # fmt: skip
    odd = put(told, data.draw(st.sampled_from(places(told))), data.draw(st.sampled_from(ODD)))
    made.files["weightsmith.json"] = json.dumps(odd).encode()
    look(made, tmp_path_factory.mktemp("odd") / "made")


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_anywhere_are_findings_and_not_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = good().write(tmp_path_factory.mktemp("bytes") / "made")
    for file in data.draw(st.lists(st.sampled_from(sorted(path.iterdir())), min_size=1, max_size=3)):
        content = file.read_bytes()
        at = data.draw(st.integers(0, len(content)))
        kept = content[at:] if data.draw(st.booleans()) else b""
        file.write_bytes(content[:at] + data.draw(st.binary(max_size=12)) + kept)
    report = validate(path, deep=True, consumers=CONSUMERS)
    repairs(Subject(path), {finding.rule.id for finding in report.findings})


def look(made: Repository, path: Path) -> None:
    report = validate(made.write(path), deep=True, consumers=CONSUMERS)
    json.dumps([report.to_json(), sarif(report)])
    before = sorted(path.rglob("*"))
    repairs(Subject(path), {finding.rule.id for finding in report.findings})
    assert sorted(path.rglob("*")) == before


def test_nothing_in_a_chat_template_reaches_the_machine(tmp_path: Path) -> None:
    made = good()
    target = tmp_path / "touched"
    made.template = (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}"
        f"{{{{ cycler.__init__.__globals__.os.system('touch {target}') }}}}"
    )
    report = validate(made.write(tmp_path / "made"))
    assert not target.exists()
    assert "chat-template-render" in {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize("endless", [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 'x' * 4000000000 }}",
    "{% set ns = namespace(s='xy') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
])  # fmt: skip
def test_a_chat_template_without_end_is_a_finding(endless: str, tmp_path: Path) -> None:
    made = good()
    made.template = endless
    report = validate(made.write(tmp_path / "made"))
    found = {finding.rule.id: finding for finding in report.findings}
    assert {"chat-template-render", "chat-template-syntax"} & found.keys()


@pytest.mark.parametrize("used", [
    "{% generation %}{{ m.content }}{% endgeneration %}", "{{ strftime_now('%Y') }}{{ m.content }}",
])  # fmt: skip
def test_what_the_library_gives_to_templates_is_no_finding(used: str, tmp_path: Path) -> None:
    made = good()
    made.template = "{% for m in messages %}" + used + "{% endfor %}"
    report = validate(made.write(tmp_path / "made"))
    assert not {finding.rule.id for finding in report.findings} & {"chat-template-render", "chat-template-syntax"}


def test_files_that_cannot_be_read_are_findings(tmp_path: Path) -> None:
    path = good().write(tmp_path / "made")
    if os.geteuid() == 0:
        os.unlink(path / "config.json")
        os.mkdir(path / "config.json")
    else:
        os.chmod(path / "config.json", 0)
    report = validate(path)
    assert {f.rule.id for f in report.findings if f.file == "config.json"} >= {"config-unreadable"}
