"""Whether a converted model's chat prompts are the source's, token for token, and what a user's text can do to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from convert.auto_tokenizer import Built
from convert.chat_tokens import Names
from convert.checkpoint import Checkpoint, read_bytes
from convert.claims import vocabulary_edit
from convert.common_tokens import vocabularies
from convert.conversations import ASKED
from convert.edits.tokens import tokenizer_files
from convert.prepare import identify
from convert.templates import Answer, Conversation, Refused, answer
from convert.tokenizing import has_tokenizer, installed
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError, show
from surgery.tokenizer.adapt import configuration
from surgery.tokenizer.export import TokenizerFiles, export, own_template
from surgery.tokenizer.facts import encoder, load, token_text
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.processor import processor

_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # tokens that templates may ask for by their part


@dataclass(frozen=True)
class Prompt:
    """One conversation: what both sides make of it, each as the ids of its prompt, or why its template refuses."""

    name: str
    source: tuple[int, ...] | str
    output: tuple[int, ...] | str
    same: bool
    renumbered: bool = False  # the tokens are the same, under other ids
    cut: str = ""  # the text is the same, and why it may be cut into other tokens
    first: int = 0  # the first token that differs

    @property
    def refused(self) -> bool:
        """Whether both sides refuse it, so that nothing was compared."""
        return isinstance(self.source, str) and isinstance(self.output, str)

    @property
    def line(self) -> str:
        """The finding for a person."""
        if isinstance(self.source, str) and isinstance(self.output, str):
            if self.same:
                return f"{self.name}: refused by both, so not compared ({self.source})"
            return f"{self.name}: refused by both, for different reasons: the source ({self.source}), the output ({self.output})"
        if isinstance(self.source, str) or isinstance(self.output, str):
            refuser, why = ("source", self.source) if isinstance(self.source, str) else ("output", self.output)
            return f"{self.name}: the {refuser} refuses it ({why}), the other does not"
        if self.cut:
            return f"{self.name}: the same text, {len(self.source)} tokens became {len(self.output)}, {self.cut}"
        if self.same:
            return f"{self.name}: {len(self.source)} tokens, the same{' under other ids' if self.renumbered else ''}"
        return f"{self.name}: {len(self.source)} and {len(self.output)} tokens, different from token {self.first} on"


@dataclass(frozen=True)
class ChatCheck:
    """What was found: the prompts, how the source's was known, and special tokens that a user can type."""

    prompts: tuple[Prompt, ...]
    known_by: str
    risks: tuple[str, ...]

    @property
    def compared(self) -> int:
        """How many conversations gave a prompt on some side."""
        return sum(not prompt.refused for prompt in self.prompts)

    @property
    def passed(self) -> bool:
        return self.compared > 0 and all(prompt.same for prompt in self.prompts)

    @property
    def undecided(self) -> bool:
        """Whether nothing differs, and nothing was compared."""
        return not self.compared and all(prompt.same for prompt in self.prompts)

    @property
    def lines(self) -> list[str]:
        """All of it for a person."""
        same = sum(prompt.same and not prompt.refused for prompt in self.prompts)
        rest = len(self.prompts) - self.compared
        told = f" ({rest} more are refused by both)" if rest else ""
        head = (
            f"{same} of {self.compared} conversations give the same tokens{told}; the source's prompt is {self.known_by}"
        )
        return [head, *(f"  {prompt.line}" for prompt in self.prompts), *self.risks]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON values."""
        return {
            "passed": self.passed,
            "compared": self.compared,
            "known_by": self.known_by,
            "conversations": [
                {"name": p.name, "same": p.same, "refused": p.refused, "found": p.line} for p in self.prompts
            ],
            "risks": list(self.risks),
        }


def chat_check(source: Checkpoint, output: Checkpoint) -> ChatCheck:
    """Both checkpoints' prompts for the same conversations. ``ConversionError`` where one has no template."""
    one, other = _Side.of(source, "source"), _Side.of(output, "output")
    both = vocabularies(source, output, vocabulary_edit(output))
    names = Names.of(both) if both is not None else None
    answers = one.asked(ASKED.values()), other.asked(ASKED.values(), risks=True)
    prompts = tuple(
        _prompt(name, (one, other), (answers[0].prompts[at], answers[1].prompts[at]), names) for at, name in enumerate(ASKED)
    )
    return ChatCheck(prompts, one.known_by, _risks(answers[1]))


def _prompt(
    name: str, sides: tuple[_Side, _Side], said: tuple[str | Refused, str | Refused], names: Names | None
) -> Prompt:
    source, output = (one.why if isinstance(one, Refused) else side.ids(one) for side, one in zip(sides, said, strict=True))
    if isinstance(source, str) or isinstance(output, str):
        return Prompt(name, source, output, source == output)
    one, other = (names.of_ids(ids, side) if names is not None else ids for side, ids in enumerate((source, output)))
    if one == other:
        return Prompt(name, source, output, True, renumbered=source != output)
    cut = names.cut(source, output, ASKED[name]) if names is not None and said[0] == said[1] else ""
    pairs = enumerate(zip(one, other, strict=False))
    first = next((place for place, (a, b) in pairs if a != b), min(len(source), len(output)))
    return Prompt(name, source, output, bool(cut), cut=cut, first=first)


def _risks(found: Answer) -> tuple[str, ...]:
    """Special tokens that would come out of a user's own words, as one line, with what prevents it."""
    if not found.risks:
        return ("no special token comes out of a user's own words",)
    names = ", ".join(show(special) for special, _ in found.risks[:4])
    more = f" and {len(found.risks) - 4} more" if len(found.risks) > 4 else ""
    return (f"injection: {names}{more} in a user's own words would become special tokens; {found.risks[0][1]}",)


@dataclass(frozen=True)
class _Side:
    """One checkpoint's template and tokenizer."""

    template: str
    names: Mapping[str, Any]
    tokenizer: Any
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
        config = read_bytes(checkpoint.config_file) if checkpoint.config_file is not None else None
        return cls(template, _names(made, files), _engine(made, files, family, config), specials, by)

    def ids(self, prompt: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(prompt))

    def asked(self, conversations: Iterable[Conversation], *, risks: bool = False) -> Answer:
        """The prompts of all, and what a user's own words can do to them."""
        return answer(self.template, tuple(conversations), self.names, self.specials if risks else ())


def _names(made: TokenizerFiles, files: Mapping[str, bytes]) -> dict[str, str]:
    """The tokens that play a part, under the names that templates know."""
    by_id, said = made.facts.specials, configuration(files)
    found = {f"{part}_token": text for part in _NAMED if (text := token_text(said.get(f"{part}_token")))}
    parts = {part: getattr(made.facts, part) for part in ("bos", "eos", "unk", "pad")}
    return found | {f"{part}_token": by_id[place] for part, place in parts.items() if place in by_id}


def _engine(made: TokenizerFiles, files: Mapping[str, bytes], family: str, config: bytes | None) -> Any:
    """Text to ids; a tokenizer.json is asked through the class that the library takes for the folder, which may say more."""
    library = installed() if made.truth is None else None
    built = library.build(files, config) if library is not None else None
    if isinstance(built, Built):
        return built.encode
    if "tokenizer.json" not in made:
        return processor(made["tokenizer.model"]).encode
    return encoder(load(as_tokenizer_json(files, partial(recipe_for, family))))


#: the conversations that have neither tools nor an end of their own, as `apply_chat_template` takes them
CONVERSATIONS = {name: tuple(one.messages) for name, one in ASKED.items() if one.plain}
