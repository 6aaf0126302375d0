"""Which names of tensors and files we accept, and how untrusted names are printed."""

from __future__ import annotations

import re

from surgery.errors import ConversionError, UnsafeInput, show

LONGEST_TENSOR_NAME = 512
LONGEST_FILE_NAME = 255

_USUAL = re.compile(rf"[A-Za-z0-9_\-][A-Za-z0-9_.\-]{{0,{LONGEST_TENSOR_NAME - 1}}}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-/]")
_PRINTABLE = re.compile(r"[A-Za-z0-9_.\-/ +@=]+")
_STEPS_ELSEWHERE = re.compile(r"[/\\]|\A[A-Za-z]:|\A\.\.\Z")


def printed(name: str) -> str:
    """A name as it stands when nothing in it can hurt a terminal, else escaped and quoted.

    >>> printed("model.norm.weight"), printed("a\\x1b[31m")
    ('model.norm.weight', "'a\\\\x1b[31m'")
    """
    return name if len(name) <= 120 and _PRINTABLE.fullmatch(name) else show(name)


def fault_in_tensor_name(name: str) -> str | None:
    """Why a tensor may not be called this, or None.

    >>> fault_in_tensor_name("mlp.up_pr\\u043ej")
    'unexpected character U+043E in the tensor name'
    """
    if _USUAL.fullmatch(name):
        return None
    if not name:
        return "a tensor with an empty name"
    if len(name) > LONGEST_TENSOR_NAME:
        return f"a tensor name of {len(name)} characters (the limit is {LONGEST_TENSOR_NAME}), unknown to any family"
    if foreign := _FOREIGN.search(name):
        return f"unexpected character U+{ord(foreign.group()):04X} in the tensor name"
    if any(step in ("", ".", "..") for step in name.split("/")):
        return "unexpected tensor name, which is a path"
    return None


def check_shard_name(name: str, suffixes: tuple[str, ...], where: str) -> None:
    """Refuse a file name from an index unless it is one plain component with a suffix for weights."""
    if "\0" not in name and _STEPS_ELSEWHERE.search(name):
        raise UnsafeInput(
            f"{where} names the file {show(name)}, a path which may lie outside the checkpoint. Shards must lie in the "
            f"same directory as their index; nothing outside is opened. Correct the index or download it again."
        )
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = 0
    plain = name.isprintable() and not name.startswith(".") and name.lower().endswith(suffixes)
    if not (0 < length <= LONGEST_FILE_NAME and plain):
        raise ConversionError(
            f"{where} names the file {show(name)}, which is no name of a shard ({' or '.join(suffixes)}, at most "
            f"{LONGEST_FILE_NAME} bytes, no control characters, no leading dot). Correct or download the index again."
        )
