"""What every command shares: how errors and signals become exit statuses, and where what is printed goes."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import click

from convert.interrupt import Interrupted
from convert.refusal import as_refusal
from surgery.errors import StorageFailed


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a click command; returns the exit status. Errors go to stderr as one paragraph, tracebacks to a log file."""
    _open_streams()
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a user's words are printed as they are, where the terminal has the letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _working_directory()
        status = command.main(args=arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return 2
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except Interrupted as signal:
        click.echo("interrupted; nothing was published, and the same command run again goes on from finished shards", err=True)
        return 128 + signal.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        refusal = as_refusal(error)
        if refusal is not None:
            click.echo(f"error: {refusal}", err=True)
            return refusal.status
        click.echo(
            f"error: this is a bug in weightsmith, not in your input: {type(error).__name__}. {_log()}", err=True
        )
        return 1


def _open_streams() -> None:
    """Streams that the caller closed lead nowhere: else the first file that is opened would get their number, and their text."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, ("stdin", "stdout", "stderr")[number], open(number, mode, closefd=False))  # noqa: SIM115


def _working_directory() -> None:
    """Refuse to run where there is none any more: libraries are not found, and paths lead nowhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise StorageFailed(
            "the working directory does not exist any more: it was deleted or moved. Change to another one, and run again."
        ) from None


def emit(text: str, as_json: bool, value: Callable[[], Any]) -> None:
    """The result, and nothing else, on stdout: ``text``, or with ``--json`` one JSON document."""
    if as_json:
        text = json.dumps(_strict(value()), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    click.echo(text)


def _strict(value: Any) -> Any:
    """JSON values in which numbers that JSON lacks (NaN, infinities) are texts."""
    if isinstance(value, dict):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def note(text: str) -> None:
    """Something worth knowing that is not the result."""
    click.echo(f"note: {text}", err=True)


def warning(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _log() -> str:
    """Keep the traceback; says where."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="weightsmith-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
    except OSError:
        return "Run again with --debug to see the traceback."
    return f"The traceback is in {log.name}; please report it."
