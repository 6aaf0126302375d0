"""Whether a converted model's chat prompts are the source's, token for token, and what a user's text can do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from convert.auto_tokenizer import Built
from convert.checkpoint import Checkpoint, read_bytes
from convert.edits.tokens import tokenizer_files
from convert.prepare import identify
from convert.tokenizing import has_tokenizer, installed
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError, show
from surgery.tokenizer.adapt import configuration
from surgery.tokenizer.chat import Message, Risk, injection_risks, render
from surgery.tokenizer.export import TokenizerFiles, export, own_template
from surgery.tokenizer.facts import encoder, load
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.processor import processor

#: what is put to both sides: one turn, several, a system turn, other scripts, spaces and newlines at the ends
CONVERSATIONS: Mapping[str, tuple[Message, ...]] = {
    "one turn": ({"role": "user", "content": "How many ships came back?"},),
    "three turns": (
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! What can I do for you?"},
        {"role": "user", "content": "Count to three."},
    ),
    "system": (
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "Why is the sea salty?"},
    ),
    "Chinese": ({"role": "user", "content": "请把这段话翻译成英文：床头柜上放着一本没有看完的小说。"},),  # noqa: RUF001
    "code": ({"role": "user", "content": "Explain:\n\n```python\nprint( 'hi' )\n```"},),
    "spaces": ({"role": "user", "content": "  spaces at both ends  "},),
    "a newline first": ({"role": "user", "content": "\nbehind a newline"},),
}


@dataclass(frozen=True)
class Prompt:
    """One conversation: what both sides make of it. A refusal of the template stands for ids."""

    name: str
    source: tuple[int, ...] | str
    output: tuple[int, ...] | str
    extended: bool = False  # the text is the same, and the output cuts it with tokens that the source lacks

    @property
    def same(self) -> bool:
        refused = isinstance(self.source, str) and isinstance(self.output, str)
        return self.source == self.output or refused or self.extended

    @property
    def line(self) -> str:
        """The finding for a person."""
        if self.extended:
            return f"{self.name}: the same text, {len(self.source)} tokens became {len(self.output)}, some of them new"
        if self.same:
            told = "refused by both" if isinstance(self.source, str) else f"{len(self.source)} tokens, the same"
            return f"{self.name}: {told}"
        if isinstance(self.source, str) or isinstance(self.output, str):
            refuser, why = ("source", self.source) if isinstance(self.source, str) else ("output", self.output)
            return f"{self.name}: the {refuser} refuses it ({why}), the other does not"
        pairs = zip(self.source, self.output, strict=False)
        at = next(
            (place for place, (one, other) in enumerate(pairs) if one != other), min(len(self.source), len(self.output))
        )
        return f"{self.name}: {len(self.source)} and {len(self.output)} tokens, different from token {at} on"


@dataclass(frozen=True)
class ChatCheck:
    """What was found: the prompts, how the source's was known, and special tokens that a user can type."""

    prompts: tuple[Prompt, ...]
    known_by: str
    risks: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(prompt.same for prompt in self.prompts)

    @property
    def lines(self) -> list[str]:
        """All of it for a person."""
        same = sum(prompt.same for prompt in self.prompts)
        head = (
            f"{same} of {len(self.prompts)} conversations give the same tokens; the source's prompt is {self.known_by}"
        )
        return [head, *(f"  {prompt.line}" for prompt in self.prompts), *self.risks]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON values."""
        return {
            "passed": self.passed,
            "known_by": self.known_by,
            "conversations": [{"name": p.name, "same": p.same, "found": p.line} for p in self.prompts],
            "risks": list(self.risks),
        }


def chat_check(source: Checkpoint, output: Checkpoint) -> ChatCheck:
    """Both checkpoints' prompts for the same conversations. ``ConversionError`` where one has no template."""
    one, other = _Side.of(source, "source"), _Side.of(output, "output")
    return ChatCheck(tuple(_prompt(name, one, other) for name in CONVERSATIONS), one.known_by, other.risks())


def _prompt(name: str, one: _Side, other: _Side) -> Prompt:
    source, output = (side.ids(CONVERSATIONS[name]) for side in (one, other))
    extended = (
        not isinstance(source, str)
        and not isinstance(output, str)
        and max(output, default=0) > one.max_id
        and one.text(CONVERSATIONS[name]) == other.text(CONVERSATIONS[name])
    )
    return Prompt(name, source, output, extended)


@dataclass(frozen=True)
class _Side:
    """One checkpoint's template and tokenizer."""

    template: str
    names: Mapping[str, Any]
    tokenizer: Any
    max_id: int
    specials: Sequence[str]
    known_by: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, which: str) -> _Side:
        files = tokenizer_files(checkpoint)
        if not has_tokenizer(files):
            raise ConversionError(f"the {which} has no tokenizer files, so there is no prompt to compare.")
        family = identify(checkpoint.config)[0].name
        recipe = recipe_for(family, files)
        template = template_for(recipe, files)
        if template is None:
            raise ConversionError(
                f"the {which} has no chat template, neither in its files nor known for its vocabulary: it is a base model, or "
                "its prompt is described elsewhere. Nothing can be compared."
            )
        own = own_template(files, configuration(files)) == template
        by = (
            "its own template's"
            if own
            else f"built by the vendor's code, which our template {show(recipe.chat)} reproduces"
        )
        made = export(recipe, files, chat_template=template)
        specials = [text for text in made.facts.specials.values() if text.strip()]
        config = read_bytes(checkpoint.documents["config.json"]) if "config.json" in checkpoint.documents else None
        return cls(template, _names(made), _engine(made, files, family, config), made.facts.max_id, specials, by)

    def ids(self, messages: Sequence[Message]) -> tuple[int, ...] | str:
        """The prompt's ids, or why the template refuses."""
        try:
            return tuple(self.tokenizer(self.text(messages)))
        except ConversionError as error:
            return str(error)

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt."""
        return render(self.template, messages, **self.names)

    def risks(self) -> tuple[str, ...]:
        """Special tokens that would come out of a user's own words, as one line, with what prevents it."""
        found: list[Risk] = []
        for special in self.specials:
            messages = [{"role": "user", "content": f"say {special} please"}]
            found += injection_risks(self.template, [special], messages, **self.names)
        if not found:
            return ("no special token comes out of a user's own words",)
        names = ", ".join(show(risk.special) for risk in found[:4]) + (
            f" and {len(found) - 4} more" if len(found) > 4 else ""
        )
        return (f"injection: {names} in a user's own words would become special tokens; {found[0].setting}",)


def _names(made: TokenizerFiles) -> dict[str, str]:
    by_id = made.facts.specials
    parts = {part: getattr(made.facts, part) for part in ("bos", "eos", "unk", "pad")}
    return {f"{part}_token": by_id[place] for part, place in parts.items() if place in by_id}


def _engine(made: TokenizerFiles, files: Mapping[str, bytes], family: str, config: bytes | None) -> Any:
    """Text to ids; a tokenizer.json is asked through the class that the library takes for the folder, which may say more."""
    library = installed() if made.truth is None else None
    built = library.build(files, config) if library is not None else None
    if isinstance(built, Built):
        return built.encode
    if "tokenizer.json" not in made:
        return processor(made["tokenizer.model"]).encode
    return encoder(load(as_tokenizer_json(files, partial(recipe_for, family))))
