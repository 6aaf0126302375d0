"""Written tokenizers beside the vendors' own: the figures of facts/tokenizers.md, through plain AutoTokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from mappings.chat import template
from surgery.tokenizer.chat import injection_risks
from surgery.tokenizer.export import FAST, TokenizerFiles
from tests.shared import needs_shared
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer.measured import measure

SOME = 150  # of the 1500 fuzzed strings in an ordinary run

#: the vendors' folders by the form of their vocabulary; one that is missing while ../shared is there fails
FORMS = {
    "pieces": (
        "baichuan1", "baichuan2", "yi", "chatglm2", "chatglm3", "internlm", "internlm2", "llama2", "mistral", "chinese_llama",
        "chinese_llama2",
    ),
    "ranks": ("qwen1", "glm4", "llama3"),
    "merges": ("qwen2_5", "gpt2"),
    "json": ("minicpm3",),
}  # fmt: skip

by_form = pytest.mark.parametrize("form", FORMS)


def figures_of(form: str) -> tuple[Figures, ...]:
    return tuple(figures for figures in FIGURES if figures.folder in FORMS[form])


def test_every_vendor_has_a_form() -> None:
    assert sorted(figures.folder for figures in FIGURES) == sorted(folder for form in FORMS.values() for folder in form)


# What the self-check may say about a vocabulary that is not exact: how many strings of the probe, and the cause.
KNOWN = {"baichuan1": (3, "combining marks"), "chinese_llama": (1, "share their score")}


def beyond_templates(figures: Figures, written: TokenizerFiles, messages: list[dict[str, str]]) -> bool:
    """Whether a prompt is one of those that mappings.chat says no template can make."""
    joined = figures.folder in ("qwen1", "glm4", "llama3") and messages[0]["content"].startswith("\n")
    assert figures.chat is not None
    return joined or bool(injection_risks(template(figures.chat), written.facts.specials.values(), messages))


@needs_shared
@by_form
def test_written_tokenizers_give_the_vendors_ids_and_prompts(form: str, tmp_path: Path) -> None:
    for figures in figures_of(form):
        found = measure(figures, tmp_path / figures.folder, SOME)
        assert found.golden >= figures.golden, (figures.folder, found.wrong["golden ids_plain"])
        assert found.special >= figures.golden, (figures.folder, found.wrong["golden ids_special"])
        assert SOME - (found.fuzz or 0) <= 1500 - figures.fuzz, (figures.folder, found.wrong["fuzz ids_plain"])
        assert found.chats == figures.chats, (figures.folder, found.wrong["chat"])
        assert found.extras >= figures.extras, (figures.folder, found.wrong["chat_extra"])
        assert all(
            beyond_templates(figures, found.written, messages) for messages, _, _ in found.wrong.get("chat_extra", ())
        )
        assert found.written.recipe == figures.recipe
        assert found.written.tokenizer_class == FAST
        differing, cause = KNOWN.get(figures.folder, (0, ""))
        assert len(found.written.check.differences) == differing
        assert all(cause in difference.reason for difference in found.written.check.differences)


@pytest.mark.slow
@needs_shared
@by_form
def test_all_fuzzed_strings_reach_the_figure(form: str, tmp_path: Path) -> None:
    for figures in figures_of(form):
        found = measure(figures, tmp_path / figures.folder)
        assert (found.fuzz or 0) >= figures.fuzz, (figures.folder, found.wrong["fuzz ids_plain"])
