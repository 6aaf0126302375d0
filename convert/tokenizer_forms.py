"""Which files OUT's tokenizer is: the first form that gives SRC's ids once the library has built OUT's folder.

A tokenizer.json is not all that decides: by the model's type the library may take a class that lays parts of its own over
it, or one that cannot run SentencePiece. So every form is built by the library beside OUT's config.json and asked for ids,
also of text with special tokens in it, and a form that gives other ids is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from convert.auto_tokenizer import AutoTokenizers, Built, NotBuilt
from surgery.apart import Failed
from surgery.errors import ConversionError, quote, show
from surgery.tokenizer.adapt import read_object
from surgery.tokenizer.check import Check
from surgery.tokenizer.export import FAST, TokenizerFiles, dumped
from surgery.tokenizer.probe import PROBE, specials_inside

#: tokens that are put into text; a vocabulary may have hundreds, and all are looked for in the same way
_SPECIALS = 8
_PLAIN = frozenset(PROBE)
NO_LIBRARY: Final = "not compared as AutoTokenizer builds them: transformers is not installed"

Ids = Callable[[str, bool], list[int]]  # of a text; framed, with what stands around it


@dataclass(frozen=True)
class Compared:
    """The files to write, and how their ids were compared: in words, and in those of the manifest, which never vary."""

    made: TokenizerFiles
    ids: str
    recorded: str


@dataclass(frozen=True)
class _Judge:
    """Who says what the ids are. ``also`` gives ids that are as good: where the files are known to differ from an engine."""

    name: str
    ids: Ids
    also: Ids | None = None
    text: Callable[[list[int]], str | None] | None = None  # of the ids of plain text

    def wrong(self, out: Built, text: str) -> str | None:
        """How the ids that the library gives to a text differ, or what it makes of them again; None where neither does."""
        for framed in (False, True):
            want = self.ids(text, framed)
            got = _asked(out, text, framed)
            if got != want and (self.also is None or got != self.also(text, framed)):
                return f"{quote(text, 40)} gets {show(got, 60)} instead of {show(want, 60)}"
            back = self.text(want) if self.text is not None and got == want and not framed and text in _PLAIN else None
            if back is not None and back.strip(" ") != (again := out.decode(got)).strip(" "):
                return f"the ids of {quote(text, 40)} come back as {quote(again, 40)}"
        return None


def choose(
    made: TokenizerFiles,
    files: Mapping[str, bytes],
    configs: tuple[bytes | None, bytes | None],
    target: str,
    library: AutoTokenizers,
) -> Compared:
    """The first form of ``made`` that keeps the ids of SRC, whose tokenizer ``files`` these are.

    ``configs`` are the config.json of SRC and of OUT, where there is one; ``target`` is the family written. Raises where the
    library gives other ids to every form.
    """
    theirs = library.build(files, configs[0])
    judge = _judge(made, theirs)
    known = (*made.specials, *(theirs.specials if isinstance(theirs, Built) else ()))
    inside = specials_inside(tuple(dict.fromkeys(known))[:_SPECIALS])
    texts = (*PROBE, *inside)
    refusals: list[str] = []
    for form in _forms(made, files, theirs):
        built = library.build(form, configs[1])
        if isinstance(built, NotBuilt):
            refusals.append(f"it builds none ({built.reason})")
            continue
        wrong = [said for text in texts if (said := judge.wrong(built, text)) is not None]
        if not wrong:
            apart = sum(replace(judge, also=None).wrong(built, text) is not None for text in texts)
            return _compared(form, judge, theirs, library, (len(PROBE), len(inside)), texts, apart)
        refusals.append(f"its {built.name} differs on {len(wrong)} of {len(texts)} strings ({wrong[0]})")
    raise ConversionError(
        f"as {target} the tokenizer would give other ids than {judge.name}: what {library.name} builds from OUT's own "
        f"config.json is not what the files say; {'; '.join(dict.fromkeys(refusals))}. A model that is given other ids talks "
        "nonsense, and programs that serve it use that library. Nothing was written. Convert to a family whose tokenizer the "
        f"library leaves to the files, as it does for llama{_CANONICAL if made.tokenizer_class != FAST else ''}"
    )


_CANONICAL: Final = ", or give --tokenizer canonical, which makes the scores differ so that a tokenizer.json is exact"


def _judge(made: TokenizerFiles, theirs: Built | NotBuilt) -> _Judge:
    """SRC's own engine; of a tokenizer.json, which is the library's own format, the library on SRC's folder."""
    says = made.says
    assert says is not None
    front = made.facts.prefix

    def of_files(text: str, framed: bool) -> list[int]:
        return [*(front if framed else ()), *says(text)]

    if made.truth is not None:
        own = made.truth

        def of_engine(text: str, framed: bool) -> list[int]:
            return [*(own.front if framed else ()), *own.encode(text)]

        return _Judge(own.name, of_engine, of_files, own.decode)
    if isinstance(theirs, Built):
        return _Judge("SRC's own files", lambda text, framed: _asked(theirs, text, framed), text=theirs.decode)
    return _Judge("the tokenizer.json itself", of_files)


def _forms(made: TokenizerFiles, files: Mapping[str, bytes], theirs: Built | NotBuilt) -> Iterator[TokenizerFiles]:
    """The files as they were made; of a carried tokenizer.json also SRC's own class, and what the library makes of both."""
    yield made
    if made.truth is not None or isinstance(theirs, NotBuilt):
        return
    template = {name: made[name] for name in made if name.endswith(".jinja")}
    left = {"auto_map", *(("chat_template",) if template else ())}
    said = {key: value for key, value in read_object(files, "tokenizer_config.json").items() if key not in left}
    own = {**files, **template, "tokenizer_config.json": dumped(said, indent=2)}
    kept = f"SRC's own tokenizer_config.json is kept, whose class ({theirs.name}) cuts some text otherwise than the file alone"
    own_class = str(said.get("tokenizer_class", theirs.name))
    check = Check("what AutoTokenizer builds from SRC's own files", len(PROBE), independent=False)
    yield replace(made, files=MappingProxyType(own), tokenizer_class=own_class, check=check, notices=(kept,))
    if theirs.saved is not None:
        changed = (
            f"tokenizer.json is what the library makes of SRC's ({theirs.name} lays its own parts over the file), so that every "
            "class gives the same ids"
        )
        written = {name: content for name, content in made.items() if name != "tokenizer.model"}
        files = {**written, "tokenizer.json": theirs.saved}
        yield replace(made, files=MappingProxyType(files), check=check, notices=(changed,))


def _compared(
    made: TokenizerFiles, judge: _Judge, theirs: Built | NotBuilt, library: AutoTokenizers, counts: tuple[int, int],
    texts: Iterable[str], apart: int,
) -> Compared:  # fmt: skip
    """``apart`` of the texts have the ids that the files say, which for a known reason are not the engine's."""
    known = ", but for text of which the files are known to say others"
    tried = f"{counts[0]} strings and {counts[1]} with special tokens inside"
    if made.truth is None and isinstance(theirs, Built):
        return Compared(
            made, f"ids compared as {library.name} builds both SRC and OUT: {tried}, equal", "equal as AutoTokenizer builds both"
        )
    told = f"ids compared as {library.name} builds OUT, with {judge.name}: {tried}, equal"
    told += f"{known} ({apart})" if apart else ""
    recorded = f"as AutoTokenizer builds OUT, equal to {judge.name}{known if apart else ''}"
    if isinstance(theirs, NotBuilt):
        return Compared(made, f"{told} (it builds none from SRC's files: {theirs.reason})", recorded)
    moved = sum(judge.wrong(theirs, text) is not None for text in texts)
    if moved:
        own = f"from SRC's own files it builds a {theirs.name} that differs from {judge.name} on {moved} of {sum(counts)}"
        return Compared(replace(made, notices=(*made.notices, f"{own}; OUT does not")), told, recorded)
    told = told if apart else f"ids compared as {library.name} builds both SRC and OUT: {tried}, equal"
    return Compared(made, told, recorded)


def _asked(built: Built, text: str, framed: bool) -> list[int]:
    """Ids, or none at all where the library fails on a text: no text has the id -1."""
    try:
        return built.encode(text, framed)
    except Failed:
        return [-1]
