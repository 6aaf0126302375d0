"""config.json by itself: readable, complete, and free of what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convert.checkpoint.names import printed
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from surgery.errors import listed

_NUMBERS = (
    "rope_theta", "rms_norm_eps", "layer_norm_epsilon", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim", "max_position_embeddings",
    "bos_token_id", "pad_token_id",
)  # fmt: skip


@rule(
    "config-unreadable", "error",
    what="the config is not JSON that every parser reads the same way",
    why="duplicate keys, NaN or a byte order mark make parsers fail or disagree",
    fix="correct it, or copy it from the source model again",
    source="RFC 8259; convert.checkpoint.documents.parse_json",
)  # fmt: skip
def config_unreadable(subject: Subject) -> Iterator[Found]:
    if subject.kind != "single" and (fault := subject.json(subject.config_name).fault):
        yield Found(subject.config_name, fault)


@rule(
    "config-architectures", "error",
    what="the config does not name its class or its model_type",
    why="vLLM chooses the model by architectures, transformers by model_type; without them neither loads it",
    fix="add both as the class's own configs have them",
    source="vLLM model_executor/models/registry.py; transformers 5.23 AutoConfig",
)  # fmt: skip
def config_architectures(subject: Subject) -> Iterator[Found]:
    if subject.kind != "model" or not subject.config:
        return
    named = subject.config.get("architectures")
    if not (isinstance(named, list) and named and all(isinstance(name, str) for name in named)):
        yield Found("config.json", f"architectures is {said(named)}")
    if not subject.config.get("model_type") and "auto_map" not in subject.config:
        yield Found("config.json", f"model_type is {said(subject.config.get('model_type'))}")


@rule(
    "config-contradiction", "error",
    what="the config states what cannot be",
    why="a key is missing, has a value of the wrong kind, or two of them exclude each other",
    fix="correct the key",
    source="the family's table in mappings/",
)  # fmt: skip
def config_contradiction(subject: Subject) -> Iterator[Found]:
    if subject.expected.contradiction and subject.config and not _uneven(subject):
        yield Found(subject.config_name, subject.expected.contradiction)


@rule(
    "config-unread-key", "note",
    what="the config has keys that the family's table does not know",
    why="a key that changes what the model computes would be lost on a conversion",
    fix="nothing, if you know the key to be harmless; otherwise tell us which code reads it",
    source="the family's table in mappings/",
)  # fmt: skip
def config_unread_key(subject: Subject) -> Iterator[Found]:
    if subject.expected.unread:
        yield Found(subject.config_name, subject.expected.unread)


@rule(
    "config-heads", "error",
    what="the attention heads do not divide the width, or the key-value heads not the heads",
    why="no class can split the projections, and transformers 5 refuses the config",
    fix="correct num_attention_heads, num_key_value_heads or hidden_size, or state head_dim",
    source="transformers 5.23 models/llama/configuration_llama.py validation, executed",
)  # fmt: skip
def config_heads(subject: Subject) -> Iterator[Found]:
    yield from (Found(subject.config_name, line) for line in _uneven(subject))


@rule(
    "config-number-as-text", "error",
    what="a number in the config is written as text",
    why="transformers 5 takes it unchecked and fails, or computes with something else, later",
    fix="remove the quotation marks",
    source="transformers 5.23, executed: a rope_theta of \"10000\" passes the config's checks",
)  # fmt: skip
def config_number_as_text(subject: Subject) -> Iterator[Found]:
    wrong = [key for key in _NUMBERS if isinstance(subject.text_config.get(key), str)]
    if wrong:
        yield Found(subject.config_name, f"{listed(f'{key} = {said(subject.text_config[key])}' for key in wrong)}")


@rule(
    "auto-map-dangling", "error",
    what="auto_map names code that is not in the repository",
    why="loading with trust_remote_code fails, and without it the model's class is unknown",
    fix="remove auto_map if the class is in transformers, or add the files",
    source="transformers 5.23 dynamic_module_utils.py",
)  # fmt: skip
def auto_map_dangling(subject: Subject) -> Iterator[Found]:
    for name in (subject.config_name, "tokenizer_config.json"):
        absent = sorted({ref for ref in references(subject.json(name).value) if ref not in subject.files})
        if absent:
            yield Found(name, f"auto_map names {listed(map(printed, absent))}, not in the repository")


@rule(
    "special-ids", "error",
    what="a special id in the config is no row of the embedding",
    why="generation reads outside the matrix, or never stops; a negative pad id breaks the embedding",
    fix="correct the id, or remove the key",
    source="torch.nn.Embedding padding_idx; transformers generation",
)  # fmt: skip
def special_ids(subject: Subject) -> Iterator[Found]:
    rows = subject.rows
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        stated = subject.text_config.get(key)
        for one in stated if isinstance(stated, list) else [stated]:
            if isinstance(one, int) and not isinstance(one, bool) and (one < 0 or (rows is not None and one >= rows)):
                yield Found(subject.config_name, f"{key} is {one}; the embedding has {rows} rows")
            elif one is not None and (not isinstance(one, int) or isinstance(one, bool)):
                yield Found(subject.config_name, f"{key} is {said(stated)}")


def references(config: Any) -> Iterator[str]:
    """The .py files of its own repository that a config's auto_map names."""
    table = config.get("auto_map") if isinstance(config, dict) else None
    values = table.values() if isinstance(table, dict) else table if isinstance(table, list) else ()
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and "--" not in one and "." in one:
                yield f"{one.partition('.')[0]}.py"


def _uneven(subject: Subject) -> list[str]:
    config = subject.text_config
    width, heads, kv = (_positive(config.get(k)) for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    told = []
    if width and heads and width % heads and config.get("head_dim") is None:
        told.append(f"hidden_size {width} is not divisible by num_attention_heads {heads}, and there is no head_dim")
    if heads and kv and heads % kv:
        told.append(f"num_attention_heads {heads} is not divisible by num_key_value_heads {kv}")
    return told


def _positive(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
