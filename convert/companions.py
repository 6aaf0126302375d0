"""The documents beside the weights, compared by what they mean: tokenizer, chat template, settings of generation.

Tokenizers are built as the library builds them, in a process of its own, bounded in time and memory and without a
repository's code; texts and conversations go through both. What could not be compared is said to be so, each by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import convert.children as children
from convert.checkpoint import Checkpoint, read_json
from convert.claims import Compared
from convert.edits.tokens import tokenizer_names
from convert.tokenizing import has_tokenizer
from convert.verification.verdict import Finding, Status
from mappings.token_keys import renumbered
from surgery.errors import ConversionError, listed, show

_SECONDS = 300.0
_MEMORY = 6 << 30  # bytes that libraries may map for two tokenizers
_UNSAID = ("transformers_version", "_from_model_config", "trust_remote_code")
_LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")
_NAMING = ("bos_token_id", "pad_token_id", "decoder_start_token_id")
#: settings that say nothing unless tokens are drawn
_DRAWING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
#: what the library does where nothing is said (GenerationConfig of transformers 5.23)
_DEFAULTS: Mapping[str, Any] = {
    "do_sample": False, "num_beams": 1, "num_return_sequences": 1, "temperature": 1.0, "top_k": 50, "top_p": 1.0,
    "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "repetition_penalty": 1.0, "length_penalty": 1.0,
    "diversity_penalty": 0.0,
    "no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "use_cache": True, "early_stopping": False,
    "num_beam_groups": 1,
    "renormalize_logits": False, "remove_invalid_values": False, "output_scores": False, "output_logits": False,
    "output_attentions": False, "output_hidden_states": False, "return_dict_in_generate": False,
}  # fmt: skip


def differences(source: Checkpoint, output: Checkpoint, compared: Compared) -> tuple[Finding, ...]:
    """Every difference between the documents of both sides, and what was not compared."""
    return (*_tokenizers(source, output, compared), *_generation(source, output, compared))


def _tokenizers(source: Checkpoint, output: Checkpoint, compared: Compared) -> Iterator[Finding]:
    sides = {"the source": source, "the output": output}
    lacking = [name for name, side in sides.items() if not has_tokenizer(tokenizer_names(side))]
    if len(lacking) == 2:
        return
    if lacking:
        yield _not_compared("tokenizer", f"{lacking[0]} has none")
        yield _not_compared("chat template", f"{lacking[0]} has no tokenizer")
        return
    vague = [name for name, side in sides.items() if not _says_enough(side)]
    told = _built(source, output) if not vague else {"because": f"{vague[0]} does not say how its vocabulary is used"}
    if "because" in told:
        yield _not_compared("tokenizer", told["because"])
        yield _not_compared("chat template", told["because"])
        return
    yield from _ids(told, compared)
    yield from _texts(told, compared)
    yield from _skipped(told, compared)
    yield from _prompts(told, compared)


def _says_enough(checkpoint: Checkpoint) -> bool:
    """Whether a library knows what to build: of a bare SentencePiece model each builds another tokenizer."""
    found = checkpoint.documents.get("tokenizer_config.json")
    try:
        return "tokenizer.json" in checkpoint.documents or (found is not None and "tokenizer_class" in read_json(found))
    except ConversionError:
        return False


def _built(source: Checkpoint, output: Checkpoint) -> dict[str, Any]:
    """What the process told: texts, ids and prompts of each side, and who built them; or why not."""
    task = {"folders": [str(source.path), str(output.path)], "memory": _MEMORY}
    try:
        with children.offline() as env:
            done = children.run("convert.companions_process:main", task, env=env, seconds=_SECONDS)
        answer = done.answer("builds both tokenizers")
    except children.TooLong:
        return {"because": f"building both did not end within {_SECONDS:.0f} seconds"}
    except (ConversionError, children.Crashed) as refusal:  # a limit of memory, a file that kills the library
        return {"because": str(refusal)}
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])  # the library may print before it
    return found


def _ids(told: Mapping[str, Any], compared: Compared) -> Iterator[Finding]:
    """Texts whose ids differ; those that the output cuts with tokens of its own are counted apart."""
    number = dict(zip(*compared.shared, strict=True)) if compared.shared is not None else None
    known = set(number.values()) if number is not None else None
    apart, cut, own = [], 0, 0
    for at, (text, one, other) in enumerate(zip(told["texts"], *told["ids"], strict=True)):
        expected = _numbered(one, number)
        if expected == other:
            continue
        if _as_the_file_says(told, at, other, number):
            own += 1
            continue
        if known is not None and (-1 in expected or not known.issuperset(other)) and compared.elsewhere:
            cut += 1
            continue
        apart.append((text, one, other))
    count = len(told["texts"])
    if apart:
        text, one, other = apart[0]
        why = f"{len(apart)} of {count} texts are cut otherwise by {told['runner']}, {show(text, 60)} for one"
        yield Finding("tokenizer", _few(one), _few(other), "fails", why)
    elif own:
        why = f"{own} of {count} texts are cut as the source's own file says, and {told['runner']} reads that file otherwise"
        yield Finding("tokenizer", "", "", "warns", why)
    elif cut:
        why = f"{cut} of {count} texts are cut with tokens that only one side has; the others have the ids they had"
        yield Finding("tokenizer", "", "", "warns", why)


def _texts(told: Mapping[str, Any], compared: Compared) -> Iterator[Finding]:
    """Texts that come back from equal ids, but not as they come back from the source's."""
    number = dict(zip(*compared.shared, strict=True)) if compared.shared is not None else None
    apart = []
    for text, one, other, before, after in zip(told["texts"], *told["ids"], *told["decoded"], strict=True):
        back, again = (each.strip(" ") for each in (before, after))  # at its ends, each class has a rule of its own
        if _numbered(one, number) == other and back != again and again != text.strip(" "):
            apart.append((text, back, again))
    if apart:
        text, back, again = apart[0]
        why = f"{len(apart)} of {len(told['texts'])} texts come back otherwise from their ids, {show(text, 60)} for one"
        yield Finding("decoded text", show(back, 60), show(again, 60), "fails", why)


def _skipped(told: Mapping[str, Any], compared: Compared) -> Iterator[Finding]:
    """Tokens that decoded text, special tokens left out, has on one side only."""
    number = dict(zip(*compared.shared, strict=True)) if compared.shared is not None else None
    before, after = ({int(token): name for token, name in side.items()} for side in told["skipped"])
    moved = {token if number is None else number.get(token): name for token, name in before.items()}
    both = after.keys() if number is None else set(number.values())
    shown = [name for token, name in moved.items() if token is not None and token not in after]
    hidden = [name for token, name in after.items() if token in both and token not in moved]
    if shown or hidden:
        stays, goes = (listed(map(show, names), 3) for names in (shown, hidden))
        why = f"text decoded without special tokens has {stays} now" if shown else f"text is decoded without {goes} now"
        yield Finding("special tokens", f"{len(before)} left out", f"{len(after)} left out", "fails", why)


def _as_the_file_says(told: Mapping[str, Any], at: int, ids: list[int], number: Mapping[int, int] | None) -> bool:
    """Whether the output cuts a text as the source's tokenizer.json or SentencePiece model does by itself."""
    whole, bare = told["own"].get("whole"), told["own"].get("bare")
    if whole is not None and _numbered(whole[at], number) == ids:
        return True
    before, after = (side[told["texts"].index("")] for side in told["ids"])  # what stands around nothing
    framed = _numbered(before, number) == after and ids[: len(after)] == after
    return bare is not None and framed and _numbered(bare[at], number) == ids[len(after) :]


def _numbered(ids: list[int], number: Mapping[int, int] | None) -> list[int]:
    """Ids of the source as the output numbers them."""
    return ids if number is None else [number.get(token, -1) for token in ids]


def _prompts(told: Mapping[str, Any], compared: Compared) -> Iterator[Finding]:
    if told["prompts"] is None:
        yield _not_compared("chat template", f"{told['runner']} renders none")
        return
    one, other = told["prompts"]
    if one is None and other is None:
        return
    if one is None:
        yield _not_compared("chat template", "the source has none, so that its prompt is described elsewhere")
        return
    if other is None:
        yield Finding("chat template", "one", "", "fails", "conversations can no longer be put into a prompt")
        return
    apart = [name for name in one if one[name] != other.get(name) and not (_refused(one[name]) and _refused(other.get(name)))]
    if apart:
        name = apart[0]
        status: Status = "warns" if compared.elsewhere else "fails"
        why = f"{len(apart)} of {len(one)} conversations become another prompt ({listed(apart, 3)})"
        yield Finding("chat template", show(one[name], 60), show(other[name], 60), status, why)


def _refused(prompt: Any) -> bool:
    return isinstance(prompt, Mapping)


def _generation(source: Checkpoint, output: Checkpoint, compared: Compared) -> Iterator[Finding]:
    """How generation goes on and where it stops: generation_config.json, and config.json where that says nothing."""
    if output.config_name != "config.json" or source.config_name != "config.json":
        return  # files of another kind, which have no such settings
    try:
        one, other = (_settings(side) for side in (source, output))
    except ConversionError as refusal:
        yield _not_compared("generation", str(refusal))
        return
    if one is None and other is None:
        return
    number = dict(zip(*compared.shared, strict=True)) if compared.shared is not None else {}
    theirs, ours = _effective(renumbered(one or {}, number).settings if number else one or {}), _effective(other or {})
    stops = [_stops(one, source.config), _stops(other, output.config)]
    before = {number.get(token, token) for token in stops[0] if token in number or not compared.asked.parts}
    if lost := before - set(stops[1]):
        yield Finding("end of generation", show(stops[0]), show(stops[1]), "fails",
                      f"generation would not end at {listed(sorted(lost), 3)}, where it did")  # fmt: skip
    elif more := set(stops[1]) - before:
        yield Finding("end of generation", show(stops[0]), show(stops[1]), "warns",
                      f"generation ends at {listed(sorted(more), 3)} too")  # fmt: skip
    for key in sorted({*theirs, *ours} - {"eos_token_id"}):
        default = _DEFAULTS.get(key)
        said, says = theirs.get(key, default), ours.get(key, default)
        if said == says or (number and key in _NAMING):  # another tokenizer's own, where ids have moved
            continue
        mild = key in (*_NAMING, *_LENGTHS) or other is None
        why = "the output has no generation_config.json" if other is None else "generation comes out otherwise"
        yield Finding(f"generation: {show(key)[1:-1]}", show(said), show(says), "warns" if mild else "fails", why)


def _settings(checkpoint: Checkpoint) -> dict[str, Any] | None:
    found = checkpoint.documents.get("generation_config.json")
    return read_json(found) if found is not None else None


def _effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have an effect."""
    idle = _DRAWING if not settings.get("do_sample") else ()
    return {key: value for key, value in settings.items() if value is not None and key not in (*_UNSAID, *idle)}


def _stops(settings: Mapping[str, Any] | None, config: Mapping[str, Any]) -> list[int]:
    """Where generation ends: the library asks config.json only where there is no generation_config.json at all."""
    return _listed((config if settings is None else settings).get("eos_token_id"))


def _listed(ids: Any) -> list[int]:
    several = ids if isinstance(ids, list) else [ids]
    return [one for one in several if isinstance(one, int) and not isinstance(one, bool)]


def _few(ids: Sequence[int]) -> str:
    return show(list(ids), 60)


def _not_compared(fact: str, because: str) -> Finding:
    return Finding(fact, "", "", "warns", f"not compared: {because}")
