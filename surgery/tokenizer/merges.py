"""Merges in order, recovered from vocabularies that only carry scores or ranks.

SentencePiece and tiktoken join any two neighbours whose joint text is in the vocabulary, best score or lowest rank
first. A merge list says the same once it holds *every* way of cutting each piece into two pieces, ordered by that score
or rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from surgery.tokenizer.alphabet import spell
from surgery.tokenizer.sources import Piece

Merge = tuple[str, str]


def merges_by_score(pieces: Sequence[Piece], renamed: Mapping[int, str]) -> list[Merge]:
    """Merges of a SentencePiece BPE model; pieces that are not normal neither arise from merges nor take part in them.

    Order is by score, not by id: 892 of InternLM's pieces are out of order. Equal scores keep the order of ids, which
    is a choice: SentencePiece then takes the leftmost pair, which no merge list can say.
    """
    mergeable = {piece.text for place, piece in enumerate(pieces) if piece.kind == "normal" and place not in renamed}
    ranked = sorted(
        ((piece.score, place) for place, piece in enumerate(pieces) if piece.text in mergeable and len(piece.text) > 1),
        key=lambda entry: (-entry[0], entry[1]),
    )
    return [
        (text[:cut], text[cut:])
        for text in (pieces[place].text for _, place in ranked)
        for cut in range(1, len(text))
        if text[:cut] in mergeable and text[cut:] in mergeable
    ]


def merges_by_rank(ranks: Mapping[bytes, int]) -> list[Merge]:
    """Merges of a tiktoken file, spelled in the byte-level alphabet."""
    ordered = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    return [
        (spell(token[:cut]), spell(token[cut:]))
        for token in ordered
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]
