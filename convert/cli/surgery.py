"""``surgery``: edits of checkpoints, one command each, found by name and imported only when they are run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from convert.cli.lazy import Lazy
from convert.cli.running import run
from convert.version import VERSION

#: command -> (module:attribute, one line for --help)
COMMANDS = {
    "untie": ("convert.cli.edits:untie_", "Give the output projection a tensor of its own."),
    "tie": ("convert.cli.edits:tie_", "Leave out an output projection that equals the embeddings."),
    "cast": ("convert.cli.edits:cast_", "Another element type, with an audit of what it costs."),
    "reshard": ("convert.cli.edits:reshard_", "The same tensors in files of another size; any family."),
    "to-safetensors": ("convert.cli.edits:to_safetensors_", "The same tensors as safetensors; any family."),
    "drop-buffers": ("convert.cli.edits:drop_buffers_", "Leave out what every loader computes anew."),
    "repeat-kv": ("convert.cli.edits:repeat_kv_", "Repeat key-value heads, for more devices than heads."),
    "merge-lora": ("convert.cli.additions:merge_lora_", "Merge LoRA adapters into their base, or take one out."),
    "apply-delta": ("convert.cli.additions:apply_delta_", "Add a delta to its base."),
    "make-delta": ("convert.cli.additions:make_delta_", "What a target adds to its base, rounded or lossless."),
    "extend-vocab": ("convert.cli.vocabulary:extend_vocab_", "Add tokens: tokenizer, embeddings, output projection."),
    "trim-vocab": ("convert.cli.vocabulary:trim_vocab_", "Keep the tokens that a corpus needs."),
    "pad-vocab": ("convert.cli.vocabulary:pad_vocab_", "Add rows without tokens, to a round number."),
    "unpad-vocab": ("convert.cli.vocabulary:unpad_vocab_", "Take rows without tokens away."),
    "transplant-tokenizer": ("convert.cli.vocabulary:transplant_tokenizer_", "Another model's tokenizer."),
    "merge-tokenizer": ("convert.cli.vocabulary:merge_tokenizer_", "Merge pieces into a SentencePiece model."),
    "train-pieces": ("convert.cli.vocabulary:train_pieces_", "Train the pieces to add, on text."),
    "run": ("convert.cli.recipes:run_", "A recipe of several edits, in one pass."),
}


class Commands(Lazy):
    """The edits."""

    table = COMMANDS


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="surgery")
def cli() -> None:
    """Edit LLM checkpoints in one pass and bounded memory: surgery NAME SRC OUT.

    SRC is a directory, a Hub-cache snapshot or a repository id org/name[@revision]; OUT is written in SRC's own layout.
    Exit statuses are those of `convert`.
    """


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(cli, Path(sys.argv[0]).name))
