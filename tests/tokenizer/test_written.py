"""What a chat template writes, as jinja2 renders it."""

from surgery.tokenizer.chat import render
from surgery.tokenizer.written import answer_end, own_words, prompts

TEMPLATE = (
    "{%- if tools %}{{ 'Tools: ' + (tools | tojson) + '\\n' }}{% endif -%}\n"
    "{%- for m in messages %}{{ '<|' ~ m.role ~ \"|>\\n\" }}{{ m['content'] }}<|end|>\n{% endfor -%}\n"
    "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}{% generation %}{% endgeneration %}"
)
STRICT = "{% if messages[0].role == 'system' or tools %}{{ raise_exception('none') }}{% endif %}{{ messages[-1].content }}[/INST]"


def test_prompts_are_of_conversations_with_and_without_system_tools_and_an_answer_to_come() -> None:
    found = prompts(TEMPLATE, {}, ("one", "two", "three"))
    assert found["one turn"] == "<|user|>\none<|end|>\n<|assistant|>\n"
    assert found["system and three turns"].startswith("<|system|>\nthree<|end|>\n<|user|>\none<|end|>\n<|assistant|>\ntwo")
    assert found["an answer last"].endswith("two<|end|>\n")
    assert found["one turn, tools"].startswith('Tools: [{"type": "function"')
    assert "<|tool|>" in found["a tool's answer"]


def test_a_template_that_refuses_a_conversation_is_asked_for_the_others() -> None:
    found = prompts(STRICT, {}, ("one", "two", "three"))
    assert set(found) == {"one turn", "three turns", "an answer last", "thinking True", "thinking False"}
    assert prompts("{{ raise_exception('never') }}") == {}


def test_a_templates_own_words_are_all_that_it_can_write() -> None:
    words = own_words(TEMPLATE)
    assert {"Tools: ", "\n", "<|", "|>\n", "<|end|>\n", "<|assistant|>\n"} <= set(words)
    assert own_words("{{ 'unclosed }}") == ()
    # what jinja2 renders of a conversation without words is made of them and the roles
    rest = render(TEMPLATE, [{"role": "", "content": ""}])
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    assert rest == ""


def test_the_end_of_an_answer_is_the_special_token_behind_it() -> None:
    assert answer_end(TEMPLATE, {}, ["<|end|>", "<|en"]) == "<|end|>"
    assert answer_end(TEMPLATE, {}, ["<|assistant|>"]) is None
    assert answer_end("{{ raise_exception('never') }}", {}, ["<|end|>"]) is None
