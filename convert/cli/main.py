"""``convert``: commands are found by name and imported only when they are run, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import click

from convert.cli.lazy import Lazy, with_limits
from convert.cli.running import run
from convert.version import VERSION

_PAIR = re.compile(r"([a-z0-9_.]+(?:-[a-z0-9_.]+)*)-to-([a-z0-9_.]+(?:-[a-z0-9_.]+)*)")
_IMAGE_OPTIONS = ("resize", "quality", "rotate", "crop", "density")
_IMAGE = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf", ".tif", ".tiff", ".bmp", ".ico", ".heic", ".eps")

#: command -> (module:attribute, one line for --help)
COMMANDS = {
    "run": ("convert.cli.conversion:run_", "Convert SRC to a family; the source's family is recognised."),
    "plan": ("convert.cli.conversion:plan_", "What a conversion would do: tensors, bytes, memory, exactness."),
    "verify": ("convert.cli.verification:verify_", "Prove that OUT computes what SRC computes."),
    "validate": ("convert.cli.validation:validate_", "Everything that would embarrass whoever publishes DIR, with its fix."),
    "card": ("convert.cli.validation:card_", "Write or complete OUT's model card from facts."),
    "chat-check": ("convert.cli.tokenizer:chat_check_", "Compare chat prompts token for token."),
    "inspect": ("convert.cli.looking:inspect_", "Family, sizes, traits, dtypes of a checkpoint, from its headers."),
    "diff": ("convert.cli.looking:diff_", "What differs between two checkpoints: tensors, config, tokenizer."),
    "families": ("convert.cli.looking:families_", "The families and directions, with exactness classes."),
    "explain": ("convert.cli.looking:explain_", "How a family differs from Llama or another, row by row."),
    "repack": ("convert.cli.conversion:repack_", "The same tensors as safetensors, resharded; any family."),
    "doctor": ("convert.cli.looking:doctor_", "This installation: which `convert` wins, versions, disk."),
}


class Commands(Lazy):
    """Finds commands by name; ``FAMILY-to-FAMILY`` is a command for every pair of families."""

    table = COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (found := super().get_command(ctx, cmd_name)) is not None:
            return found
        if (pair := _PAIR.fullmatch(cmd_name)) is not None:
            from convert.cli.conversion import pair_command

            return with_limits(pair_command(pair[1], pair[2]))
        return None

    def listing(self) -> list[tuple[str, str]]:
        return [("FAMILY-to-FAMILY", "Convert SRC to OUT, e.g. baichuan-to-llama, llama-to-yi."), *super().listing()]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if _looks_like_image_work(args[0]):
            raise click.UsageError(_not_imagemagick())
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="weightsmith")
def cli() -> None:
    """Rewrite LLM checkpoints as another family, prove that they compute the same function.

    SRC is a directory, a Hub-cache snapshot or a repository id org/name[@revision].
    Exit statuses: 0 done, 1 our bug, 2 usage, 3 bad or unsupported input, 4 unsafe, 5 verification failed or
    validation has findings, 6 I/O, 7 busy or output exists, 8 resource limit, 9 cannot be judged, 128+n signal.
    """


def main() -> None:
    """Entry point of the console scripts."""
    sys.exit(run(cli, Path(sys.argv[0]).name))


def _looks_like_image_work(first: str) -> bool:
    name = first.partition(":")[2] or first
    return name.lower().endswith(_IMAGE) or (first.startswith("-") and first.lstrip("-") in _IMAGE_OPTIONS)


def _not_imagemagick() -> str:
    own = os.path.realpath(sys.argv[0])
    others = [
        str(found)
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if (found := Path(folder) / "convert").is_file() and os.path.realpath(found) != own and os.access(found, os.X_OK)
    ]
    where = f"ImageMagick's may be {others[0]}" if others else f"ImageMagick's is `{shutil.which('magick') or 'magick'}`"
    return f"this `convert` is weightsmith's ({own}), which converts LLM checkpoints. {where}."
