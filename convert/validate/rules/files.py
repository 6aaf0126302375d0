"""What lies in the directory: weights that are weights, links that stay inside, names and sizes that the Hub takes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator

from convert.checkpoint.names import printed
from convert.report import size
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from surgery.errors import UnsafeInput, listed, show

_HUB = "Hugging Face Hub documentation, repositories-recommendations"
LARGEST_FILE, ADVISED_FILE = 500_000_000_000, 200_000_000_000
MOST_FILES, MOST_IN_FOLDER = 100_000, 10_000
_DISGUISED = re.compile(r"this is not safetensors|neither the zip nor|under another name|a git-lfs pointer")


@rule(
    "no-weights", "error",
    what="the directory has no weight files under a name that loaders look for",
    why="from_pretrained, vLLM and the others find nothing to load",
    fix="add model.safetensors or its shards (or adapter_model.safetensors for an adapter)",
    source="transformers 5.23 modeling_utils.py _get_resolved_checkpoint_files",
)  # fmt: skip
def no_weights(subject: Subject) -> Iterator[Found]:
    weights, wanted = subject.weights, "model.safetensors, pytorch_model.bin, their shards, or adapter_model.safetensors"
    if not weights.names and subject.index is None:
        yield Found(".", f"no {wanted}")
    elif subject.index is None and weights.layout is not None and not any(map(weights.layout.owns, weights.names)):
        yield Found(weights.names[0], f"this is no {wanted}")


@rule(
    "config-missing", "error",
    what="the file that says what the tensors are is missing",
    why="without config.json (adapter_config.json, params.json) no loader knows the architecture",
    fix="copy it from the model that the weights come from",
    source="transformers 5.23 configuration_utils.py",
)  # fmt: skip
def config_missing(subject: Subject) -> Iterator[Found]:
    if subject.weights.names and subject.kind != "single" and subject.config_name not in subject.folder.names:
        yield Found(subject.config_name, f"{subject.config_name} is not there, beside {subject.weights.names[0]}")


@rule(
    "lfs-pointer", "error",
    what="a Git LFS pointer lies in place of a file",
    why="the repository was cloned without its large files; uploading it publishes 130 bytes instead of the weights",
    fix="run `git lfs pull` in the clone, or download the file itself",
    source="git-lfs docs/spec.md; MFTCoder #20",
)  # fmt: skip
def lfs_pointer(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if (
            entry.is_file
            and 0 < entry.info.st_size < 1024
            and _head(subject, name).startswith(b"version https://git-lfs")
        ):
            yield Found(name, f"{entry.info.st_size} bytes of a git-lfs pointer")


@rule(
    "disguised-file", "error",
    what="a weight file is of another format than its name says",
    why="loaders fail on it, or fall back to another file without a word",
    fix="download it again, or give it the name of its format",
    source="convert.checkpoint.disguises: the files that users really have",
)  # fmt: skip
def disguised_file(subject: Subject) -> Iterator[Found]:
    for name, fault in subject.weights.faults.items():
        if _DISGUISED.search(str(fault)) and not _head(subject, name).startswith(b"version https://git-lfs"):
            yield Found(name, str(fault))


@rule(
    "weights-unreadable", "error",
    what="a weight file's header is damaged, or promises other bytes than the file has",
    why="loaders fail on it, or read numbers from the wrong place",
    fix="download or write the file again; a truncated file is most often an interrupted copy",
    source="safetensors README: format; our strict reader",
)  # fmt: skip
def weights_unreadable(subject: Subject) -> Iterator[Found]:
    for name, fault in subject.weights.faults.items():
        if not (_DISGUISED.search(str(fault)) or isinstance(fault, UnsafeInput) or _astray(subject, name)):
            yield Found(name, str(fault))


@rule(
    "pickle-unsafe", "error",
    what="a torch file names code that no state dict needs",
    why="whoever loads it without weights_only runs that code; the Hub marks the repository as unsafe",
    fix="do not publish it; take the weights from a safetensors file of the same model",
    source="torch.serialization weights_only; the Hub's pickle scanning",
)  # fmt: skip
def pickle_unsafe(subject: Subject) -> Iterator[Found]:
    for name, fault in subject.weights.faults.items():
        if isinstance(fault, UnsafeInput) and not _astray(subject, name):
            yield Found(name, str(fault))


@rule(
    "pickle-weights", "warning",
    what="the weights are stored as pickles",
    why="a pickle can run code when it is loaded, so that many refuse to load one, and mlx reads none",
    fix="`weightsmith repack SRC OUT` writes the same tensors as safetensors",
    source="safetensors README; mlx-lm utils.py load_model",
)  # fmt: skip
def pickle_weights(subject: Subject) -> Iterator[Found]:
    found = subject.weights
    names = [n for n in (*found.names, *found.beside, *found.adapters) if not n.endswith((".safetensors", ".json"))]
    if names and subject.kind not in ("meta", "single"):
        yield Found(names[0], f"{len(names)} pickle file(s) of weights: {listed(map(printed, names))}")


@rule(
    "weights-twice", "warning",
    what="the weights are there in two formats",
    why="loaders disagree about which one counts, and everybody downloads both",
    fix="keep the safetensors files and remove the others",
    source="transformers 5.23 _get_resolved_checkpoint_files prefers safetensors; llama.cpp globs by suffix",
)  # fmt: skip
def weights_twice(subject: Subject) -> Iterator[Found]:
    beside = subject.weights.beside
    if beside and subject.weights.names and subject.kind in ("model", "adapter"):
        yield Found(beside[0], f"{listed(map(printed, beside))} beside {printed(subject.weights.names[0])}")


@rule(
    "remote-code", "warning",
    what="the repository brings Python files",
    why="loading it then asks for trust_remote_code, which breaks with library releases and is refused by many",
    fix="convert the model to a class that the libraries have, and remove the .py files",
    source="transformers #27171, #26882, #34677; the Hub marks such repositories",
)  # fmt: skip
def remote_code(subject: Subject) -> Iterator[Found]:
    names = [name for name in subject.files if name.endswith(".py")]
    if names:
        yield Found(names[0], f"{len(names)} Python file(s): {listed(map(printed, names))}")


@rule(
    "link-outside", "error",
    what="a symbolic link leads out of the repository",
    why="an upload would publish whatever lies there; a copy elsewhere has nothing at its end",
    fix="replace the link by the file, or remove it",
    source="huggingface_hub 2.4 upload_folder follows links",
)  # fmt: skip
def link_outside(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if entry.real is not None and _astray(subject, name):
            yield Found(name, f"a link to {show(os.readlink(entry.path))}, outside the repository")


@rule(
    "link-dangling", "error",
    what="a symbolic link leads nowhere",
    why="its target was pruned from the Hub cache or never copied, so the file is missing",
    fix="download the file again",
    source="huggingface_hub cache layout: snapshots link to blobs",
)  # fmt: skip
def link_dangling(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if entry.is_link and entry.real is None:
            yield Found(name, f"a link to {show(os.readlink(entry.path))}, which does not exist")


@rule(
    "special-file", "error",
    what="an entry is neither a file, a directory nor a link",
    why="reading a named pipe waits for ever, and no upload takes a device or a socket",
    fix="remove it",
    source="POSIX; an upload with git or huggingface_hub takes regular files only",
)  # fmt: skip
def special_file(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if not entry.is_file and not entry.is_link:
            yield Found(name, "a pipe, a socket or a device")


@rule(
    "empty-file", "error",
    what="a file has no bytes",
    why="it is what an interrupted copy leaves; a loader takes it for damaged or for absent",
    fix="write or download it again, or remove it",
    source="reliability: interrupted downloads",
)  # fmt: skip
def empty_file(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if entry.is_file and entry.info.st_size == 0 and not entry.last.startswith("."):
            yield Found(name, "0 bytes")


@rule(
    "case-collision", "error",
    what="two names differ only in upper and lower case",
    why="on macOS and Windows one file overwrites the other when the repository is cloned",
    fix="rename one of them",
    source="git documentation, core.ignoreCase",
)  # fmt: skip
def case_collision(subject: Subject) -> Iterator[Found]:
    names: dict[str, list[str]] = {}
    for name in subject.files:
        names.setdefault(name.casefold(), []).append(name)
    for same in names.values():
        if len(same) > 1:
            yield Found(same[-1], f"the same but for case: {listed(map(printed, same))}")


@rule(
    "file-name", "warning",
    what="a name has characters that not every system can store",
    why="a clone on Windows fails on it, or terminals show another name than the file has",
    fix="rename it to letters, digits, dot, hyphen and underscore",
    source="Microsoft, Naming Files: reserved characters",
)  # fmt: skip
def file_name(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if re.search(r'[<>:"\\|?*\x00-\x1f\x7f]', name) or not name.isprintable() or entry.last[-1:] in " .":
            yield Found(printed(name), "a name with characters that Windows cannot store or terminals cannot show")


@rule(
    "file-too-large", "error",
    what="a file is larger than the Hub accepts",
    why="the upload is refused at 500 GB, after hours",
    fix="write the weights in smaller shards: `weightsmith repack SRC OUT --max-shard-size 5GB`",
    source=_HUB,
)  # fmt: skip
def file_too_large(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if entry.size > LARGEST_FILE:
            yield Found(name, f"{size(entry.size)}; the limit is {size(LARGEST_FILE)}")


@rule(
    "file-large", "warning",
    what="a file is larger than the Hub advises",
    why="above 200 GB uploads and downloads cannot be cached and break often",
    fix="write the weights in smaller shards: `weightsmith repack SRC OUT --max-shard-size 5GB`",
    source=_HUB,
)  # fmt: skip
def file_large(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if ADVISED_FILE < entry.size <= LARGEST_FILE:
            yield Found(name, f"{size(entry.size)}; at most {size(ADVISED_FILE)} is advised")


@rule(
    "too-many-files", "error",
    what="the repository has more files than the Hub takes",
    why="above 100,000 files, or 10,000 in one folder, commits are refused",
    fix="move what is not the model elsewhere, or pack it",
    source=_HUB,
)  # fmt: skip
def too_many_files(subject: Subject) -> Iterator[Found]:
    if len(subject.files) > MOST_FILES:
        yield Found(".", f"{len(subject.files):,} files; the limit is {MOST_FILES:,}")
    for folder, count in Counter(name.rpartition("/")[0] for name in subject.files).items():
        if count > MOST_IN_FOLDER:
            yield Found(folder or ".", f"{count:,} files in one folder; the limit is {MOST_IN_FOLDER:,}")


@rule(
    "file-mode", "warning",
    what="a file's mode shuts out readers that the umask lets in, or makes data executable",
    why="safetensors writes mode 0600 whatever the umask, so on shared storage the server cannot read the model",
    fix="`chmod 644` (`--fix` does it)",
    source="safetensors 0.8.0, executed: save_file leaves 0600",
)  # fmt: skip
def file_mode(subject: Subject) -> Iterator[Found]:
    for name, entry in subject.files.items():
        if entry.is_file and (wanted := right_mode(entry.info.st_mode)) != entry.info.st_mode & 0o777:
            yield Found(name, f"mode {entry.info.st_mode & 0o777:04o}, wanted {wanted:04o}")


def right_mode(mode: int) -> int:
    """The mode with the reading that the umask allows, and without execution."""
    return (mode | (0o444 & ~_umask())) & 0o666


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            told = next((line for line in status if line.startswith("Umask:")), "Umask: 022")
        return int(told.split()[1], 8)
    except OSError:
        return 0o022


def _astray(subject: Subject, name: str) -> bool:
    """Whether this is a link that ends nowhere or outside."""
    entry = subject.files.get(name)
    if entry is None or not entry.is_link:
        return False
    real = entry.real
    return real is None or (subject.path not in real.parents and real.parent != subject.folder.blobs)


def _head(subject: Subject, name: str) -> bytes:
    entry = subject.files.get(name)
    path = entry.real if entry is not None and entry.is_link else entry.path if entry is not None else None
    if path is None or not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError:
        return b""
