"""config.json by itself: readable, complete, and free of what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convert.checkpoint.names import printed
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from mappings import families
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
    "config-contradiction", "error", needs="table",
    what="the config states what cannot be",
    why="a key is missing, has a value of the wrong kind, or two of them exclude each other",
    fix="correct the key",
    source="the family's table in mappings/",
)  # fmt: skip
def config_contradiction(subject: Subject) -> Iterator[Found]:
    if subject.expected.contradiction and subject.config and not _uneven(subject):
        yield Found(subject.config_name, subject.expected.contradiction)


@rule(
    "config-unread-key", "note", needs="table",
    what="the config has keys that the family's table does not know",
    why="a key that changes what the model computes would be lost on a conversion",
    fix="nothing, if you know the key to be harmless; otherwise tell us which code reads it",
    source="the family's table in mappings/",
)  # fmt: skip
def config_unread_key(subject: Subject) -> Iterator[Found]:
    if subject.expected.unread:
        yield Found(subject.config_name, subject.expected.unread)


@rule(
    "config-layer-types", "error",
    what="a list with one entry for every layer has another number of entries than there are layers",
    why="transformers 5 refuses the config whatever its class, also where the class does not read the list",
    fix="give the list as many entries as num_hidden_layers, or remove it",
    source="transformers 5.23 configuration_utils.py validate_layer_type, executed; optipfair #20",
)  # fmt: skip
def config_layer_types(subject: Subject) -> Iterator[Found]:
    config = subject.text_config
    key = next((key for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config), "")
    count = config.get(key)
    for name in ("layer_types", "mlp_layer_types"):
        listed_ = config.get(name)
        if isinstance(listed_, list) and isinstance(count, int) and len(listed_) != count:
            yield Found(subject.config_name, f"{name} has {len(listed_)} entries, {key} is {count}")


@rule(
    "config-class", "error",
    what="architectures names a class that these weights or this model_type do not belong to",
    why="transformers builds the class of model_type, vLLM the one in architectures: another model, or a head of random "
    "numbers",
    fix="name the class that the weights were saved from",
    source="transformers 5.23 AutoConfig and the heads of its generic classes, executed; vLLM registry.py",
)  # fmt: skip
def config_class(subject: Subject) -> Iterator[Found]:
    stated, named = subject.config.get("model_type"), subject.config.get("architectures")
    if subject.kind != "model" or not isinstance(named, list) or not isinstance(stated, str) or not stated:
        return
    for name in (one for one in named if isinstance(one, str)):
        types = {f.model_type for f in families() if name == f.architecture}
        types |= {f.recognise.model_type or stated for f in families() if name in f.recognise.architectures}
        if types and stated not in types and "auto_map" not in subject.config:
            yield Found("config.json", f"{name} is the class of {listed(sorted(types))}, model_type is {said(stated)}")
        if missing := _headless(subject, name):
            yield Found("config.json", missing)


#: what the generic classes of a family are called behind its stem, and what their heads hold
_HEADS = {
    "Model": (),
    "ForSequenceClassification": ("score.weight", "classifier.weight"),
    "ForTokenClassification": ("score.bias", "classifier.bias"),
    "ForQuestionAnswering": ("qa_outputs.weight",),
}


def _headless(subject: Subject, name: str) -> str:
    """What a class has beside the decoder and no file holds, or what a file holds and the bare decoder has not."""
    stems = {f.architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel") for f in families()} - {""}
    kind = next((name.removeprefix(s) for s in stems if name.removeprefix(s) in _HEADS and name.startswith(s)), "")
    if not kind or not subject.whole:
        return ""
    own = _HEADS[kind]
    if own and not any(head in subject.tensors for head in own):
        return f"{name} has the head {own[0]}, which no file holds"
    others = [head for heads in (("lm_head.weight",), *_HEADS.values()) for head in heads if head in subject.tensors]
    return f"{name} has no place for {others[0]}, which is stored" if others and not own else ""


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
    why="generation reads outside the matrix, or never stops, and with such a pad id the class is not even built",
    fix="correct the id, or remove the key",
    source="torch.nn.Embedding padding_idx; transformers generation",
)  # fmt: skip
def special_ids(subject: Subject) -> Iterator[Found]:
    rows = subject.rows
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        stated = subject.text_config.get(key)
        for one in stated if isinstance(stated, list) else [stated]:
            least = -(rows or 0) if key == "pad_token_id" else 0  # torch counts a negative padding_idx from the end
            if isinstance(one, int) and not isinstance(one, bool) and (one < least or (rows is not None and one >= rows)):
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
