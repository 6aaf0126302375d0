"""convert chat-check: what counts as the same prompt, for templates of every kind and vocabularies whose ids have moved."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import convert
from convert.edits.vocabulary import extend_vocab, plan_vocabulary
from convert.edits.vocabulary_size import trim_vocab
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.errors import CannotJudge, VerificationFailed
from surgery.tokenizer.grow import Addition
from tests.tokenizer_table.vocabularies import trained
from tests.tokenizer_table.ways import source
from tests.trained.kinds import KINDS, Kind
from tests.vocabulary.test_commands import TEMPLATE, run, with_template
from tests.vocabulary.test_extend import byte_level_model

_EACH = "{% for m in messages %}BODY{% endfor %}assistant:"
_LINE = "{{ m['role'] }}: {{ m['content'] }}\n"


def checked(folder: Path, source: str, output: str) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The command's result for two templates on one model, and what it found of each conversation."""
    for name, template in (("src", source), ("out", output)):
        with_template(folder / name, template)
    done = run("chat-check", folder / "src", folder / "out", "--json")
    return done, {one["name"]: one for one in json.loads(done.stdout)["conversations"]}


@pytest.mark.parametrize("start", [
    "{% if false %}{% generation %}{% endgeneration %}{% endif %}", "{{ strftime_now('%Y') }}", "{{ dict(a=1).a }}",
    "{{ [1] | tojson(separators=(',', ':'), sort_keys=true) }}",
])  # fmt: skip
def test_templates_that_use_what_the_library_has_are_compared(start: str, tmp_path: Path) -> None:
    done, found = checked(tmp_path, start + TEMPLATE, start + TEMPLATE.replace("assistant:", "Assistant:"))
    assert isinstance(done.exception, VerificationFailed)
    assert not any(one["same"] for name, one in found.items() if name != "an answer to go on with")


def test_a_clock_in_a_template_is_no_difference(tmp_path: Path) -> None:
    template = "{{ strftime_now('%H:%M:%S.%f') }}" + TEMPLATE
    done, found = checked(tmp_path, template, template)
    assert done.exit_code == 0 and all(one["same"] and not one["refused"] for one in found.values())


def test_refused_by_both_for_the_same_reason_is_said_and_counts_for_nothing(tmp_path: Path) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TEMPLATE
    done, found = checked(tmp_path, refusing, refusing)
    refused = [name for name, one in found.items() if one["refused"]]
    assert done.exit_code == 0 and refused == ["system", "system and three turns", "tools", "ends with an answer"]
    assert all("refused by both, so not compared" in found[name]["found"] for name in refused)
    assert "15 of 15 conversations give the same tokens (4 more are refused by both)" in run(
        "chat-check", tmp_path / "src", tmp_path / "out"
    ).output


def test_refused_by_both_for_different_reasons_is_a_difference(tmp_path: Path) -> None:
    no_system, broken = (
        "{% if messages[0]['role'] == 'system' %}{{ X }}{% endif %}".replace("X", what) + TEMPLATE
        for what in ("raise_exception('no system turn')", "nothing.more")
    )
    done, found = checked(tmp_path, no_system, broken)
    assert isinstance(done.exception, VerificationFailed)
    assert "for different reasons" in found["system"]["found"] and not found["system"]["same"]


def test_templates_that_refuse_everything_prove_nothing(tmp_path: Path) -> None:
    never = "{{ raise_exception('never') }}"
    done, _ = checked(tmp_path, never, never)
    assert isinstance(done.exception, CannotJudge) and done.exception.status == 9
    assert "no conversation gave a prompt" in str(done.exception)


@pytest.mark.parametrize(("source", "output", "names"), [
    (TEMPLATE,
     "{% for m in messages if not (m['role'] == 'system' and messages | length > 3) %}{{ m['role'] }}: {{ m['content'] }}\n"
     "{% endfor %}assistant:", {"system and three turns"}),
    ("{% if tools %}{{ tools | tojson }}{% endif %}" + TEMPLATE, TEMPLATE,
     {"tools", "a call of a tool", "the tool's result", "behind the tool's result"}),
    (_EACH.replace("BODY", _LINE + "{{ m.tool_calls | tojson if m.tool_calls else '' }}"), _EACH.replace("BODY", _LINE),
     {"a call of a tool", "the tool's result", "behind the tool's result"}),
    (_EACH.replace("BODY", _LINE), _EACH.replace("BODY", "{% if m['role'] != 'tool' %}" + _LINE + "{% endif %}"),
     {"the tool's result", "behind the tool's result"}),
    (TEMPLATE.replace("assistant:", "{% if add_generation_prompt %}assistant:{% endif %}"), TEMPLATE,
     {"a call of a tool", "a question alone", "ends with an answer"}),
    (_EACH.replace("BODY", _LINE),
     _EACH.replace("BODY", "{% if m['role'] == 'assistant' and loop.last %}A: {{ m['content'] }}\n{% else %}" + _LINE
                   + "{% endif %}"),
     {"a call of a tool", "ends with an answer", "an answer, and another", "an answer to go on with"}),
    (_EACH.replace("BODY", _LINE), _EACH.replace("BODY", "{% if m['content'] %}" + _LINE + "{% endif %}"),
     {"no words", "a call of a tool", "the tool's result", "behind the tool's result"}),
    (_EACH.replace("BODY", _LINE), _EACH.replace("BODY", _LINE.replace("m['content']", "m['content'].split('\n\n')[0]")),
     {"code", "several lines"}),
    (_EACH.replace("BODY", "{{ m.reasoning_content or '' }}" + _LINE), _EACH.replace("BODY", _LINE), {"a thought"}),
], ids=["system turn dropped", "tools ignored", "calls ignored", "results dropped", "always a generation prompt",
        "last answer", "empty turns dropped", "one paragraph", "thoughts dropped"])  # fmt: skip
def test_a_template_that_differs_in_one_thing_is_found_where_that_is_and_nowhere_else(
    source: str, output: str, names: set[str], tmp_path: Path
) -> None:
    done, found = checked(tmp_path, source, output)
    assert isinstance(done.exception, VerificationFailed)
    assert {name for name, one in found.items() if not one["same"]} == names


@pytest.mark.parametrize("endless", ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                                     "{{ 'x' * 4000000000 }}"])  # fmt: skip
def test_a_template_without_end_is_a_refusal_with_its_reason(endless: str, tmp_path: Path) -> None:
    done, found = checked(tmp_path, TEMPLATE, endless + TEMPLATE)
    assert isinstance(done.exception, VerificationFailed)
    assert "the output refuses it" in found["one turn"]["found"] and "no conversation needs as much" in found["one turn"]["found"]


def test_a_trimmed_vocabulary_that_kept_the_prompts_tokens_gives_the_same_prompts(tmp_path: Path) -> None:
    from convert.conversations import ASKED

    with_template(tmp_path / "src", TEMPLATE)
    corpus = [str(message["content"]) for one in ASKED.values() for message in one.messages]
    corpus += [f"{role}: {text}\nassistant:" for text in corpus for role in ("system", "user", "assistant", "tool")]
    corpus += [TEMPLATE] + ["\n".join(one) + "\nassistant:" for one in pairwise(corpus)]
    revised = trim_vocab(convert.open(tmp_path / "src"), corpus)
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "tokens, the same under other ids" in done.output


def test_a_trimmed_vocabulary_cuts_the_users_other_words_smaller(tmp_path: Path) -> None:
    with_template(tmp_path / "src", TEMPLATE)
    convert.write(plan_vocabulary(trim_vocab(convert.open(tmp_path / "src"), ["x"])), tmp_path / "out", verify="off")
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "one turn: the same text" in done.output and "since some of its words' tokens were trimmed" in done.output


def test_a_trimmed_vocabulary_that_lost_the_templates_words_is_found(tmp_path: Path) -> None:
    with_template(tmp_path / "src", TEMPLATE)
    (tmp_path / "src/chat_template.jinja").unlink()
    convert.write(plan_vocabulary(trim_vocab(convert.open(tmp_path / "src"), ["x"])), tmp_path / "out", verify="off")
    for name in ("src", "out"):
        (tmp_path / name / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert isinstance(done.exception, VerificationFailed) and "different from token" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("own", [one for one in KINDS if one.chat is not None], ids=str)
def test_chat_check_takes_what_trim_vocab_writes(own: Kind, tmp_path: Path) -> None:
    source(trained(own), tmp_path / "src")
    if template_for(recipe_for(own.family, own.files), own.files) is None:  # its vendor wrote prompts in code
        (tmp_path / "src/chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    convert.write(plan_vocabulary(trim_vocab(convert.open(tmp_path / "src"), ["a lighthouse"])), tmp_path / "out", verify="off")
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert done.exit_code == 0, done.output


def test_a_prompt_that_new_tokens_shorten_is_the_same_text(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "src", rows=760)
    (tmp_path / "src/chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    revised = extend_vocab(convert.open(tmp_path / "src"), Addition(("床头柜",)))
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Chinese: the same text" in done.output and "some of them new" in done.output


def test_a_transplanted_tokenizer_may_cut_the_same_text_otherwise_but_not_its_special_tokens(tmp_path: Path) -> None:
    from tests.tokenizer.small import byte_level
    from tests.vocabulary.models import llama

    template = TEMPLATE.replace("{% endfor %}", "<|end|>{% endfor %}")
    with_template(tmp_path / "src", template)
    for name, end in (("donor", "<|end|>"), ("other", "<|stop|>")):
        value = json.loads(json.dumps(byte_level(900)).replace("<|end|>", end))
        files = {
            "tokenizer.json": json.dumps(value).encode(), "chat_template.jinja": template.encode(),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}).encode(),
        }  # fmt: skip
        llama(tmp_path / name, rows=901, files=files)
        words = ("--donor", tmp_path / name, "--verify", "off")
        from tests.vocabulary.test_extend import run as surgery

        assert surgery("transplant-tokenizer", tmp_path / "src", tmp_path / f"{name}-out", *words).exit_code == 0
    done = run("chat-check", tmp_path / "src", tmp_path / "donor-out")
    assert done.exit_code == 0 and "as another model's tokenizer cuts it" in done.output, done.output
    assert isinstance(run("chat-check", tmp_path / "src", tmp_path / "other-out").exception, VerificationFailed)
