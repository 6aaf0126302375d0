"""Where new tokens come from, on disk: a file, or a folder with another model's tokenizer; and the filters of words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path

from convert.checkpoint import Checkpoint, read_bytes
from convert.checkpoint.files import list_folder
from convert.documents import is_licence
from convert.given import content, given
from convert.tokenizing import has_tokenizer
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError, LimitExceeded, StorageFailed, UsageError, show
from surgery.tokenizer.donors import (
    Filter,
    among,
    cjk,
    donor_pieces,
    donor_tokens,
    kept,
    kept_pieces,
    matching,
    piece_texts,
    words,
)  # fmt: skip
from surgery.tokenizer.grow import Addition, as_tokenizer_json
from surgery.tokenizer.sources import LARGEST

_NO_TOKENIZER = ("config.json", "generation_config.json", "README.md", "params.json", "weightsmith.json")
_LONGEST = 1 << 26  # characters of a line


def tokenizer_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The checkpoint's tokenizer: its documents but licences and the configurations of other things."""
    return {name: read_bytes(checkpoint.documents[name]) for name in tokenizer_names(checkpoint)}


def tokenizer_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    return tuple(
        sorted(
            name
            for name in checkpoint.documents
            if name not in _NO_TOKENIZER and not name.endswith("processor_config.json") and not is_licence(name)
        )
    )


def folder_files(folder: Path) -> dict[str, bytes]:
    """The tokenizer files that lie in a folder, which need not hold a model."""
    try:
        found = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:
        raise StorageFailed(f"{show(str(folder))} cannot be read: {error.strerror}.") from None
    endings = (".json", ".model", ".tiktoken", ".txt", ".bpe", ".jinja")
    listing = list_folder(folder)  # a stranger's folder: a link in it may lead to nothing but itself
    wanted = [listing.find(name) for name in found if name not in _NO_TOKENIZER and name.endswith(endings)]
    for file in wanted:
        _check_size(file.name, file.size)
    return {file.name: read_bytes(file) for file in wanted}


def read_file(path: Path) -> bytes:
    """A file of tokens, refused before it is read where no vocabulary is as large."""
    return content(path, LARGEST, "a tokenizer file")


def _check_size(name: str, size: int) -> None:
    if size > LARGEST:
        raise LimitExceeded(
            f"{show(name)} has {size:,} bytes, more than the {LARGEST:,} that a tokenizer file may have: the largest "
            "known vocabulary takes 33 MB, so this is another file under that name; check where it came from."
        )


def read_tokens(source: str | Path) -> Addition:
    """The tokens of a file or folder; those of a trained model hold the steps towards each other."""
    path = Path(source)
    if path.is_dir():
        files = folder_files(path)
        if not has_tokenizer(files):
            raise UsageError(
                f"{show(str(source))} is a folder without a tokenizer (tokenizer.json, tokenizer.model, *.tiktoken, vocab.json), "
                "so there are no tokens to add: name the folder of another model, or a file of tokens or words."
            )
        value = as_tokenizer_json(files, partial(recipe_for, ""))
        return Addition(donor_tokens("tokenizer.json", json.dumps(value).encode()))
    data = read_file(path)
    pieces = donor_pieces(path.name, data)
    if pieces:
        return Addition(piece_texts(pieces), trained=True, pieces=pieces)
    return Addition(donor_tokens(path.name, data), trained=path.name.endswith(".model"))


def read_addition(
    source: str | Path | None,
    *,
    condition: str | None = None,
    most: int | None = None,
    atoms: Iterable[str] = (),
    special: bool = False,
) -> Addition:
    """What to add: the tokens of ``source`` that meet ``condition``, the first ``most`` of them, and ``atoms``."""
    atoms = tuple(atoms)
    if special and not atoms:
        raise UsageError("--special is about the tokens of --tokens, and there are none: give them, or leave it out.")
    found = read_tokens(source) if source is not None else Addition()
    if condition is not None or most is not None:
        wanted = read_filter(condition)
        pieces = kept_pieces(found.pieces, wanted, most)
        found = replace(found, tokens=kept(found.tokens, wanted, most), pieces=pieces)
    found = replace(found, atoms=atoms, special=special)
    if not (found.tokens or found.atoms or found.pieces):
        said = f" that meets --filter {show(condition)}" if condition else ""
        where = f"{show(str(source))} has no token{said}" if source else "give --add FILE, or --tokens TEXT"
        raise UsageError(f"there is nothing to add: {where}.")
    return found


def read_filter(condition: str | None) -> Filter:
    """``cjk``, ``regex:PATTERN`` or ``file:WORDS``; None lets everything through."""
    kind, _, rest = (condition or "regex:").partition(":")
    if kind == "cjk" and not rest:
        return cjk
    if kind == "regex":
        return matching(rest)
    if kind == "file" and rest:
        listed = words(Path(rest).name, read_file(Path(rest)))
        wanted = among(word.strip() for word in listed)
        return lambda text: wanted(text.strip())
    raise UsageError(f"--filter {show(condition)}: say cjk, regex:PATTERN or file:WORDS.")


def read_lines(paths: Iterable[str | Path]) -> Iterator[str]:
    """The lines of text files, without their ends; a byte that is no UTF-8 is refused with its place."""
    for path in map(Path, paths):
        try:
            with given(path) as file, TextIOWrapper(file, encoding="utf-8") as text:
                while line := text.readline(_LONGEST):
                    if len(line) == _LONGEST:
                        raise LimitExceeded(
                            f"{show(path.name)} has a line of over {_LONGEST:,} characters: break it up, if it is text at all."
                        )
                    yield line.rstrip("\n")
        except UnicodeDecodeError as error:
            raise ConversionError(
                f"{show(path.name)} is not UTF-8 text (byte {error.start} of a block: {show(error.reason)}); save it as UTF-8."
            ) from None
