"""The licence that came with the weights: carried over, not loosened, and its duties done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from convert.checkpoint.documents import is_legal
from convert.validate.rule import Found, rule
from convert.validate.stated import Stands, ids, name, stands, states, states_what_publishers_do
from convert.validate.subject import Subject
from convert.validate.terms import Strictness, Terms, is_known, plainly, recognised
from convert.validate.under import Part
from surgery.errors import listed, show

README = "README.md"
_TABLE = "convert.validate.terms and convert.validate.published, each entry with its source"
_NOTICE_FILE = re.compile(r"(?i).*notice.*")
#: names under which a licence's own text lies, and those of files that lie beside it
_TEXT_FILE = re.compile(
    r"(?i)licen[cs]|(?<![a-z])terms(?![a-z])|agreement|copying|eula|许可|許可|协议|協議|条款|條款|授权|ライセンス|規約"
)
_ELSE_FILE = re.compile(
    r"(?i)notice|privacy|third.?part|隐私|^(?!.*(?:licen[cs]|agreement|许可|协议)).*(?:polic|acceptable.?use|responsible.?use|政策)"
)
_SAYS_CHANGED = re.compile(r"(?i)\b(changed|modified|modifications?|converted|conversion)\b|修改|转换")


@rule(
    "licence-changed", "error",
    what="the card states another licence than the source model has",
    why="a conversion changes the form of weights, not their licence: a Baichuan in Llama's form is not under llama2",
    fix="a converted or quantised copy states its source's licence; a model tuned from one whose licence goes on to hold states "
    "that licence, or stricter terms beside it; of several base models, the strictest of their licences",
    source=_TABLE, needs="licence",
)  # fmt: skip
def licence_changed(subject: Subject) -> Iterator[Found]:
    if stands(subject) is Stands.CHANGED:
        yield Found(README, f"license is {_said(subject)}; {'; '.join(map(_told, subject.under.holding))}")


@rule(
    "licence-other-name", "warning",
    what="license_name is of no known licence, and the source's licence has a name",
    why="under `license: other` only the name says which licence it is, and nobody can tell it from the author's own",
    fix="name the source's licence; terms of your own, if they are stricter, stand beside it in a file of their own",
    source=_TABLE,
)  # fmt: skip
def licence_other_name(subject: Subject) -> Iterator[Found]:
    for part in subject.under.holding if stands(subject) is Stands.UNHEARD_OF else ():
        right = show(part.terms.called) if "other" in part.terms.ids else f"license: {part.terms.ids[0]}"
        yield Found(README, f"license_name is {show(name(subject))}, of no known licence; {_told(part)}: state {right}")


@rule(
    "licence-own-terms", "note",
    what="the card states terms of its author's own beside the source's licence",
    why="permissive licences let derived models have other terms, most others stricter ones, while their own conditions hold",
    fix="keep the source's licence and notices in the repository beside your own terms, and name both in the card",
    source="Apache License 2.0, section 4; MIT License, second paragraph; the licences of models as in convert.validate.terms",
)  # fmt: skip
def licence_own_terms(subject: Subject) -> Iterator[Found]:
    for part in subject.under.holding if stands(subject) is Stands.THEIR_OWN else ():
        holds = "goes on to hold beside" if part.terms.binds else "asks that its text and notices stay beside"
        yield Found(README, f"license is {_said(subject)}; {_told(part)}, which {holds} terms of your own")


@rule(
    "licence-inherited", "warning",
    what="the source's publisher states a looser licence than the model has that the source was made from",
    why="fine-tuning or distilling a model does not end the terms of the model that it began with",
    fix="do what both licences ask, and say both in the card; license may stay what the publisher states",
    source=_TABLE,
)  # fmt: skip
def licence_inherited(subject: Subject) -> Iterator[Found]:
    found = subject.under
    if states(subject, found.holding_terms):
        return
    if states_what_publishers_do(subject, found):
        for part in found.holding:
            yield Found(README, f"{show(part.base)} was made from {show(part.repository)}, under the {part.terms.name}")


@rule(
    "licence-text-missing", "error",
    what="the licence asks for a copy of itself, and there is none",
    why="passing the model on without it breaks the licence",
    fix="copy the licence files of the source model, under the names that they have there, beside what is here",
    source=_TABLE,
)  # fmt: skip
def licence_text_missing(subject: Subject) -> Iterator[Found]:
    yield from _without_text(subject, permissive=False)


@rule(
    "licence-copy", "warning",
    what="the licence's own text is not in the repository",
    why="Apache 2.0 (section 4a) and MIT want a copy of the licence in every copy of the work; many repositories lack it",
    fix="copy the licence file of the source model, or of its code's repository",
    source=_TABLE,
)  # fmt: skip
def licence_copy(subject: Subject) -> Iterator[Found]:
    yield from _without_text(subject, permissive=True)


@rule(
    "licence-text-differs", "error",
    what="the licence file holds another licence than the card states",
    why="one of the two is wrong, and whoever relies on it is misled",
    fix="make card and file agree; the source model's own files decide, and stay as they are",
    source="the licences' own texts",
)  # fmt: skip
def licence_text_differs(subject: Subject) -> Iterator[Found]:
    if not ids(subject):
        return
    others: list[tuple[str, tuple[Terms, ...]]] = []
    for file, text in _licence_texts(subject).items():
        found = recognised(text)
        ours = any(_says(subject, terms) for terms in found) or any(terms.is_text(text) for terms in subject.under.terms)
        if not found or ours:
            return  # what else is there is of the vendor's code
        others.append((file, found))
    for file, found in others:
        yield Found(file, f"it is the text of the {listed(plainly(found))}; the card says {_said(subject)}")


@rule(
    "licence-notice", "error",
    what="the licence asks for a notice, and there is none",
    why="Llama, Gemma, Qwen, Tongyi Qianwen, MiniCPM and Stability ask for a notice with a given sentence in every copy",
    fix="append the sentence to the notice file that is there, whose other notices stay; where there is none, add NOTICE",
    source=_TABLE,
)  # fmt: skip
def licence_notice(subject: Subject) -> Iterator[Found]:
    notices = {name: text for name, text in _texts(subject).items() if _NOTICE_FILE.fullmatch(name)}
    for terms in subject.under.terms:
        if terms.notices and not any(_shows(text, terms.notices) for text in notices.values()):
            yield Found(next(iter(notices), "NOTICE"), f"{terms.name}: a notice must say {show(terms.notices[0])}")


@rule(
    "licence-built-with", "error",
    what="the card does not show the words that the licence asks for",
    why='Llama 3 and later, GLM-4, MiniCPM and Qwen ask whoever passes on a derived model to display "Built with ...", Stability '
    '"Powered by ..."',
    fix="add the words to the card; `weightsmith card` writes them",
    source=_TABLE,
)  # fmt: skip
def licence_built_with(subject: Subject) -> Iterator[Found]:
    if not subject.card.present:
        return
    for terms in subject.under.terms:
        if terms.built_with and not _shows(subject.card.body, terms.built_with):
            yield Found(README, f"{terms.name}: the card must show {' or '.join(map(show, terms.built_with))}")


@rule(
    "licence-modified", "warning",
    what="nothing says that files were changed",
    why="Apache 2.0, Tongyi Qianwen, Qwen, DeepSeek, Gemma and Stability want changed files to say that they were changed, and a "
    "conversion changes them",
    fix="say in the card or a notice which files were changed; `weightsmith card` does",
    source=_TABLE,
)  # fmt: skip
def licence_modified(subject: Subject) -> Iterator[Found]:
    notices = (text for name, text in _texts(subject).items() if _NOTICE_FILE.fullmatch(name))
    if not subject.provenance or not subject.card.present or any(map(_SAYS_CHANGED.search, (subject.card.body, *notices))):
        return
    if asking := [terms.name for terms in subject.under.terms if terms.changes]:
        yield Found(README, f"{listed(asking)}: neither the card nor a notice says that files were changed")


@rule(
    "licence-name", "warning",
    what="the model's name is not one that the licence allows",
    why="derived models of Llama 3 begin with Llama 3, of 3.1 and later with Llama, of GLM-4 with glm-4; MiniCPM is in the name",
    fix="rename the repository and the card's title",
    source=_TABLE,
)  # fmt: skip
def licence_name(subject: Subject) -> Iterator[Found]:
    name = subject.name.rpartition("/")[2] or subject.card.title
    for terms in subject.under.terms if name else ():
        if terms.begins and not any(_plain(name).startswith(_plain(begin)) for begin in terms.begins):
            yield Found(README, f"{terms.name}: the name {show(name)} must begin with {show(terms.begins[0])}")
        if _plain(terms.within) not in _plain(name):
            yield Found(README, f"{terms.name}: the name {show(name)} must have {show(terms.within)} in it")


@rule(
    "licence-merge", "warning",
    what="the base models are under licences that do not go together",
    why="Llama 2, Llama 3, Tongyi Qianwen, MiniCPM and Stability forbid using outputs or parts to improve other language models, "
    "and what is not for commercial use makes the whole so",
    fix="have the merge looked at; the strictest terms hold for all of it",
    source=_TABLE, needs="licence",
)  # fmt: skip
def licence_merge(subject: Subject) -> Iterator[Found]:
    found = subject.under
    odd = [terms for terms in found.terms if terms.no_improve or terms.strictness == Strictness.RESEARCH]
    if len(found.bases) > 1 and len(found.terms) > 1 and odd:
        parts = listed((f"{show(part.repository)} ({part.terms.name})" for part in found.parts), 20)
        yield Found(README, f"{parts}; strictest is the {listed(part.terms.name for part in found.holding)}")


@rule(
    "licence-duties", "note",
    what="the licence has duties that no program can check",
    why="they bind whoever publishes or uses the model",
    fix="read the licence",
    source=_TABLE,
)  # fmt: skip
def licence_duties(subject: Subject) -> Iterator[Found]:
    for terms in subject.under.terms:
        if terms.duties:
            yield Found(README, f"{terms.name}: {'; '.join(terms.duties)}")


def _said(subject: Subject) -> str:
    """The card's `license`, with the name where it is "other"."""
    named = f" ({show(name(subject))})" if "other" in ids(subject) and name(subject) else ""
    return f"{listed(map(show, subject.card.texts('license')))}{named}"


def _says(subject: Subject, terms: Terms) -> bool:
    """Whether the card states this licence, or calls it "other" by a name of which nothing is known."""
    vague = "other" in ids(subject) and "other" in terms.ids and not is_known(name(subject))
    return vague or states(subject, [terms])


def _told(part: Part) -> str:
    origin = "" if part.repository in ("", part.base) else f", from which {show(part.base)} was made,"
    ids = listed([*part.terms.ids])
    return f"{show(part.repository)}{origin} is under the {part.terms.name} ({ids}; {part.source})"


def _without_text(subject: Subject, *, permissive: bool) -> Iterator[Found]:
    """Licences that want a copy, of which no file can be the text."""
    texts = _licence_texts(subject).values()
    for terms in subject.under.terms:
        found = any(terms.is_text(text) or not recognised(text) for text in texts)
        if terms.copy and terms.binds is not permissive and not found:
            held = "no licence file is there" if not texts else "the licence files that are there are of other licences"
            yield Found("LICENSE", f"the {terms.name} must be passed on with the model, and {held}")


def _licence_texts(subject: Subject) -> Mapping[str, str]:
    """The files that can hold a licence's own text; notices, use policies and what others wrote cannot."""
    texts = {file: text for file, text in _texts(subject).items() if not _ELSE_FILE.search(file)}
    return {file: text for file, text in texts.items() if _TEXT_FILE.search(file) or recognised(text)}


def _texts(subject: Subject) -> Mapping[str, str]:
    """Licence and notice files of the top folder with their text; a PDF counts with none."""
    found = {}
    for file in sorted(subject.files):
        if "/" not in file and is_legal(file):
            found[file] = "" if file.lower().endswith(".pdf") else subject.text(file, 4 << 20) or ""
    return found


def _shows(text: str, wanted: tuple[str, ...]) -> bool:
    return any(_plain(words) in _plain(text) for words in wanted)


@lru_cache(64)
def _plain(text: str) -> str:
    """Letters, digits and dots only, so that marks, line breaks and hyphens do not matter."""
    return " ".join(re.findall(r"[\w.]+", text.lower().replace("-", " ").replace("_", " ")))
