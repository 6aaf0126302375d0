"""The part of a card that is made from facts, and the place between marks where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

from convert.card.exactness import exactness
from convert.checkpoint.documents import is_legal
from convert.report import size
from convert.sizing import needs
from convert.validate.rule import CONSUMERS
from convert.validate.rules import rules
from convert.validate.subject import Subject
from convert.validate.under import Under
from surgery.errors import listed, show
from surgery.model import Artefact

BEGIN = "<!-- weightsmith: from here on made from facts by `weightsmith card`; made again, this part is replaced -->"
END = "<!-- weightsmith: end of the part made from facts -->"
_BEGINS, _ENDS, _CLOSED = "<!-- weightsmith: from here on", "<!-- weightsmith: end of", "-->"
_CONTEXTS = (4096, 32768, 131072)


def merged(body: str, part: str) -> str:
    """The user's own text with the made part in its place: where it stood before, else at the end."""
    begin = body.find(_BEGINS)  # one look for each, so that a text full of beginnings costs no more than another
    ends = body.find(_ENDS, begin) if begin >= 0 else -1
    close = body.find(_CLOSED, ends) if ends >= 0 else -1
    if close >= 0:
        return body[:begin] + part + body[close + len(_CLOSED) :]
    return f"{body.rstrip()}\n\n{part}\n" if body.strip() else f"{part}\n"


def made_part(source: Subject, out: Subject, data: Mapping[str, Any], artefact: Artefact | None, found: Under) -> str:
    """Origin, verification, licence, loading and sizes, as far as each is known; ``found`` are the licences that hold."""
    sections = [
        _section("Origin", _origin(source, out, data)),
        _section("Verification", _verification(out)),
        _section("Licence", _licence(out, data, found)),
        _section("How to load it", _loading(out)),
        _section("Sizes", _sizes(out, artefact)),
    ]
    return "\n\n".join([BEGIN, *filter(None, sections), END])


def _section(title: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines).strip()
    return f"## {title}\n\n{text}" if text else ""


def _origin(source: Subject, out: Subject, data: Mapping[str, Any]) -> Iterator[str]:
    told = out.provenance
    named = data.get("base_model")
    origin = source.folder.repository or (named if isinstance(named, str) else "")
    if not told:
        if origin:
            yield f"Made from `{origin}`."
        return
    come = f"from {f'`{origin}`, ' if origin else ''}the family `{out.source_family}`"
    yield f"Converted by weightsmith {told.get('version')} {come}, to `{told.get('target')}`."
    yield from exactness(told)
    yield from (f"- {step}" for step in told.get("steps") or ())
    if left := told.get("left"):
        yield f"\nNot taken over: {'; '.join(f'{n} ({why})' for why, n in _counted(left))}."


def _counted(left: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for why in sorted(set(left.values())):
        count = sum(reason == why for reason in left.values())
        yield why, f"{count} tensor{'s' if count != 1 else ''}"


def _verification(out: Subject) -> Iterator[str]:
    found = out.provenance.get("verification")
    if isinstance(found, Mapping):
        yield f"{str(found.get('verdict')).capitalize()}: {found.get('proved')}."
        yield f"Both sets of files were run in {found.get('compute')}."
        yield f"Tolerance: {found.get('tolerance')}."
    elif found:
        yield "This conversion was not verified."
    tokenizer = out.provenance.get("tokenizer")
    if isinstance(tokenizer, Mapping):
        yield f"Tokenizer: {tokenizer.get('tokens')} tokens, {tokenizer.get('check')}."


def _licence(out: Subject, data: Mapping[str, Any], found: Under) -> Iterator[str]:
    named = data.get("license_name") if data.get("license") == "other" else data.get("license")
    stated = [str(data.get(key) or "") for key in ("license", "license_name")]
    kept = not found.holding or any(part.terms.accepts(*stated) for part in found.holding)
    if named and kept:
        yield f"The weights stay under their source's licence, `{named}`: converting changes the form, not the terms."
    elif named:
        holding = listed(part.terms.name for part in found.holding)
        yield f"The source's card states `{named}`; the {holding} holds beside it: converting changes the form, not the terms."
    for part in found.parts:
        if part.repository and part.repository != part.base:
            yield f"`{part.base}` was made from `{part.repository}`, whose {part.terms.name} goes on to hold as well."
    if len(found.bases) > 1 and len(found.terms) > 1:
        parts = "; ".join(f"`{part.repository}`: {part.terms.name}" for part in found.parts if part.repository)
        yield f"Parts and their licences: {parts}. The strictest holds for all: {listed(p.terms.name for p in found.holding)}."
    if shown := list(dict.fromkeys(terms.built_with[0] for terms in found.terms if terms.built_with)):
        yield f"**{'. '.join(shown)}.**"
    if out.provenance:
        yield _changed(out)
    files = [name for name in sorted(out.files) if "/" not in name and is_legal(name)]
    if files:
        yield f"Its text: {', '.join(f'[{name}](<{name}>)' for name in files)}."


_MANY = 5  # files of weights that are counted, and not named


def _changed(out: Subject) -> str:
    """What licences want a changed copy to say: that and which files were changed."""
    weights = [str(entry.get("name")) for entry in out.provenance.get("outputs") or ()]
    written = weights if len(weights) < _MANY else [f"the {len(weights)} files of weights"]
    documents = out.provenance.get("documents") or ([out.config_name] if out.config_name in out.files else [])
    names = [*written, *(str(name) for name in documents)]
    return f"Changed files: {listed(names, len(names))} were changed from the source by this conversion (see Origin)."


def _loading(out: Subject) -> Iterator[str]:
    name = out.name or "PATH_OR_REPOSITORY"
    if out.kind != "model":
        return
    remote = ", trust_remote_code=True" if "auto_map" in out.config else ""
    yield "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
    yield f'model = AutoModelForCausalLM.from_pretrained("{name}", dtype="auto"{remote})'
    yield f'tokenizer = AutoTokenizer.from_pretrained("{name}"{remote})\n```\n'
    yield f"```sh\nvllm serve {name}\npython convert_hf_to_gguf.py {name}   # llama.cpp, from a local copy\n```\n"
    for consumer, findings in _limits(out).items():
        yield f"- {consumer}: {'; '.join(findings)}"


def _limits(out: Subject) -> dict[str, list[str]]:
    """What programs refuse or compute differently, by the same rules that `validate --for` asks."""
    found: dict[str, list[str]] = {}
    for rule in rules():
        if rule.consumer in CONSUMERS and any(True for _ in rule.check(out)):
            found.setdefault(rule.consumer, []).append(f"{rule.what} ({rule.why})")
    return found


def _sizes(out: Subject, artefact: Artefact | None) -> Iterator[str]:
    held: dict[str, int] = {}
    for tensor in out.tensors.values():
        held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.nbytes
    count = sum(prod(tensor.shape) for tensor in out.tensors.values())
    types = ", ".join(f"{dtype} {size(n)}" for dtype, n in sorted(held.items(), key=lambda item: -item[1]))
    held_in = f"in {len(out.tensors)} tensors: {types}"
    if artefact is None:
        yield f"{count:,} elements {held_in}.\n"
        return
    parameters = artefact.model.parameters
    yield f"{parameters:,} parameters {held_in if count == parameters else f'({count:,} elements {held_in})'}.\n"
    limit = artefact.model.facts["context"] or _CONTEXTS[0]
    contexts = sorted({min(context, limit) for context in _CONTEXTS})
    yield "Memory without activations, for one sequence:\n"
    yield f"| use | {' | '.join(f'{context:,} tokens' for context in contexts)} |"
    yield f"|---|{'---:|' * len(contexts)}"
    columns = [needs(artefact, context) for context in contexts]
    for rows in zip(*columns, strict=True):
        yield f"| {rows[0].use} | {' | '.join(size(row.total) for row in rows)} |"


def safe_title(name: str) -> str:
    """A name for a heading, without what Markdown or a terminal would take for more."""
    return name if re.fullmatch(r"[\w .+-]{1,96}", name) else show(name, 96)
