"""Repositories of the Hugging Face Hub: found in the local cache, else fetched."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from convert.checkpoint.documents import is_document
from convert.checkpoint.files import Missing
from convert.checkpoint.shards import ADAPTERS, META_SHARD, MODELS
from convert.given import place
from surgery.errors import ConversionError, UsageError, complaint, show

_IDENTIFIER = re.compile(r"(?!.*(?:--|\.\.))([A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*)(?:@([\w.][\w.\-/]*))?", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)[\w.][\w.\-/]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIGS = frozenset({"config.json", "params.json", "adapter_config.json"})


@dataclass(frozen=True)
class Repository:
    """A model repository and the revision wanted; no revision means the main branch."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def parse_identifier(text: str, revision: str | None = None) -> Repository | None:
    """``org/name`` or ``org/name@revision`` as a repository; None if the text has another form.

    >>> parse_identifier("01-ai/Yi-6B@main")
    Repository(name='01-ai/Yi-6B', revision='main')
    """
    match = _IDENTIFIER.fullmatch(text)
    if not match:
        return None
    if revision is not None and not _REVISION.fullmatch(revision):
        raise UsageError(f"{show(revision)} is no name of a revision. Give a branch, a tag or a commit.")
    if match[2] and revision and match[2] != revision:
        raise UsageError(f"{show(text)} names a revision, but {show(revision)} was asked for as well. Drop one.")
    return Repository(match[1], match[2] or revision)


def cache_directory() -> Path:
    """Where huggingface_hub keeps its cache, by the same environment variables."""
    if direct := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return place(direct)
    if home := os.environ.get("HF_HOME"):
        return place(home) / "hub"
    return place(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface" / "hub"


def find_snapshot(repository: Repository) -> Path | None:
    """The snapshot directory of this revision in the local cache; it may be incomplete."""
    folder = cache_directory() / ("models--" + repository.name.replace("/", "--"))
    revision = repository.revision or "main"
    commits = [revision] if _COMMIT.fullmatch(revision) else []
    try:
        with open(folder / "refs" / revision, "rb") as ref:
            commits.append(ref.read(64).decode("ascii", "replace").strip())
    except OSError:
        pass
    snapshots = (folder / "snapshots" / commit for commit in commits if _COMMIT.fullmatch(commit))
    return next((snapshot for snapshot in snapshots if snapshot.is_dir()), None)


def fetch(repository: Repository, because: ConversionError | None = None) -> Path:
    """Download what a conversion needs, and nothing else (no code, no second format), into the Hub cache.

    ``because`` is what was wrong with the local copy, if there is one.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download

        listing = HfApi().model_info(repository.name, revision=repository.revision)
        names = [file.rfilename for file in listing.siblings or []]
        wanted = [glob.escape(name) for name in files_wanted(names)]
        return Path(snapshot_download(repository.name, revision=listing.sha, allow_patterns=wanted))
    except Exception as error:  # whatever the library and its transport raise: offline, gated, unknown, interrupted
        local = f" The local copy is incomplete: {because}" if because else " It is not in the local Hub cache."
        raise Missing(
            f"{repository} is no directory here and could not be fetched from the Hub ("
            f"{complaint(error)}).{local} Check the name and the network "
            f"(HF_HUB_OFFLINE forbids it), accept the model's terms and log in with `hf auth login` if it is "
            f"gated, or pass a directory that holds the checkpoint."
        ) from error


def files_wanted(names: Iterable[str]) -> list[str]:
    """Of the files of a repository, those to download: one format of weights, the config, the documents."""
    top = sorted(name for name in names if "/" not in name)
    for layout in (*MODELS, *ADAPTERS):
        if weights := [name for name in top if layout.owns(name)]:
            if weights == [layout.index]:  # shards of unusual names, which only the index knows
                weights += [name for name in top if name.endswith(layout.suffix)]
            break
    else:
        weights = [name for name in top if META_SHARD.fullmatch(name)]
    return sorted({*weights, *(name for name in top if name in _CONFIGS or is_document(name))})
