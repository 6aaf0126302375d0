"""The special ids, which most classes of the loading libraries share, with defaults that each class has of its own."""

from __future__ import annotations

from typing import Any

from mappings.family import Setting


def special(bos: Any, eos: Any, pad: Any = None) -> tuple[Setting, ...]:
    """What begins, ends and fills a text, as the class has it where the key is absent; a null key says that nothing does."""
    ids = {"bos": bos, "eos": eos, "pad": pad}
    return tuple(Setting(f"token.{name}", f"{name}_token_id", default=(one,), null=None) for name, one in ids.items())
