"""Commands on vocabularies: of models (extend, trim, pad, unpad, transplant) and of SentencePiece files (merge, train)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.cli.conversion import carry_out
from convert.cli.options import debug_option, editing, json_option
from convert.cli.places import command
from convert.cli.running import emit, note

if TYPE_CHECKING:
    from convert.edits.vocabulary import Revised
    from surgery.model import Artefact

_add_option = click.option(
    "--add", metavar="PLACE",
    help="Tokens: a SentencePiece model, tokenizer.json, tiktoken file, words (.txt), or a folder with a tokenizer.",
)  # fmt: skip
_filter_option = click.option(
    "--filter", "condition", metavar="WHICH", help="Of those, only: cjk, regex:PATTERN or file:WORDS."
)
_most_option = click.option("--most", type=click.IntRange(1), metavar="N", help="Of those, the first N.")
_scores_option = click.option(
    "--scores", type=click.Choice(["canonical", "published"]), default="canonical", show_default=True,
    help="Of SentencePiece pieces: below all old ones, so that old text keeps its ids; or 0, as Chinese-LLaMA has them.",
)  # fmt: skip
_multiple_option = click.option(
    "--pad-to-multiple-of",
    "pad_to",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Round the number of rows up.",
)
_k_option = click.option(
    "--k",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Shared tokens that a donor's token is made of.",
)
_effect_option = click.option(
    "--effect/--no-effect", default=True, show_default=True, help="Run both models to say what the new rows take."
)


@command("extend-vocab")
@editing
@_add_option
@_filter_option
@_most_option
@click.option(
    "--tokens", multiple=True, metavar="TOKEN", help="A token found before anything else, e.g. '<|im_start|>'; repeat."
)
@click.option("--special", is_flag=True, help="Those tokens are left out of decoded text.")
@_scores_option
@_multiple_option
@click.option(
    "--init", default="subword-mean", show_default=True, metavar="HOW",
    help="New rows: subword-mean, mean, mean-cov, zero, normal, copy:TOKEN or donor:MODEL.",
)  # fmt: skip
@_k_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of mean-cov and normal.")
@click.option(
    "--measure",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="A text to compare the tokenizers on.",
)
@_effect_option
def extend_vocab_(
    src: str, out: str | None, add: str | None, condition: str | None, most: int | None, tokens: tuple[str, ...], special: bool,
    scores: Any, pad_to: int, init: str, k: int, seed: int, measure: tuple[str, ...], effect: bool, **options: Any,
) -> None:  # fmt: skip
    """Write OUT as SRC with further tokens, in the tokenizer and in the embeddings; old text and old rows stay as they are."""
    from convert.edits.tokens import read_addition, read_lines
    from convert.edits.vocabulary import extend_vocab

    addition = read_addition(add, condition=condition, most=most, atoms=tokens, special=special)
    texts = {Path(path).name: "\n".join(read_lines([path])) for path in measure}
    artefact = _open(src, options)
    revised = extend_vocab(artefact, addition, init=init, scores=scores, pad_to=pad_to, seed=seed, k=k, measure=texts)
    _carry_out(revised, out, options, effect)


@command("trim-vocab")
@editing
@click.option(
    "--corpus", multiple=True, required=True, type=click.Path(exists=True, dir_okay=False),
    help="Text whose tokens are kept, a document each; repeat.",
)  # fmt: skip
@_multiple_option
def trim_vocab_(src: str, out: str | None, corpus: tuple[str, ...], pad_to: int, **options: Any) -> None:
    """Write OUT as SRC with the tokens that a corpus and chat prompts need, all bytes and all special tokens.

    The corpus, line ends too, and the chat template's prompts are cut as before, which is checked.
    """
    from convert.edits.corpus import Corpus
    from convert.edits.vocabulary_size import trim_vocab

    _carry_out(trim_vocab(_open(src, options), Corpus(tuple(map(Path, corpus))), pad_to=pad_to), out, options)


@command("pad-vocab")
@editing
@click.option("--rows", type=click.IntRange(1), help="Rows to have.")
@click.option("--pad-to-multiple-of", "--multiple-of", "multiple", type=click.IntRange(1), default=1, metavar="N",
              help="Round the number up.")  # fmt: skip
@click.option(
    "--padding", type=click.Choice(["mean", "zero"]), default="mean", show_default=True,
    help="What the rows are: a mean row never has the largest logit, a row of zeros may.",
)  # fmt: skip
@_effect_option
def pad_vocab_(
    src: str, out: str | None, rows: int | None, multiple: int, padding: Any, effect: bool, **options: Any
) -> None:
    """Write OUT as SRC with rows without tokens behind the last, for programs that want a round number."""
    from convert.edits.vocabulary_size import pad_vocab

    _carry_out(pad_vocab(_open(src, options), rows=rows, multiple=multiple, padding=padding), out, options, effect)


@command("unpad-vocab")
@editing
@click.option("--rows", type=click.IntRange(1), help="Rows to keep; default: as many as the tokenizer has ids.")
def unpad_vocab_(src: str, out: str | None, rows: int | None, **options: Any) -> None:
    """Write OUT as SRC without the rows that no token has."""
    from convert.edits.vocabulary_size import unpad_vocab

    _carry_out(unpad_vocab(_open(src, options), rows=rows), out, options)


@command("transplant-tokenizer")
@editing
@click.option("--donor", required=True, metavar="MODEL", help="The model whose tokenizer to take, with its embeddings.")
@_k_option
@_multiple_option
def transplant_tokenizer_(src: str, out: str | None, donor: str, k: int, pad_to: int, **options: Any) -> None:
    """Write OUT as SRC with the tokenizer of another model; tokens that SRC lacks are made of those that both have."""
    from convert.checkpoint import open_checkpoint
    from convert.edits.transplant import transplant_tokenizer
    from convert.prepare import open_artefact

    theirs = open_artefact(open_checkpoint(donor))
    _carry_out(transplant_tokenizer(_open(src, options), theirs, k=k, pad_to=pad_to), out, options)


@command("merge-tokenizer")
@click.argument("base", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path())
@_add_option
@_filter_option
@_most_option
@_scores_option
@click.option(
    "--append", multiple=True, metavar="PIECE", help="A piece of score 0 behind all, which text never reaches ([PAD])."
)
@json_option
@debug_option
def merge_tokenizer_(
    base: str, out: str, add: str | None, condition: str | None, most: int | None, scores: Any, append: tuple[str, ...],
    as_json: bool, debug: bool,
) -> None:  # fmt: skip
    """Write OUT as the SentencePiece model BASE with further pieces: the tokenizer's half of extend-vocab."""
    from convert.edits.pieces import merge_tokenizer

    done = merge_tokenizer(base, out, add, condition=condition, most=most, scores=scores, append=append)
    emit("\n".join([*done.lines, f"written: {out}"]), as_json, lambda: {**done.said, "out": out})


@command("train-pieces")
@click.argument("corpus", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path())
@click.option("--size", type=click.IntRange(8), required=True, metavar="N", help="Pieces to train.")
@click.option("--algorithm", type=click.Choice(["bpe", "unigram"]), default="bpe", show_default=True)
@click.option(
    "--coverage", type=float, default=0.9995, show_default=True, help="Share of characters, 0.98 to 1."
)
@click.option("--longest-piece", type=click.IntRange(1, 64), default=8, show_default=True, help="In characters.")
@debug_option
def train_pieces_(
    corpus: tuple[str, ...], out: str, size: int, algorithm: Any, coverage: float, longest_piece: int, debug: bool
) -> None:
    """Train the pieces to add, on text files, and write them as the SentencePiece model OUT."""
    from convert.edits.pieces import train

    told: list[int] = []

    def progress(lines: int) -> None:
        told.append(lines)
        click.echo(f"\r{lines:,} lines read", nl=False, err=True)

    try:
        count = train(
            corpus, out, size, algorithm=algorithm, coverage=coverage, longest_piece=longest_piece, progress=progress
        )
    finally:
        if told:
            click.echo(err=True)  # what comes next has a line of its own
    click.echo(f"{count} pieces\nwritten: {out}")


def _open(src: str, options: dict[str, Any]) -> Artefact:
    from convert.checkpoint import open_checkpoint
    from convert.prepare import open_artefact

    return open_artefact(open_checkpoint(src), variant=options["variant"], accept=options["accept"])


def _carry_out(revised: Revised, out: str | None, options: dict[str, Any], effect: bool = False) -> None:
    """Say what was found, write OUT, and say what the new rows do."""
    from convert.edits.vocabulary import plan_vocabulary
    from convert.wish import variant_of

    for line in revised.lines:
        click.echo(line, err=options["as_json"])
    layout = {key: options[key] for key in ("max_shard_size", "tensor_parallel")}
    plan = plan_vocabulary(revised, **layout)
    carry_out(plan, out, options)
    if not effect or revised.fresh is None or out is None or options["dry_run"]:
        return
    if plan.computes and plan.nbytes > _LARGE:
        note(
            f"the model is run twice more to measure the new rows ({plan.nbytes / 1e9:.0f} GB each); --no-effect leaves it out"
        )
    from convert.edits.effect import effect as measured

    variants = (options["variant"] or variant_of(plan.source), variant_of(plan.target))
    found = measured(plan.checkpoint.path, out, revised.fresh, revised.texts, variants=variants)
    for line in found.lines:
        click.echo(line, err=options["as_json"])


_LARGE = 4_000_000_000  # bytes
