"""What runs apart of `convert.auto_tokenizer`: transformers, on a folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from surgery.errors import complaint


def prepare() -> None:
    """The library's own memory is no file's."""
    import jinja2.sandbox  # noqa: F401
    import sentencepiece
    from transformers import AutoTokenizer  # noqa: F401

    sentencepiece.set_min_log_level(2)


class Built:
    """A folder's tokenizer, or the reason why there is none."""

    def __init__(self, folder: str) -> None:
        import transformers

        self._own: Any = None
        self._reason = ""
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the library deprecates is no fault of the folder's
            try:
                build: Any = transformers.AutoTokenizer.from_pretrained
                self._own = build(folder, trust_remote_code=False, local_files_only=True)
                self.encode("a", False)
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # also a panic of the library's, which is no Exception
                self._reason = _said(error)

    def told(self) -> dict[str, str]:
        return {"reason": self._reason} if self._reason else {"name": type(self._own).__name__}

    def encode(self, text: str, framed: bool) -> list[int]:
        return list(self._own.encode(text, add_special_tokens=framed))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._own.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def specials(self) -> list[str]:
        return list(self._own.get_added_vocab())

    def skipped(self) -> dict[str, str]:
        added = self._own.get_added_vocab().items()
        return {str(place): token for token, place in added if not self._own.decode([place], skip_special_tokens=True)}

    def saved(self) -> str | None:
        backend = getattr(self._own, "backend_tokenizer", None)
        return f"{backend.to_str(pretty=True)}\n" if backend is not None else None

    def prompt(self, messages: Sequence[Mapping[str, Any]], answering: bool) -> str | dict[str, str] | None:
        if not self._own.chat_template:
            return None
        try:
            return str(self._own.apply_chat_template(messages, tokenize=False, add_generation_prompt=answering))
        except MemoryError:
            raise
        except Exception as error:  # a template is a stranger's program
            return {"refused": type(error).__name__}


@contextmanager
def _quiet() -> Iterator[None]:
    """What the library remarks about other people's files is not for our users."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _said(error: BaseException) -> str:
    if "custom code" in str(error) or "trust_remote_code" in str(error):
        return "it needs code of its own repository, which never runs here"
    return f"it fails: {complaint(error)}"
