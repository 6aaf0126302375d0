"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from convert.cli.places import overwrite_option
from convert.quantity import nbytes
from surgery.limits import MEMORY, SECONDS

F = TypeVar("F", bound=Callable[..., Any])


class Bytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """A size such as 5GB, 500MB, 1GiB or a plain number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if (size := nbytes(value)) is None:
            self.fail(f"{value!r} is not a size; write 5GB, 500MB or 1GiB.", param, ctx)
        return size


def stacked(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of --help."""

    def apply(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return apply


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks.")
variant_option = click.option("--variant", help="Which variant of the source's family, where the files cannot tell.")
accept_option = click.option(
    "--accept-key", "accept", multiple=True, metavar="KEY", help="A config key that you know to be harmless."
)



def names_between_commas(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    """Several names between commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


tensor_parallel_option = click.option(
    "--tensor-parallel", type=click.IntRange(1, 256), default=1, metavar="N",
    help="Files to write, where a family keeps a slab of every tensor in each (meta).",
)  # fmt: skip
mtp_option = click.option(
    "--mtp", type=click.Choice(["keep", "drop"]), default="keep", show_default=True,
    help="Layers that only predict further tokens (DeepSeek-V3): serving may draft with them, plain decoding never runs them.",
)  # fmt: skip
shard_size_option = click.option(
    "--max-shard-size", type=Bytes(), default="5GB", show_default=True, metavar="SIZE", help="Bytes of tensors a file."
)

witness_option = click.option(
    "--witness", type=click.Choice(["auto", "required", "off"]), default=None,
    help="Let transformers judge a miniature of the output: auto (the default) where it can.",
)  # fmt: skip

def _for_files(variable: str, context: click.Context, value: float | None) -> None:
    """Says a limit to this process and to those that it starts, until the command is done."""
    if value is None:
        return
    before = os.environ.get(variable)
    os.environ[variable] = str(value)

    def restore() -> None:
        os.environ.pop(variable, None) if before is None else os.environ.update({variable: before})

    context.call_on_close(restore)


#: what every command has: how much the files of a stranger may make it do
file_limits = (
    click.Option(
        ["--file-seconds"], type=click.FloatRange(0, min_open=True), metavar="N", expose_value=False,
        callback=lambda context, option, value: _for_files(SECONDS, context, value),
        help="Computing that a tokenizer file may cause, more for large ones (10).",
    ),
    click.Option(
        ["--file-memory"], type=Bytes(), metavar="SIZE", expose_value=False,
        callback=lambda context, option, value: _for_files(MEMORY, context, value),
        help="Memory that a tokenizer file may take, more for large ones (1GB).",
    ),
)  # fmt: skip

#: what decides the plan
planning = stacked(
    variant_option,
    click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16", "float64"]), help="Cast every weight."),
    click.option("--mend", "mends", multiple=True, metavar="PASS", help="Allow a pass that costs something, e.g. repeat-kv."),
    click.option(
        "--prefer", "prefer", multiple=True, metavar="PASS",
        help="Of two passes that do the same, the other one: gauge (for fold), proportional (for longrope).",
    ),
    accept_option,
    tensor_parallel_option,
    mtp_option,
    shard_size_option,
    click.option(
        "--tokenizer", type=click.Choice(["convert", "canonical", "carry"]), default="convert", show_default=True,
        help="Rewrite the tokenizer so that it needs no remote code (canonical: also where scores tie), or copy its files.",
    ),
    click.option(
        "--allow-vocab-mismatch", "vocab_mismatch", is_flag=True,
        help="Convert a tokenizer with more ids than the embeddings have rows all the same, and say so.",
    ),
    click.option(
        "--for", "consumers", callback=names_between_commas, default="", metavar="PROGRAMS",
        help="Refuse or warn where these would mis-serve the output: transformers, transformers-4, vllm, llama.cpp, mlx.",
    ),
)

#: the names under which those options arrive
PLANNING = (
    "variant", "dtype", "mends", "prefer", "accept", "max_shard_size", "tensor_parallel", "mtp", "tokenizer",
    "vocab_mismatch", "consumers",
)  # fmt: skip

#: what decides how the plan is carried out
writing = stacked(
    click.option(
        "--verify", "verify_mode", type=click.Choice(["full", "quick", "off"]), default="quick", show_default=True,
        help="Prove the output before it appears.",
    ),
    witness_option,
    click.option("--dry-run", is_flag=True, help="Print the plan and write nothing."),
    click.option("--lineage", type=click.Path(dir_okay=False), help="Write where each output tensor comes from."),
    overwrite_option,
    click.option("--workers", "-j", type=click.IntRange(1, 64), default=2, show_default=True, help="Shards written at once."),
    click.option(
        "--read-back", type=click.Choice(["cache", "disk", "off"]), default="cache", show_default=True,
        help="How written bytes are checked: disk costs a read of the output.",
    ),
    click.option("--ram", type=Bytes(), metavar="SIZE", help="Refuse to start if the writer would need more."),
    json_option,
    debug_option,
)  # fmt: skip

#: why some commands verify nothing, and what holds instead
COPIED = "not verified as a model: every byte is a copy, and what was written is read back and compared"
BITS = "not verified as a model: every tensor of a lossless delta is compared with the hash that it was made with"
DIFFERENCE = "not verified: a difference of two models is no model to be run; applying it is verified"

#: what conversions have: an edit's plan follows from its arguments
plan_out_option = click.option("--plan-out", type=click.Path(dir_okay=False), help="Save the plan; `run --plan` executes it.")

#: what every edit has: it writes OUT in the layout of SRC's own family, so that less is left to decide
editing = stacked(
    click.argument("src"),
    click.argument("out", required=False),
    variant_option,
    accept_option,
    tensor_parallel_option,
    shard_size_option,
    writing,
)
