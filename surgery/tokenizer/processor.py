"""The sentencepiece library, quiet: its own engine on a model, and the model as a protocol buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from surgery.apart import Failed, Guest, made
from surgery.errors import ConversionError, show


class Processor:
    """A model's engine, which runs apart."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def encode(self, text: str, out_type: type = int) -> list[Any]:
        """Ids of a text, or with ``out_type=str`` its pieces."""
        pieces: list[Any] = _asked(lambda: self._guest.call("encode", text=text, as_text=out_type is str))
        return pieces

    def decode(self, ids: Sequence[int]) -> str:
        return str(_asked(lambda: self._guest.call("decode", ids=list(ids))))

    def unk_id(self) -> int:
        return int(self._guest.told["unknown"])

    def get_piece_size(self) -> int:
        return int(self._guest.told["size"])


def processor(data: bytes) -> Processor:
    """The engine of a serialised model; raises where the library takes it for damaged.

    The library's warnings (a NUL piece ...) are said by our own checks.
    """
    return Processor(_asked(lambda: made("surgery.tokenizer.engines:Pieces", [data], what="the SentencePiece model")))


def _asked(of: Callable[[], Any]) -> Any:
    try:
        return of()
    except Failed as error:
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
