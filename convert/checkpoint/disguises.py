"""What people really have when a weight file is not one: pointers, web pages, archives, the other format."""

from __future__ import annotations

import re

_LENGTH_THEN_BRACE = re.compile(rb".{5}\0{3}[ \t\r\n]*\{", re.DOTALL)

#: how a file begins, and what it then is; the first that matches speaks.
_BEGINNINGS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), meaning)
    for pattern, meaning in (
        (rb"version https://git-lfs", "a git-lfs pointer, not the weights; run `git lfs pull` in the repository"),
        (rb"version https://hawser", "a git-lfs pointer, not the weights; run `git lfs pull` in the repository"),
        (rb"\s*<(!doctype|html|\?xml|head|body)", "an HTML or XML page (an error or login page?); download it again"),
        (rb"\x1f\x8b", "compressed with gzip; unpack it with `gunzip` first"),
        (rb"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
        (rb"BZh[1-9]1AY", "compressed with bzip2; unpack it first"),
        (rb"\xfd7zXZ\0", "compressed with xz; unpack it first"),
        (rb"GGUF", "a GGUF file; use the original checkpoint instead"),
        (rb"\x89HDF\r\n", "an HDF5 (Keras) file; use the safetensors or .bin files of the same model"),
        (rb'\s*\{\s*"(error|message)', "a JSON error message from a server; download it again"),
    )
)
_ZIP = re.compile(rb"PK\x03\x04")
_PICKLE = re.compile(rb"\x80[\x00-\x05][\x8a}(c\x95\x8c\])\x28]")
_RENAMED = "(a torch .bin file renamed?), never read as such because of its content; name it .bin if that is right"


def disguise_of_safetensors(head: bytes) -> str | None:
    """What a file that should be safetensors is instead, judged by its first bytes; None if it may be safetensors."""
    if _ZIP.match(head):
        return f"a zip archive {_RENAMED}"
    if _LENGTH_THEN_BRACE.match(head):
        return None
    if _PICKLE.match(head):
        return f"a pickle {_RENAMED}"
    return _beginning(head)


def disguise_of_torch(head: bytes) -> str | None:
    """What a file that should be written by torch.save is instead; None if it may be one."""
    if _LENGTH_THEN_BRACE.match(head):
        return "a safetensors file under another name; rename it to .safetensors"
    if _ZIP.match(head) or head[:1] == b"\x80":
        return None
    if head[257:262] == b"ustar":
        return "in the tar format of torch before 0.1.10 (2017), which torch refuses too; re-save it as safetensors"
    return _beginning(head) or "neither the zip nor the legacy format of torch.save (a damaged or different format)"


def _beginning(head: bytes) -> str | None:
    return next((meaning for pattern, meaning in _BEGINNINGS if pattern.match(head)), None)
