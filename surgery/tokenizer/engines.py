"""What runs apart of a tokenizer: the tokenizers library on a tokenizer.json, sentencepiece on its model.

The classes here are made in the process of `surgery.apart`, by name; their methods take and give JSON values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def prepare() -> None:
    """The libraries' own memory is no file's."""
    import sentencepiece
    import tokenizers  # noqa: F401

    sentencepiece.set_min_log_level(2)


class Json:
    """A tokenizer.json, as the tokenizers library has it."""

    def __init__(self, data: bytes) -> None:
        from tokenizers import Tokenizer

        self._own: Any = Tokenizer.from_buffer(data)

    def encode(self, text: str, framed: bool) -> list[int]:
        ids: list[int] = self._own.encode(text, add_special_tokens=framed).ids
        return ids

    def decode(self, ids: Sequence[int], skip: bool) -> str:
        return str(self._own.decode(list(ids), skip_special_tokens=skip))

    def cut(self, text: str) -> list[tuple[int, str]]:
        """What the model alone makes of a text, without what stands before and behind it."""
        return [(piece.id, piece.value) for piece in self._own.model.tokenize(text)]

    def prepared(self, text: str) -> tuple[str, int]:
        """What the normaliser makes of a text, and into how many words the text is cut."""
        normaliser, cutter = self._own.normalizer, self._own.pre_tokenizer
        normal = text if normaliser is None else normaliser.normalize_str(text)
        return normal, 1 if cutter is None else len(cutter.pre_tokenize_str(text))

    def id_of(self, token: str) -> int | None:
        found: int | None = self._own.token_to_id(token)
        return found

    def token_of(self, place: int) -> str | None:
        found: str | None = self._own.id_to_token(place)
        return found

    def vocabulary(self) -> dict[str, int]:
        return dict(self._own.get_vocab())


class Pieces:
    """A SentencePiece model, as its library has it."""

    def __init__(self, data: bytes) -> None:
        import sentencepiece

        self._own = sentencepiece.SentencePieceProcessor(model_proto=data)

    def told(self) -> dict[str, int]:
        return {"unknown": self._own.unk_id(), "size": self._own.get_piece_size()}

    def encode(self, text: str, as_text: bool) -> list[Any]:
        return list(self._own.encode(text, out_type=str if as_text else int))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._own.decode(list(ids)))
