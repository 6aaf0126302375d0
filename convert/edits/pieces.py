"""SentencePiece models as files: one merged into another, and the training of what to merge."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from convert.edits.tokens import read_addition, read_file, read_lines
from convert.side_outputs import write_file
from surgery.errors import OutputBusy, StorageFailed, UsageError, listed, quote, show
from surgery.tokenizer.grow import merged
from surgery.tokenizer.pieces import Scores, add_piece
from surgery.tokenizer.sources import looks_like_tiktoken, read_sentencepiece
from surgery.tokenizer.training import train_pieces

_LISTED = 20  # of what was left out for one reason; --json has all


@dataclass(frozen=True)
class Merged:
    """What became of the pieces."""

    said: Mapping[str, Any]
    lines: tuple[str, ...]


def merge_tokenizer(
    base: str | Path,
    out: str | Path,
    add: str | Path | None,
    *,
    condition: str | None = None,
    most: int | None = None,
    scores: Scores = "canonical",
    append: Iterable[str] = (),
) -> Merged:
    """Write ``out`` as the SentencePiece model ``base`` with the pieces of ``add``, then those of ``append``."""
    _refuse_taken(Path(out))
    data = read_file(Path(base))
    if looks_like_tiktoken(data):
        raise UsageError(f"{show(str(base))} is a tiktoken file; pieces can only be added to a SentencePiece model.")
    if data.lstrip()[:1] == b"{":
        raise UsageError(
            f"{show(str(base))} is JSON; pieces can only be added to a SentencePiece model. `surgery extend-vocab` adds "
            "tokens to a model whose tokenizer is a tokenizer.json."
        )
    size = read_sentencepiece(Path(base).name, data).size
    append = tuple(append)
    if add is None and not append:
        raise UsageError("there is nothing to add: give --add or --append.")
    lines: list[str] = []
    counts: dict[str, int] = {}
    left: list[dict[str, str]] = []
    if add is not None:
        addition = read_addition(add, condition=condition, most=most)
        merge = merged(data, addition, scores)
        data = merge.model
        no_text = {piece.text for piece in addition.pieces if piece.kind != "normal"}
        counts = {
            "added": len(merge.added), "duplicates": sum(piece not in no_text for piece in merge.duplicates),
            "skipped": len(merge.skipped), "unreachable": len(merge.unreachable),
        }  # fmt: skip
        left = [{"piece": piece, "reason": reason} for piece, reason in merge.skipped]
        lines.append(f"{merge.report} (scores {scores})")
        lines += [f"left out: {line}" for line in by_reason(merge.skipped)]
        if merge.unreachable:
            lines.append(f"out of reach, since text is cut otherwise: {listed(map(quote, merge.unreachable), 5)}")
    for piece in append:
        data = add_piece(data, piece)
    pieces = size + counts.get("added", 0) + len(append)
    write_file(Path(out), data)
    said = {**counts, "left": left, "appended": len(append), "pieces": pieces}
    return Merged(said, (*lines, f"{size} pieces become {pieces}"))


def by_reason(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """What was left out, a line for each reason, as the user wrote it."""
    tokens: dict[str, list[str]] = {}
    for token, reason in skipped:
        tokens.setdefault(reason, []).append(token)
    return [f"{len(each)}, because {reason}: {listed(map(quote, each), _LISTED)}" for reason, each in tokens.items()]


def train(
    corpus: Iterable[str | Path],
    out: str | Path,
    size: int,
    *,
    algorithm: Literal["bpe", "unigram"] = "bpe",
    coverage: float = 0.9995,
    longest_piece: int = 8,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write ``out`` as a SentencePiece model trained on text files; returns the number of pieces."""
    _refuse_taken(Path(out))
    model = train_pieces(
        read_lines(corpus), size, algorithm=algorithm, coverage=coverage, longest_piece=longest_piece, progress=progress
    )
    write_file(Path(out), model)
    return read_sentencepiece(Path(out).name, model).size


def _refuse_taken(out: Path) -> None:
    if os.path.lexists(out):
        raise OutputBusy(f"{show(str(out))} exists already, and nothing of it was touched. Choose another name.")
    if not out.parent.is_dir():
        raise StorageFailed(f"{show(str(out.parent))}, the directory that OUT should be created in, does not exist.")
