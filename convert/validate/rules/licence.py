"""The licence that came with the weights: carried over, not loosened, and its duties done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from convert.validate.terms import TERMS, Terms, terms_of
from surgery.errors import listed, show

README = "README.md"
_TABLE = "convert.validate.terms, each entry with its source"
_LICENCE_FILE = re.compile(r"(?i).*(licen[cs]e|copying|terms).*")
_NOTICE_FILE = re.compile(r"(?i).*notice.*")
#: phrases by which the texts of common licences are known
_TEXTS = {
    "apache-2.0": r"Apache License\s+Version 2\.0",
    "mit": r"Permission is hereby granted, free of charge, to any person obtaining a copy",
    **{terms.ids[0]: terms.text for terms in TERMS if terms.text and terms.ids[0].startswith(("llama", "gemma"))},
}


@rule(
    "licence-changed", "error",
    what="the card states another licence than the source model has",
    why="a conversion changes the form of weights, not their licence: a Baichuan in Llama's form is not under llama2",
    fix="state the source's licence",
    source=_TABLE,
)  # fmt: skip
def licence_changed(subject: Subject) -> Iterator[Found]:
    stated = subject.card.texts("license")
    for terms in _under(subject, lineage=True):
        if stated and not set(stated) & set(terms.ids):
            theirs = f"the source is under the {terms.name} ({' or '.join(terms.ids)})"
            yield Found(README, f"license is {listed(map(show, stated))}; {theirs}")


@rule(
    "licence-text-missing", "error",
    what="the licence asks for a copy of itself, and there is none",
    why="passing the model on without it breaks the licence",
    fix="copy LICENSE (and NOTICE, USE_POLICY) from the source model",
    source=_TABLE,
)  # fmt: skip
def licence_text_missing(subject: Subject) -> Iterator[Found]:
    texts = _texts(subject)
    for terms in _under(subject):
        if terms.copy and not texts:
            yield Found("LICENSE", f"the {terms.name} must be passed on with the model, and no licence file is there")


@rule(
    "licence-text-differs", "error",
    what="the licence file holds another licence than the card states",
    why="one of the two is wrong, and whoever relies on it is misled",
    fix="make card and file agree; the source model's own file decides",
    source="the licences' own texts",
)  # fmt: skip
def licence_text_differs(subject: Subject) -> Iterator[Found]:
    for name, text in _texts(subject).items():
        recognised = [key for key, phrase in _TEXTS.items() if re.search(phrase, text)]
        stated = subject.card.texts("license")
        if recognised and stated and not set(stated) & set(recognised) and _NOTICE_FILE.fullmatch(name) is None:
            wanted = [key for key in stated if key in _TEXTS]
            if wanted or stated == ("other",):
                known = {terms.name for terms in _under(subject) if re.search(terms.text or "(?!)", text)}
                if not known:
                    yield Found(name, f"it is the text of {listed(recognised)}; the card says {listed(stated)}")


@rule(
    "licence-notice", "error",
    what="the licence asks for a notice, and there is none",
    why="Llama, Gemma and Tongyi Qianwen ask for a Notice file with a given sentence in every copy",
    fix="add a file NOTICE with the sentence that the licence prescribes",
    source=_TABLE,
)  # fmt: skip
def licence_notice(subject: Subject) -> Iterator[Found]:
    texts = [text for name, text in _texts(subject).items() if _NOTICE_FILE.fullmatch(name)]
    for terms in _under(subject):
        if terms.notice and not any(_plain(terms.notice) in _plain(text) for text in texts):
            yield Found("NOTICE", f"{terms.name}: a notice must say {show(terms.notice)}")


@rule(
    "licence-built-with", "error",
    what="the card does not show the words that the licence asks for",
    why='Llama 3 and later ask whoever passes on a derived model to display "Built with Llama" prominently',
    fix="add the words to the card",
    source=_TABLE,
)  # fmt: skip
def licence_built_with(subject: Subject) -> Iterator[Found]:
    if not subject.card.present:
        return
    for terms in _under(subject):
        if terms.built_with and _plain(terms.built_with) not in _plain(subject.card.body):
            yield Found(README, f"{terms.name}: the card must show {show(terms.built_with)}")


@rule(
    "licence-name", "warning",
    what="the model's name does not begin as the licence asks",
    why="derived models of Llama 3 begin with Llama 3, of 3.1 and later with Llama",
    fix="rename the repository and the card's title",
    source=_TABLE,
)  # fmt: skip
def licence_name(subject: Subject) -> Iterator[Found]:
    name = subject.name.rpartition("/")[2] or subject.card.title
    for terms in _under(subject):
        if terms.prefix and name and not _plain(name).startswith(_plain(terms.prefix)):
            yield Found(README, f"{terms.name}: the name {show(name)} must begin with {show(terms.prefix)}")


@rule(
    "licence-merge", "warning",
    what="the base models are under licences that do not go together",
    why="Llama 2, Llama 3 and Tongyi Qianwen forbid using their outputs or parts to improve other language models",
    fix="have the merge looked at; the strictest terms hold for all of it",
    source=_TABLE,
)  # fmt: skip
def licence_merge(subject: Subject) -> Iterator[Found]:
    found = [terms for terms in TERMS if any(map(terms.covers, subject.card.texts("base_model")))]
    if len(found) > 1 and any(terms.no_improve for terms in found):
        yield Found(README, f"{listed(terms.name for terms in found)}")


@rule(
    "licence-duties", "note",
    what="the licence has duties that no program can check",
    why="they bind whoever publishes or uses the model",
    fix="read the licence",
    source=_TABLE,
)  # fmt: skip
def licence_duties(subject: Subject) -> Iterator[Found]:
    for terms in _under(subject):
        if terms.duties:
            yield Found(README, f"{terms.name}: {'; '.join(terms.duties)}")


def _under(subject: Subject, *, lineage: bool = False) -> tuple[Terms, ...]:
    """The licences that the card speaks of; with ``lineage`` also those that the family converted from is always under.

    A licence is never inferred: lineage tells which it cannot be, and only the card which it is.
    """
    card = subject.card
    licence, name = (next(iter(card.texts(key)), "") for key in ("license", "license_name"))
    return terms_of(card.texts("base_model"), subject.source_family if lineage else "", licence, name)


def _texts(subject: Subject) -> Mapping[str, str]:
    """Licence and notice files of the top folder with their text; a PDF counts with none."""
    found = {}
    for name in sorted(subject.files):
        if "/" not in name and (_LICENCE_FILE.fullmatch(name) or _NOTICE_FILE.fullmatch(name)):
            found[name] = "" if name.lower().endswith(".pdf") else subject.text(name, 4 << 20) or ""
    return found


@lru_cache(64)
def _plain(text: str) -> str:
    """Letters, digits and dots only, so that marks, line breaks and hyphens do not matter."""
    return " ".join(re.findall(r"[a-z0-9.]+", text.lower().replace("-", " ")))
