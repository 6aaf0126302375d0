"""A case is made, converted, and judged: what is said, what is written, what is left as it was."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from unittest import mock

import torch
from safetensors.torch import load_file

from tests.corpus.case import Case
from tests.corpus.files import Tensors
from tests.corpus.good import EMBEDDING, HEAD, Good
from tests.odd.here import Done, ran

VERIFY = ("full", "off")
SECONDS = 60.0  # for files of kilobytes, on a machine that has other work
MEMORY, DISK = 3 << 30, 128 << 20  # bytes of address space beyond what the process has, and of any file
_RAW = re.compile(r"Traceback|this is a bug|\b(Type|Key|Attribute|Value|Index|Recursion)Error\b|object at 0x")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINES, _LETTERS = 200, 65536


class Late(BaseException):
    """Time is up, wherever the command is."""


def left_out(case: Case) -> bool:
    """No permission stops root."""
    return case.kind == "unreadable" and os.geteuid() == 0


def wrong(case: Case, half: str, verify: str, root: Path) -> list[str]:
    """What is wrong with how the case, made at `root`, is converted; within `tests.odd.here.in_this_process`."""
    good = Good(root / "case", half, case.name, case.family)
    good.write()
    case.change(good)
    place = root / "written"
    place.mkdir()
    out, before = place / "OUT", _seen(good.root)
    try:
        with _bounded(), mock.patch.object(socket.socket, "connect", _no_network):
            done = ran(["weightsmith", "run", str(good.input), str(out), "--to", "llama", "--verify", verify])
    except Late:
        return [f"no end within {SECONDS:.0f} seconds"]
    except MemoryError:
        return [f"more than {MEMORY >> 20} MB"]
    found = [*_said(case, done, verify), *(["code of the checkpoint ran"] if good.canary.exists() else [])]
    good.canary.unlink(missing_ok=True)
    if _seen(good.root) != before:
        found.append("the input was changed")
    if strange := [path.name for path in place.iterdir() if "OUT" not in path.name]:
        found.append(f"files beside the output: {strange}")
    if done.status == 0:
        found += _written(good, out)
    elif out.exists():
        found.append("refused, with an output")
    return found


def _said(case: Case, done: Done, verify: str) -> Iterator[str]:
    """What is wrong with how it ended and what it said."""
    text, last = done.stderr + done.stdout, done.stderr.strip()[-400:]
    if done.status != case.status(verify):
        yield f"ended with {done.status}, not {case.status(verify)}: {last}"
    elif done.status:
        if not re.search(case.says, text, re.IGNORECASE | re.DOTALL):
            yield f"does not say {case.says!r}: {last}"
    elif case.kind == "warned" and not re.search(rf"^warning: .*({case.says})", done.stderr, re.IGNORECASE | re.MULTILINE):
        yield f"no warning of {case.says!r}: {last}"
    if raw := _RAW.search(text):
        yield f"raw Python, {raw[0]}: {text[-600:]}"
    if _CONTROL.search(text):
        yield f"control characters: {text[:400]!r}"
    if text.count("\n") > _LINES or len(text) > _LETTERS:
        yield f"{text.count(chr(10))} lines of {len(text)} letters"


def expected(good: Good) -> dict[str, torch.Tensor]:
    """What a Llama has of the tensors that are to be kept: Baichuan's packed rows apart, Baichuan 2's head as it is used."""
    found: dict[str, torch.Tensor] = {}
    for name, stored in _plain(good.kept).items():
        if ".W_pack." in name:
            parts = (f"{part}_proj" for part in "qkv")
            found |= {name.replace("W_pack", part): rows for part, rows in zip(parts, stored.chunk(3), strict=True)}
        elif name == HEAD and good.family == "baichuan":
            found[name] = torch.nn.functional.normalize(stored.float(), dim=-1).to(stored.dtype)
        else:
            found[name] = stored
    return found


def _plain(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: stored.tensor() for name, stored in tensors.items()}


def _written(good: Good, out: Path) -> Iterator[str]:
    """What is wrong with an output, read by safetensors."""
    held: dict[str, torch.Tensor] = {}
    for path in sorted(out.rglob("*")):
        if path.is_symlink():
            yield f"the output has the link {path.name!a}"
        elif path.is_file():
            if good.marker in path.read_bytes():
                yield f"{path.name!a} has bytes that are not the model's"
            if path.suffix == ".safetensors":
                held |= load_file(path)
    wanted = expected(good)
    tied = {HEAD: held.get(EMBEDDING)}  # a head that is the embedding need not be stored
    off = [name for name, tensor in wanted.items() if not _same(tensor, held.get(name, tied.get(name)))]
    if off:
        yield f"{len(off)} tensors are missing or have other values: {off[:3]}"
    if more := sorted(held.keys() - wanted.keys()):
        yield f"tensors that nobody asked for: {more[:3]}"


def _same(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    """Bit by bit."""
    if other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def _seen(root: Path) -> dict[bytes, tuple[int, int, int]]:
    """Every name below a folder, as it is now."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in (*folders, *files):
            told = os.lstat(path := os.path.join(folder, name))
            found[path] = (told.st_mode, told.st_size, told.st_mtime_ns)
    return found


def _no_network(*_: object) -> None:
    raise AssertionError("a connection to a network")


@contextmanager
def _bounded() -> Iterator[None]:
    """Within, time, memory and the size of files have an end."""

    def late(number: int, frame: FrameType | None) -> None:
        raise Late

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_AS: used + MEMORY, resource.RLIMIT_FSIZE: DISK}
    before = {kind: resource.getrlimit(kind) for kind in limits}
    handler = signal.signal(signal.SIGALRM, late)
    try:
        for kind, limit in limits.items():
            hard = before[kind][1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        for kind, whole in before.items():
            resource.setrlimit(kind, whole)


def judged(case: Case, half: str, verify: str, root: Path) -> list[str]:
    """The same, and `root` is empty again afterwards."""
    root.mkdir()
    try:
        return wrong(case, half, verify, root)
    finally:
        for folder, _, _ in os.walk(root):
            os.chmod(folder, 0o755)
        shutil.rmtree(root)
