"""A source and a recipe become the value that is written as tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, listed, show
from surgery.tokenizer import pipeline
from surgery.tokenizer.alphabet import spell
from surgery.tokenizer.leftmost import MARK, leftmost, unmarked
from surgery.tokenizer.merges import merges_by_rank, merges_by_score
from surgery.tokenizer.pieces import never_made
from surgery.tokenizer.pipeline import Json
from surgery.tokenizer.recipe import Recipe, Special
from surgery.tokenizer.sources import BpeFiles, Piece, SentencePieceModel, TiktokenRanks


def build(source: SentencePieceModel | TiktokenRanks | BpeFiles, recipe: Recipe) -> Json:
    """tokenizer.json as a value; raises where the recipe names tokens that the source lacks."""
    match source:
        case SentencePieceModel():
            return _from_pieces(source, recipe)
        case TiktokenRanks(name=name, ranks=ranks):
            vocab = {spell(token): rank for token, rank in ranks.items()}
            merges = [list(pair) for pair in merges_by_rank(ranks)]
            return _byte_level(name, vocab, merges, recipe, whole_words=True)
        case BpeFiles(names=names, vocab=found, merges=pairs):
            return _byte_level(names[0], dict(found), [list(pair) for pair in pairs], recipe, whole_words=False)


def _byte_level(name: str, vocab: dict[str, int], merges: list[list[str]], recipe: Recipe, whole_words: bool) -> Json:
    added = _number(name, vocab, recipe)
    model = _bpe(vocab, merges, unk=None, byte_fallback=False, ignore_merges=whole_words)
    return _assembled(
        model, added, recipe,
        normaliser=pipeline.sequence("normalizers", [pipeline.step(step) for step in recipe.steps]),
        pre_tokenizer=pipeline.byte_level(recipe.pattern), decoder=pipeline.BYTE_LEVEL_DECODER,
    )  # fmt: skip


def _from_pieces(source: SentencePieceModel, recipe: Recipe) -> Json:
    if source.algorithm not in ("bpe", "unigram"):
        raise ConversionError(
            f"{show(source.name)} is a SentencePiece model of kind {source.algorithm}, which tokenizer.json cannot "
            "express: "
            "only bpe and unigram have a counterpart in the tokenizers library; keep the vendor's own tokenizer class"
        )
    known = _named(recipe)
    texts = [recipe.renamed.get(place, piece.text) for place, piece in enumerate(source.pieces)]
    user = {
        place: text for place, text in enumerate(texts) if source.pieces[place].kind == "user" and text not in known
    }
    cut = _cut(source, recipe, tuple(user.values()))
    renamed = {**{place: text + MARK for place, text in enumerate(texts) if text in cut.unmade}, **recipe.renamed}
    texts = [renamed.get(place, text) for place, text in enumerate(texts)]
    vocab = {text: place for place, text in enumerate(texts)}
    if len(vocab) != len(texts):
        raise ConversionError(
            f"{show(source.name)}: a name that the recipe {recipe.name} gives is a piece already; this is another "
            "vocabulary"
        )
    added = _number(source.name, vocab, recipe)
    if not cut.users:
        added |= {place: Special(text, normalised=True, special=False) for place, text in user.items()}
    unk = texts[source.unk] if source.unk >= 0 else None
    if source.algorithm == "bpe":
        merges = [list(pair) for pair in merges_by_score(source.pieces, renamed)]
        model = _bpe(vocab, merges, unk, source.byte_fallback, cut.pre_tokenizer is not None)
    else:
        model = {
            "type": "Unigram", "unk_id": source.unk if source.unk >= 0 else None, "byte_fallback": source.byte_fallback,
            "vocab": [list(scored) for scored in zip(texts, _unigram_scores(source.pieces), strict=True)],
        }  # fmt: skip
    decoder = pipeline.piece_decoder(source)
    protected = [text for text in user.values() if len(text) == 1] if cut.users else []
    return _assembled(
        model, added, recipe, normaliser=pipeline.normaliser(source, recipe.steps, protected),
        pre_tokenizer=cut.pre_tokenizer, decoder=unmarked(decoder) if cut.unmade else decoder,
    )  # fmt: skip


@dataclass(frozen=True)
class _Cut:
    """What is cut out of text before merges, if anything, and the pieces that must not be found as what was cut out."""

    pre_tokenizer: Json | None = None
    unmade: frozenset[str] = frozenset()
    users: bool = False  # whether the pieces that users defined are cut out so


def _cut(source: SentencePieceModel, recipe: Recipe, user: Sequence[str]) -> _Cut:
    bpe = source.algorithm == "bpe"
    if recipe.ties and bpe:
        unmade = never_made(source) - _named(recipe)
        if (split := leftmost(source, unmade)) is not None:
            return _Cut(split, unmade)
    if user and source.dummy_prefix:
        # As added tokens they would be looked for with the dummy prefix in front (tokenizers normalises their text too).
        return _Cut(pipeline.isolate(user), never_made(source) - _named(recipe) if bpe else frozenset(), users=True)
    return _Cut()


def _named(recipe: Recipe) -> frozenset[str]:
    """The tokens that a recipe knows by name."""
    return frozenset(special.text for special in (*recipe.specials, *recipe.numbered.values()))


def _unigram_scores(pieces: Sequence[Piece]) -> list[float]:
    """Scores with which Unigram passes over the pieces that SentencePiece never finds in text (bytes, control pieces ...).

    tokenizers finds every piece of the vocabulary in text. So these get less than the worst way to cut the same
    characters, of which each costs at most what an unknown one does: the lowest score less 10
    (google/sentencepiece src/unigram_model.cc, kUnkPenalty).
    """
    lowest = min((piece.score for piece in pieces if piece.kind == "normal"), default=0.0)
    longest = max(len(piece.text) for piece in pieces)
    hidden = (longest + 1) * (min(lowest, 0.0) - 10)
    return [piece.score if piece.kind in ("normal", "user") else hidden for piece in pieces]


def _number(name: str, vocab: dict[str, int], recipe: Recipe) -> dict[int, Special]:
    """The recipe's specials with their ids; those that the file does not list join the vocabulary.

    They join it because tokenizers gives an added token that the model lacks the next free id, whatever the file says.
    """
    for place, special in recipe.numbered.items():
        if vocab.setdefault(special.text, place) != place:
            raise ConversionError(
                f"{show(name)}: {show(special.text)} has the id {vocab[special.text]}, but the recipe {recipe.name} "
                f"knows it as {place}; this is another vocabulary"
            )
    missing = [special.text for special in recipe.specials if special.text not in vocab]
    if missing:
        raise ConversionError(
            f"{show(name)} lacks {listed(show(text) for text in missing)}, which every {recipe.name} vocabulary has; "
            "it is another vocabulary, "
            "or tokenizer_config.json (which numbers added tokens) is not among the files"
        )
    return {vocab[special.text]: special for special in (*recipe.specials, *recipe.numbered.values())}


def _bpe(
    vocab: Mapping[str, int], merges: list[list[str]], unk: str | None, byte_fallback: bool, ignore_merges: bool
) -> Json:
    return {
        "type": "BPE", "dropout": None, "unk_token": unk, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": unk is not None, "byte_fallback": byte_fallback, "ignore_merges": ignore_merges,
        "vocab": dict(sorted(vocab.items(), key=lambda entry: entry[1])), "merges": merges,
    }  # fmt: skip


def _assembled(model: Json, added: Mapping[int, Special], recipe: Recipe, **parts: Any) -> Json:
    ids = {special.text: place for place, special in added.items()}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {
                "id": place, "content": special.text, "single_word": False, "lstrip": special.strip,
                "rstrip": special.strip, "normalized": special.normalised, "special": special.special,
            }
            for place, special in sorted(added.items())
        ],
        "normalizer": parts["normaliser"], "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": pipeline.in_front(recipe.prefix, ids), "decoder": parts["decoder"], "model": model,
    }  # fmt: skip
