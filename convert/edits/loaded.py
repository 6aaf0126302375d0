"""Whether a library that loads OUT's folder gives its tokens.

By the model's type it may take a class that lays parts of its own over a tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.auto_tokenizer import AutoTokenizers, Built, NotBuilt
from convert.checkpoint import Checkpoint, read_bytes
from convert.prepare import plan_artefact
from surgery.errors import ConversionError, quote
from surgery.model import Artefact
from surgery.tokenizer.adapt import read_object
from surgery.tokenizer.export import dumped
from surgery.tokenizer.facts import encoder
from surgery.tokenizer.grow import Grown
from surgery.tokenizer.kept import whole

if TYPE_CHECKING:
    from convert.edits.trimmed import Trimmed

#: parts of a tokenizer.json that a library's class has of its own
_LAID = ("normalizer", "pre_tokenizer", "decoder")
#: what a tokenizer_config.json says of tokens beside the named ones
_OF_TOKENS = ("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "chat_template")
_REMEDY = (
    "Nothing was written. Convert the model first, to a family whose tokenizer the library leaves to the files, as it does for "
    "llama."
)


def written_config(artefact: Artefact) -> bytes | None:
    """The config.json that an artefact will be written with, by which a library chooses the class."""
    return plan_artefact(artefact, tokenizer="carry").documents.get("config.json")


def own_config(checkpoint: Checkpoint) -> bytes | None:
    """The config.json that is there."""
    found = checkpoint.config_file
    return read_bytes(found) if found is not None else None


@dataclass(frozen=True)
class Theirs:
    """What a library makes of a tokenizer.json, as such a file; and the sentences that say why it is taken, and why not."""

    value: dict[str, Any]
    said: str
    why: str


def from_library(library: AutoTokenizers, folder: Path, value: Mapping[str, Any], texts: Iterable[str]) -> Theirs | None:
    """What the library makes of a folder's tokenizer.json, where it cuts one of the texts otherwise than the file; else None."""
    theirs = library.of(folder)
    if not isinstance(theirs, Built) or theirs.saved is None:
        return None
    own = encoder(whole(value), framed=True)
    if all(theirs.encode(text, framed=True) == list(own(text)) for text in texts):
        return None
    kept = {key: value.get(key) for key in ("truncation", "padding")}  # which the library sets anew for each call
    return Theirs(
        {**json.loads(theirs.saved), **kept},
        f"tokenizer.json is what {library.name} makes of the source's: its {theirs.name}, which users of this model get, cuts "
        "some text otherwise than the file says",
        f"{library.name} cuts some text otherwise than the source's files say ({theirs.name}): the output's files say what those "
        "say, and it reads them as it reads those",
    )


def of_the_same_class(files: Mapping[str, bytes], source: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with the class and the settings of the source's, by which a library lays parts of its own over them.

    What these files say of tokens is added: which there are, and what the source says elsewhere of its own.
    """
    theirs, said = read_object(source, "tokenizer_config.json"), read_object(files, "tokenizer_config.json")
    settings = {key: value for key, value in theirs.items() if key not in ("auto_map", *_OF_TOKENS)}
    tokens = {key: said[key] for key in said if key in _OF_TOKENS or (key.endswith("_token") and key not in theirs)}
    return {**files, "tokenizer_config.json": dumped({**settings, **tokens}, indent=2)}


def refuse_other_ids(
    library: AutoTokenizers,
    folder: Path,
    grown: Grown,
    output: Artefact,
    texts: Iterable[str],
    named: Iterable[str],
    kept: bool,
    laid: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Says that the library, beside the output's config.json, gives texts the ids that an extended tokenizer has for them.

    Text without a ``named`` token is put to the extended vocabulary's own engine; also to one with the parts that the library
    ``laid`` over the source's, where it did. With ``kept``, text without new tokens must get the ids, framed and not, that the
    library gives it in the source's ``folder``. Raises at the first that does not.
    """
    theirs = library.of(folder) if kept else NotBuilt("")
    built = library.build(grown.files, written_config(output))
    if isinstance(built, NotBuilt):
        raise ConversionError(f"{library.name} builds no tokenizer from the extended files ({built.reason}). {_REMEDY}")
    names, count = tuple(named), 0
    file = grown.files.get("tokenizer.json")
    says = encoder(whole(json.loads(file))) if file is not None else grown.after  # known to differ on some text, which was said
    right = [grown.after, says]
    if laid is not None and file is not None:
        right.append(encoder(whole({**json.loads(file), **{part: laid.get(part) for part in _LAID}})))
    for text in texts:
        plain, framed = (built.encode(text, framed=one) for one in (False, True))
        if isinstance(theirs, Built) and max(framed, default=0) < grown.first:
            wrong = [plain, framed] != [theirs.encode(text, framed=one) for one in (False, True)]
        else:
            wrong = not any(name in text for name in names) and all(plain != list(one(text)) for one in right)
        if wrong:
            raise ConversionError(
                f"{library.name} takes {built.name} for a model of this type, which would give {quote(text, 40)} other ids than "
                f"the extended vocabulary has for it. {_REMEDY}"
            )
        count += 1
    as_before = ", and those without new tokens the source's" if isinstance(theirs, Built) else ""
    return (f"{count} texts, some with special tokens inside, get these ids{as_before} as {library.name} loads the output",)


def refuse_other_tokens(made: Trimmed, artefact: Artefact, library: AutoTokenizers, otherwise: bool) -> tuple[str, ...]:
    """Says that the library gives the texts their tokens beside the artefact's config.json; raises at the first it does not.

    Their tokens are those of the larger tokenizer; where the library is known to read that ``otherwise``, those that it reads.
    """
    built = library.build(made.files, written_config(artefact))
    if isinstance(built, NotBuilt):
        raise ConversionError(f"{library.name} builds no tokenizer from the trimmed files ({built.reason}). {_REMEDY}")
    theirs = library.of(artefact.origin.path) if otherwise else NotBuilt("")
    own = encoder(made.tokenizer, framed=True)
    for text in made.texts:
        wanted = theirs.encode(text, framed=True) if isinstance(theirs, Built) else own(text)
        ids = built.encode(text, framed=True)
        if max(ids, default=0) >= len(made.kept) or [made.kept[token] for token in ids] != list(wanted):
            raise ConversionError(
                f"{library.name} takes {built.name} for a model of this type, which would cut {quote(text, 40)} otherwise than "
                f"before: that class lays parts of its own over tokenizer.json. {_REMEDY}"
            )
    return (f"{len(made.texts)} of these texts get the same tokens as {library.name} loads the output",)
