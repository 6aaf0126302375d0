"""What nobody meant to publish: tokens, keys, paths of machines, addresses of people."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from surgery.errors import listed, show

_TEXT = (
    ".json",
    ".md",
    ".txt",
    ".jinja",
    ".yaml",
    ".yml",
    ".toml",
    ".cfg",
    ".ini",
    ".py",
    ".log",
    ".jsonl",
    ".sh",
    ".env",
)
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "tekken.json", "added_tokens.json")
_LEGAL = re.compile(r"(?i).*(licen[cs]e|notice|copying|policy|terms|provenance|attribution).*")
_LIMIT = 16 << 20

_TOKENS = {
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,40}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "an OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}\b",
    "a Google key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,}\b",
    "a private key": r"-----BEGIN (?:RSA |EC |OPENSSH |PGP )?PRIVATE KEY",
    "a Weights & Biases key": r"(?i)wandb[_-]?api[_-]?key[\"'\s:=]+[a-f0-9]{40}\b",
    "a password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"']{1,60}:[^/\s:@\"']{3,60}@",
}
_PATHS = re.compile(r"(?<![\w.:/~-])(?:/(?:home|Users|root)/[A-Za-z0-9_.-]+|[A-Za-z]:\\+Users\\+[A-Za-z0-9_.-]+)")
_ANY_PATH = re.compile(r"\"(/(?:[A-Za-z0-9_.-]+/)+[A-Za-z0-9_.-]*|~/[\w./-]+|[A-Za-z]:\\\\[^\"]+|file://[^\"]+)\"")
_ADDRESS = re.compile(r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,12}\b")
_NOBODY = re.compile(r"(?i)@(?:example\.|test\.|users\.noreply\.|localhost)|^(?:no-?reply|git)@")


@rule(
    "secret", "error",
    what="a file holds a token, a key or a password",
    why="whoever reads it can act in its owner's name; scanners find it within minutes of the upload",
    fix="revoke it now, then remove it (and rewrite the history if it was ever committed)",
    source="the forms that the services document",
)  # fmt: skip
def secret(subject: Subject) -> Iterator[Found]:
    for name, text in _texts(subject, vocabularies=True):
        for what, pattern in _TOKENS.items():
            if match := re.search(pattern, text):
                yield Found(
                    name, f"{what}, {show(match[0][:6])}..., in line {text.count(chr(10), 0, match.start()) + 1}"
                )


@rule(
    "private-path", "warning",
    what="a file holds a path of somebody's machine",
    why="it tells user names and projects, and exists nowhere else; a path as _name_or_path breaks reloading",
    fix="remove it, or write the repository's id",
    source="transformers writes _name_or_path; peft base_model_name_or_path",
)  # fmt: skip
def private_path(subject: Subject) -> Iterator[Found]:
    for name, text in _texts(subject):
        found = _PATHS.findall(text)
        if name.endswith(".json"):
            found += _ANY_PATH.findall(text)
        if found:
            yield Found(name, f"{listed(map(show, dict.fromkeys(found)), 3)}")


@rule(
    "e-mail", "warning",
    what="a file holds an e-mail address",
    why="an address in a public repository collects spam, and may not be yours to publish",
    fix="remove it, or ignore this rule if the contact is meant",
    source="data protection: personal data",
)  # fmt: skip
def e_mail(subject: Subject) -> Iterator[Found]:
    for name, text in _texts(subject):
        found = [address for address in _ADDRESS.findall(text) if not _NOBODY.search(address)]
        if found and not _LEGAL.fullmatch(name):
            yield Found(name, f"{listed(map(show, dict.fromkeys(found)), 3)}")


def _texts(subject: Subject, *, vocabularies: bool = False) -> Iterator[tuple[str, str]]:
    """Files of text with their text, and what safetensors files say in their metadata."""
    for name, entry in subject.files.items():
        plain = entry.last in (".env", ".netrc", ".git-credentials") or name.lower().endswith(_TEXT)
        if not plain or (entry.last in _VOCABULARY and not vocabularies) or name.endswith(".index.json"):
            continue
        if (text := subject.text(name, _LIMIT)) is not None:
            yield name, text
    for name, contents in subject.weights.contents.items():
        if told := "\n".join(
            f'"{key}": "{value}"' for key, value in contents.metadata.items() if isinstance(value, str)
        ):
            yield name, told
