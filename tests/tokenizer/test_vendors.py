"""Written tokenizers beside the vendors' own: the figures of facts/tokenizers.md, through plain AutoTokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from mappings.chat import template
from surgery.tokenizer.chat import injection_risks
from surgery.tokenizer.export import EXACT, FAST, TokenizerFiles
from tests.shared import needs_shared
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer_table import measure

SOME = 150  # of the 1500 fuzzed strings in an ordinary run

by_folder = pytest.mark.parametrize("figures", FIGURES, ids=lambda figures: figures.folder)

# What the self-check may say about a vocabulary that is not exact: how many strings of the probe, and the cause.
KNOWN = {"baichuan1": (3, "combining marks")}


def beyond_templates(figures: Figures, written: TokenizerFiles, messages: list[dict[str, str]]) -> bool:
    """Whether a prompt is one of those that mappings.chat says no template can make."""
    joined = figures.folder in ("qwen1", "glm4", "llama3") and messages[0]["content"].startswith("\n")
    assert figures.chat is not None
    return joined or bool(injection_risks(template(figures.chat), written.facts.specials.values(), messages))


@needs_shared
@by_folder
def test_a_written_tokenizer_gives_the_vendors_ids_and_prompts(figures: Figures, tmp_path: Path) -> None:
    found = measure(figures, tmp_path, SOME)
    assert found.golden >= figures.golden, found.wrong["golden ids_plain"]
    assert found.special >= figures.golden, found.wrong["golden ids_special"]
    assert SOME - found.fuzz <= 1500 - figures.fuzz, found.wrong["fuzz ids_plain"]
    assert found.chats == figures.chats, found.wrong["chat"]
    assert found.extras >= figures.extras, found.wrong["chat_extra"]
    assert all(
        beyond_templates(figures, found.written, messages) for messages, _, _ in found.wrong.get("chat_extra", ())
    )
    assert found.written.recipe == figures.recipe
    assert found.written.tokenizer_class == (EXACT if figures.folder.startswith("chinese_llama") else FAST)
    differing, cause = KNOWN.get(figures.folder, (0, ""))
    assert len(found.written.check.differences) == differing
    assert all(cause in difference.reason for difference in found.written.check.differences)


@pytest.mark.slow
@needs_shared
@by_folder
def test_all_fuzzed_strings_reach_the_figure(figures: Figures, tmp_path: Path) -> None:
    found = measure(figures, tmp_path)
    assert found.fuzz >= figures.fuzz, found.wrong["fuzz ids_plain"]
