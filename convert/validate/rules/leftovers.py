"""What a training run, a download or an editor left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convert.checkpoint.names import printed
from convert.report import size
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from convert.validate.tree import PRIVATE
from convert.validate.weights import TRAINING
from surgery.errors import listed

_UNFINISHED = re.compile(
    r".*\.(incomplete|part|partial|tmp|temp|aria2|crdownload|swp|bak|orig)|.*~|tmp[a-z0-9_]{8}"
    r"|\.tmp[A-Za-z0-9]{6}"  # what safetensors writes first, and leaves when it is killed
)
_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".env", ".netrc", ".bash_history"})


@rule(
    "unfinished-file", "warning",
    what="a temporary or half-downloaded file is there",
    why="it would be published with the model, and says that a download or a write did not end",
    fix="finish the download, or remove the file",
    source="names used by huggingface_hub, safetensors 0.8 (executed), curl, aria2, browsers and editors",
)  # fmt: skip
def unfinished_file(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if _UNFINISHED.fullmatch(entry.last):
            yield Found(name, f"{size(entry.info.st_size)} under a temporary name")


@rule(
    "training-state", "warning",
    what="optimizer states or other files of a training run are there",
    why="they double or triple the download, are pickles, and training_args.bin tells paths and tokens of the run",
    fix="remove them, or publish them in a repository of their own",
    source="names written by transformers Trainer, DeepSpeed and Megatron-LM",
)  # fmt: skip
def training_state(subject: Subject) -> Iterator[Found]:
    for entry in subject.entries:
        if TRAINING.fullmatch(entry.last):
            yield Found(
                entry.name,
                f"{size(entry.info.st_size)} of training state" if entry.is_file else "a folder of a training run",
            )


@rule(
    "private-folder", "warning",
    what="a folder or file of a tool or of the operating system is there",
    why="version histories, caches and environment files do not belong to the model and may hold secrets",
    fix="remove it, or exclude it from the upload",
    source="huggingface_hub 2.4 upload_folder ignores .git and .cache/huggingface only",
)  # fmt: skip
def private_folder(subject: Subject) -> Iterator[Found]:
    found = [e.name for e in subject.entries if (e.is_folder and e.last in PRIVATE) or e.last in _SYSTEM]
    if found := [name for name in found if name != ".cache" and name != ".git"]:
        yield Found(found[0], f"{listed(map(printed, found))}")
