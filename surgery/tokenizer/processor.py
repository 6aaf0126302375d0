"""The sentencepiece library, quiet: its own engine on a model, and the model as a protocol buffer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from surgery.errors import ConversionError, show


def processor(data: bytes) -> Any:
    """The engine of a serialised model; raises where the library takes it for damaged.

    The library's warnings (a NUL piece ...) are said by our own checks.
    """
    import sentencepiece

    sentencepiece.set_min_log_level(2)
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise ConversionError(
            f"the SentencePiece model is one that sentencepiece itself cannot load ({show(str(error))}): it is damaged or "
            "was edited by hand; download it again and compare its sha256 with the repository's"
        ) from error


def parsed(data: bytes) -> Any:
    """A ModelProto, which keeps what it does not know and serialises back to the same bytes."""
    return _protocol().ModelProto.FromString(data)


def decode_error() -> type[Exception]:
    """What protobuf raises for bytes that are no message."""
    return import_module("google.protobuf.message").DecodeError  # type: ignore[no-any-return]


def _protocol() -> Any:
    return import_module("sentencepiece.sentencepiece_model_pb2")  # generated at import, so it has no types
