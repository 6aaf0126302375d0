"""The kinds of bad days, by name, and which tools each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.faults import interrupted, places, races, sources, storage
from tests.faults.bench import Bench


@dataclass(frozen=True)
class Mode:
    """One kind: what happens, and what happens to a path under test."""

    says: str
    apply: Callable[[Bench], None]
    needs: str = ""  # a tool without which there is no such fault


MODES: Mapping[str, Mode] = {
    "baseline": Mode(
        "no fault: two runs write the same bytes, leave nothing beside OUT, and have synced every file", Bench.baseline
    ),
    "kill": Mode("SIGKILL at an instant", interrupted.kill),
    "syscall": Mode("SIGKILL before a chosen write, sync, rename, ...", interrupted.syscall, "strace"),
    "powerloss": Mode("SIGKILL, and what was not synced is emptied, cut or zeroed", interrupted.powerloss, "strace"),
    "torn": Mode("SIGKILL, and the newest file is cut anywhere", interrupted.torn),
    "signal": Mode("SIGINT, SIGTERM, SIGHUP: it stops soon, with that status", interrupted.stopped),
    "enospc": Mode("the disk is full at 5, 35, 65, 95 % of what is needed", storage.enospc),
    "error": Mode("a write, sync, rename or read fails", storage.error, "strace"),
    "lostwrite": Mode("a write of tensors or of a document reports success and stores nothing", storage.lostwrite, "strace"),
    "mutate": Mode("weights of the source change during the run, or between crash and re-run", sources.weights),
    "documents": Mode("configs, tokenizers, licences of the source do", sources.documents),
    "concurrent": Mode("two runs into one OUT", races.concurrent),
    "nolock": Mode("the same where locks always say yes", races.nolock, "strace"),
    "place": Mode("OUT exists, is the source, is inside it, is a link, is on a read-only disk, ...", places.place),
}
