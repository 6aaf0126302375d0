"""Commands in this process, and what they start as children in it too: a sweep of thousands starts no interpreter."""

from __future__ import annotations

import importlib
import io
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest import mock

from convert.children import Ended
from convert.cli.main import cli as weightsmith
from convert.cli.running import run
from convert.cli.surgery import cli as surgery
from convert.refusal import as_refusal

_PROGRAMS = {"weightsmith": weightsmith, "surgery": surgery}
_REFUSED = 3


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str


def _child(function: str, task: Mapping[str, Any], **options: Any) -> Ended:
    """What `convert.children.run` does, without a process."""
    module, _, name = function.partition(":")
    stdout, stderr = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "stdin", io.StringIO(json.dumps(task))), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            getattr(importlib.import_module(module), name)()
        except SystemExit as left:
            return Ended(int(left.code or 0), stdout.getvalue(), stderr.getvalue())
        except Exception as error:
            refusal = as_refusal(error)
            if refusal is not None:
                return Ended(_REFUSED, json.dumps({"refused": str(refusal), "status": refusal.status}), "")
            traceback.print_exc(file=stderr)
            return Ended(1, stdout.getvalue(), stderr.getvalue())
    return Ended(0, stdout.getvalue(), stderr.getvalue())


@contextmanager
def in_this_process() -> Iterator[None]:
    """Within, children are calls; what bounds a process, or shuts it off from the network, is left alone."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("convert.children.run", _child))
        for name in ("limit_memory", "forbid_network"):
            for module in ("surgery.apart.confined", "convert.verification.child"):
                stack.enter_context(mock.patch(f"{module}.{name}", lambda *_: None))
        yield


def ran(arguments: Sequence[str]) -> Done:
    """A command line, ``weightsmith ...`` or ``surgery ...``, run here; a fault of ours leaves its traceback on stderr."""
    program, *rest = arguments
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr), mock.patch("convert.cli.running._log", _shown):
        status = run(_PROGRAMS[program], program, rest)
    return Done(status, stdout.getvalue(), stderr.getvalue())


def _shown() -> str:
    return traceback.format_exc()
