"""generation_config.json: what generate() does when nobody says otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from surgery.errors import listed

NAME = "generation_config.json"
#: settings that only sampling reads
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 50, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
_RANGES = {
    "temperature": (0.0, 100.0), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0), "typical_p": (0.0, 1.0),
    "repetition_penalty": (1e-3, 100.0), "top_k": (0, 10**9), "max_new_tokens": (1, 10**9), "max_length": (1, 10**9),
}  # fmt: skip


@rule(
    "generation-unreadable", "error",
    what="generation_config.json is not JSON",
    why="from_pretrained fails on it, or generates with other settings than the model's makers meant",
    fix="correct it, or copy it from the source model",
    source="transformers 5.23 generation/configuration_utils.py",
)  # fmt: skip
def generation_unreadable(subject: Subject) -> Iterator[Found]:
    if fault := subject.json(NAME).fault:
        yield Found(NAME, fault)


@rule(
    "generation-sampling", "warning",
    what="settings of sampling stand beside do_sample = false",
    why="transformers ignores them with a warning, and refuses to save the settings once any is changed (ValueError)",
    fix="set do_sample to true, or remove the settings (`--fix` removes them)",
    source="transformers 5.23, executed: generation/configuration_utils.py save_pretrained, was_modified",
)  # fmt: skip
def generation_sampling(subject: Subject) -> Iterator[Found]:
    if idle := idle_settings(subject):
        value = subject.json(NAME).value
        yield Found(NAME, f"{listed(f'{key} = {said(value[key])}' for key in idle)} without do_sample")


@rule(
    "generation-range", "error",
    what="a setting of generation is outside its range",
    why="generate() raises, or samples something that nobody meant",
    fix="correct the number",
    source="transformers 5.23 generation/logits_process.py: each processor checks its own",
)  # fmt: skip
def generation_range(subject: Subject) -> Iterator[Found]:
    value = subject.json(NAME).value
    for key, (least, most) in _RANGES.items():
        stated = value.get(key)
        if stated is None:
            continue
        number = isinstance(stated, int | float) and not isinstance(stated, bool)
        if not number or not least <= stated <= most:
            yield Found(NAME, f"{key} is {said(stated)}")


@rule(
    "generation-ids", "error",
    what="generation_config.json names an id that is no row of the embedding",
    why="an end-of-text id that does not exist is never generated: every answer runs to the limit",
    fix="take the ids from the tokenizer",
    source="transformers 5.23 generation",
)  # fmt: skip
def generation_ids(subject: Subject) -> Iterator[Found]:
    value, rows = subject.json(NAME).value, subject.rows
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
        stated = value.get(key)
        for one in stated if isinstance(stated, list) else [stated]:
            if one is None:
                continue
            if not isinstance(one, int) or isinstance(one, bool) or one < 0 or (rows is not None and one >= rows):
                yield Found(NAME, f"{key} is {said(stated)}; the embedding has {rows} rows")
                break


@rule(
    "generation-no-eos", "warning",
    what="nothing says which id ends a text",
    why="generate() then runs to the limit of tokens, whatever the model says",
    fix="state eos_token_id in generation_config.json or config.json",
    source="transformers 5.23 generation; vLLM reads both files",
)  # fmt: skip
def generation_no_eos(subject: Subject) -> Iterator[Found]:
    if subject.kind != "model" or not subject.config or subject.json("config.json").fault:
        return
    generation = subject.json(NAME)
    stated = generation.value.get("eos_token_id") if generation.present else subject.text_config.get("eos_token_id")
    if stated in (None, []) and (generation.present or "eos_token_id" not in subject.text_config):
        yield Found(NAME if generation.present else "config.json", "eos_token_id is not stated")


def idle_settings(subject: Subject) -> list[str]:
    """Settings that have no effect because nothing is sampled, and that are not at their neutral value."""
    value = subject.json(NAME).value
    if value.get("do_sample"):
        return []
    return [key for key in SAMPLING if value.get(key) is not None and value[key] != _NEUTRAL.get(key)]
