"""Files that a command writes beside its result (--lineage, --report ...): never over anything, whole or not at all.

They are judged before any work is done: one that lies in a source, in OUT or where another goes is a mistake in the
command's words (2), one whose name is taken is an output that exists (7), a place that takes no file is the system's no (6).
"""

from __future__ import annotations

import os
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.paths import failed_of, staging_of
from convert.staging import sync_directory, write_whole
from convert.system import rename_no_replace
from surgery.errors import OutputBusy, StorageFailed, UsageError, show


@dataclass(frozen=True)
class SideOutput:
    """A file to be written, by the option that named it."""

    option: str  # as the user writes it: --report
    path: Path
    overwrite: bool = False  # whether the user allowed it to replace a file
    repeatable: bool = False  # whether the same command writes the same bytes, so that a file with them is no obstacle


def check_side_outputs(outputs: Sequence[SideOutput], sources: Iterable[str | Path], out: str | Path | None) -> None:
    """Refuse every one that is not a new file in a place of its own; ``sources`` and ``out`` are what the command names.

    Places are compared as the system knows them, so that no link, ``..`` or spelling of a name leads around this.
    """
    sources = list(sources)
    for number, output in enumerate(outputs):
        _check_kind(output)
        for source in sources:
            _check_apart(output, Path(source), "it is a source, or in one, and a source is never written to")
        if out is not None:
            for taken in (Path(out), staging_of(Path(out)), failed_of(Path(out))):
                _check_apart(output, taken, "OUT goes there, and holds nothing but the result")
        for other in outputs[:number]:
            if _place(output.path) == _place(other.path):
                both = f"{output.option} and {other.option} both name {show(str(output.path))}"
                raise UsageError(f"{both}. Give each a file of its own.")
        _check_free(output)
        _probe(output)


def write_side_output(output: SideOutput, content: bytes) -> None:
    """The whole file on disk under its name, or nothing; a repeatable one that has these very bytes already is left alone."""
    if output.repeatable and _holds(output.path, content):
        return
    if os.path.lexists(output.path) and not output.overwrite:
        raise _taken(output)
    write_file(output.path, content, overwrite=output.overwrite, option=output.option)


def write_file(path: Path, content: bytes, *, overwrite: bool = False, option: str = "OUT") -> None:
    """A file written beside ``path``, synced, and renamed: over nothing, unless ``overwrite`` says so."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            write_whole(temporary, content, str(path))
            if overwrite:
                os.replace(temporary, path)
            else:
                rename_no_replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OutputBusy:
        raise OutputBusy(f"{option}: {show(str(path))} appeared meanwhile, and was not touched. Choose another name.") from None
    except OSError as error:
        raise StorageFailed(
            f"{option}: {show(str(path))} cannot be written: {error.strerror}. Nothing was left under that name; make room or "
            "choose another place, and run again."
        ) from error


def _check_kind(output: SideOutput) -> None:
    """A name of a file: what leads to the terminal, to a pipe or to a device cannot be written whole or not at all."""
    if output.path.name in ("", ".", "..") or str(output.path) == "-":
        raise UsageError(
            f"{output.option} {show(str(output.path))} names no file. Standard output has the result alone: give a file's name."
        )
    try:
        mode = os.stat(output.path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{output.option} {show(str(output.path))} is not a file but a directory, a device or a pipe, which cannot be "
            "written whole or not at all. Give the name of a new file."
        )


def _check_apart(output: SideOutput, taken: Path, why: str) -> None:
    here = _place(taken)
    if here in _around(output.path):
        where = f"{output.option} {show(str(output.path))} cannot be written"
        raise UsageError(f"{where}: {why} ({show(str(taken))}). Choose another place.")


def _check_free(output: SideOutput) -> None:
    if not output.path.absolute().parent.is_dir():
        raise UsageError(f"{output.option} {show(str(output.path))}: there is no directory {show(str(output.path.parent))}.")
    if not os.path.lexists(output.path):
        return
    found = os.lstat(output.path)
    if (output.overwrite or output.repeatable) and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return  # what a repeatable one would hold is known once it is made
    raise _taken(output)


def _taken(output: SideOutput) -> OutputBusy:
    linked = "it is a link, or has a second name: even --overwrite replaces plain files alone"
    return OutputBusy(
        f"{output.option} {show(str(output.path))} exists already, and nothing of it was touched. Choose another name, or "
        f"move it away first ({linked if output.overwrite else '--overwrite lets it be replaced'})."
    )


def _probe(output: SideOutput) -> None:
    """Find out before the work, and not after it, that a directory takes no new file."""
    trial = output.path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        trial.unlink()
    except OSError as error:
        raise StorageFailed(
            f"{output.option} {show(str(output.path))} cannot be written: {error.strerror}. Choose another place."
        ) from error


def _holds(path: Path, content: bytes) -> bool:
    if not path.is_file() or path.is_symlink() or path.stat().st_size != len(content):
        return False
    return path.read_bytes() == content


Place = tuple[object, ...]


def _place(path: Path) -> Place:
    """What names the place of a file or directory: the system's own number, or its directory's and its name.

    The name is folded: file systems that ignore case or forms of letters take such names for one, and no user means two.
    """
    real = Path(os.path.realpath(path))
    try:
        found = os.stat(real)
    except OSError:
        return (*_place(real.parent), unicodedata.normalize("NFC", real.name).casefold()) if real != real.parent else (str(real),)
    return found.st_dev, found.st_ino


def _around(path: Path) -> Iterator[Place]:
    """The places of a file (a link to be replaced, and what it leads to) and of all directories that it is in."""
    for start in (Path(os.path.realpath(path)), Path(os.path.realpath(path.absolute().parent)) / path.name):
        yield _place(start)
        yield from map(_place, start.parents)

