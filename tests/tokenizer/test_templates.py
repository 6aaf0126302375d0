"""Templates of strangers: rendered as the library renders them, and never for longer or in more memory than a prompt needs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from unittest import mock

import pytest

from convert.conversations import ASKED
from convert.templates import Answer, Conversation, Refused, answer
from mappings.chat import names, template
from surgery.tokenizer.chat import MOMENT

_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "documents": None}
_LOOP = "{% for m in messages %}BODY{% endfor %}{% if add_generation_prompt %}A:{% endif %}"

#: a template for each thing that the library's environment has, and that templates of published models use
FEATURES = {
    "generation": _LOOP.replace("BODY", "{% generation %}{{ m.role }}{{ m.content }}{% endgeneration %}"),
    "what a generation block sets ends with it":
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "a generation block within a loop reads its variable": _LOOP.replace(
        "BODY", "{%- generation -%}{{ loop.index }}{{ m.content }}{%- endgeneration -%}"
    ),
    "strftime_now": "{{ strftime_now('%d %b %Y') }}" + _LOOP,
    "strftime_now asked for": "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%dT%H:%M') }}{% endif %}",
    "break": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "continue": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "tojson": "{{ messages | tojson }}",
    "tojson of Chinese": "{{ '看' | tojson }}{{ '看' | tojson(ensure_ascii=True) }}",
    "tojson with marks of HTML": "{{ '<a href=\"x\">&\\'</a>' | tojson }}",
    "tojson indented": "{{ tools | tojson(indent=4) }}",
    "tojson with separators": "{{ messages | tojson(separators=(',', ':')) }}",
    "tojson sorted": "{{ tools | tojson(sort_keys=true) }}",
    "namespace":
        "{% set ns = namespace(n=0, self=1) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
        "{{ ns.n }}{{ ns.self }}",
    "namespace with an underscore": "{% set ns = namespace(_n=0) %}{{ ns }}",
    "namespace given an underscore": "{% set ns = namespace() %}{% set ns._n = 1 %}x",
    "dict": "{{ dict(a=1, b=2) }}{{ dict.fromkeys(['a'], 1) }}",
    "dict's own class": "{{ dict.mro() }}",
    "a subscript that is a class": "{{ ''.__class__ }}{{ messages.__len__ }}",
    "a list that is changed": "{{ messages.append(1) }}",
    "raise_exception": "{{ raise_exception('no') }}",
    "undefined": "{{ nothing }}|{% if nothing %}{% endif %}",
    "an undefined attribute": "{{ nothing.more }}",
    "tools are there": "{{ tools is defined }}{{ tools is none }}{{ documents is defined }}{{ documents is none }}",
    "the tokens of the tokenizer": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}",
    "spaces of blocks": "  {% if true %}\n  x\n  {% endif %}\n{{- 'y' }}\n",
    "no escapes": "{{ '<b>&' }}{{ '<b>&' | e }}",
    "filters":
        "{{ ['b', 'a'] | sort | join(',') | upper | replace('A', 'x') | trim }}"
        "{{ messages | map(attribute='role') | list }}",
    "selectattr":
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ messages | rejectattr('role', 'eq', 'user') | list }}",
    "methods of texts":
        "{{ ' ab '.strip() }}{{ 'ab'.startswith('a') }}{{ 'a-b'.split('-')[-1] }}{{ 'x'.format(1) }}{{ '%s' % 1 }}",
    "macros":
        "{% macro f(x, y=2) %}{{ x }}{{ y }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ f(1) }}"
        "{% call f(3) %}z{% endcall %}",
    "tests": "{{ 'a' is string }}{{ 1 is number }}{{ messages is iterable }}{{ messages[0] is mapping }}{{ 1 is divisibleby 2 }}",
    "slices": "{{ messages[1:] | length }}{{ messages[::-1][0].content }}{{ 'abc'[-2:] }}",
    "recursion of loops": "{% for m in [[1, [2]]] recursive %}{{ loop(m) if m is iterable else m }}{% endfor %}",
    "groupby": "{% for role, some in messages | groupby('role') %}{{ role }}{{ some | length }}{% endfor %}",
    "do": "{% do messages.count(1) %}",
    "i18n": "{% trans %}x{% endtrans %}",
    "thoughts": "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }}{% endfor %}",
    "calls":
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
    "items": "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "the last message": "{% if messages[-1].role == 'assistant' %}{{ messages[-1].content | trim }}{% endif %}",
    "content that is trimmed": _LOOP.replace("BODY", "<{{ m.content | trim }}>"),
    "content that is left out": _LOOP.replace("BODY", "{% if not loop.last %}{{ m.content }}{% endif %}"),
    "a range too large for the sandbox": "{{ range(1000000) | length }}",
    "lipsum's kind": "{{ cycler('a', 'b').next() }}{{ joiner(',')() }}",
    "line statements are none": "# for m in messages\n{{ messages | length }}\n## x\n",
    "a comment": "{# x #}\n{{ 1 }}\n",
}  # fmt: skip


class _Then(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return MOMENT


def theirs(text: str, one: Conversation) -> str | None:
    """What transformers makes of it; None where it refuses."""
    from transformers.utils import chat_template_utils as library

    with mock.patch.object(library, "datetime", _Then):
        try:
            found, _ = library.render_jinja_template(
                [[dict(message) for message in one.messages]], chat_template=text,
                **json.loads(json.dumps(one.options())), **_NAMES,
            )  # fmt: skip
        except Exception:
            return None
    return str(found[0])


def ours(text: str, told: Answer) -> list[str | None]:
    return [None if isinstance(one, Refused) else one for one in told.prompts]


@pytest.mark.parametrize("text", [*FEATURES.values(), *map(template, names())], ids=[*FEATURES, *names()])
def test_a_prompt_is_what_the_library_renders(text: str) -> None:
    asked = list(ASKED.values())
    found = ours(text, answer(text, asked, _NAMES))
    assert dict(zip(ASKED, found, strict=True)) == {name: theirs(text, one) for name, one in ASKED.items()}


def test_most_features_give_a_prompt_and_so_are_compared() -> None:
    refused = [name for name, text in FEATURES.items() if theirs(text, ASKED["one turn"]) is None]
    assert set(refused) == {
        "namespace with an underscore", "namespace given an underscore", "dict's own class", "a list that is changed",
        "raise_exception", "an undefined attribute", "do", "i18n", "a range too large for the sandbox",
    }  # fmt: skip


#: programs that a sandbox lets run
ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long text": "{{ 'x' * 4000000000 }}",
    "a long text made of what is said": "{{ messages[0].content * 4000000000 }}",
    "doubling": "{% set ns = namespace(s='xy') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "a macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a large number": "{{ (messages | length + 9) ** 100000000 }}",
    "a wide number": "{{ '%0999999999d' % messages | length }}",
    "padding": "{{ 'x' | center(3000000000) }}",
    "many messages": "{{ (messages * 1000000000) | length }}",
    "much output": "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ENDLESS.items()])
def test_a_template_without_end_is_refused_within_its_limits(text: str) -> None:
    import convert.templates as templates

    plain = [one for one in ASKED.values() if one.plain]
    told = templates._asked.__wrapped__(
        json.dumps({
            "template": text, "names": {}, "specials": ["<s>"],
            "conversations": [{"messages": list(one.messages), **one.options()} for one in plain],
        })
    )  # fmt: skip
    whys = [told.fault] if told.fault else [one.why for one in told.prompts if isinstance(one, Refused)]
    assert told.fault or len(whys) == len(plain)
    assert all(any(word in why for word in ("did not end", "memory", "characters", "recursion")) for why in whys), whys


def test_a_step_that_no_signal_interrupts_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.templates._START", 0.0)
    monkeypatch.setattr("convert.templates._PATIENCE", 0.5)
    told = answer("{{ (messages | length + 8) ** 100000000 }}", [ASKED["one turn"]])
    (only,) = told.prompts
    assert isinstance(only, Refused) and "did not end" in only.why


def test_chance_and_time_are_the_same_whenever_a_template_is_rendered() -> None:
    import convert.templates as templates

    text = "{{ range(1000) | random }} {{ strftime_now('%H:%M:%S') }}"
    first = answer(text, [ASKED["one turn"]]).prompts
    templates._asked.cache_clear()
    assert answer(text, [ASKED["one turn"]]).prompts == first == (f"{str(first[0]).split()[0]} 12:30:00",)
