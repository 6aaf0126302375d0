"""Settings that the classes of the loading libraries share, with defaults that each class has of its own."""

from __future__ import annotations

from typing import Any

from mappings.family import Setting


def special(bos: Any, eos: Any, pad: Any = None) -> tuple[Setting, Setting, Setting]:
    """The special ids, with those that the class has where a key is absent; a null key says that there is none."""
    ids = {"bos": bos, "eos": eos, "pad": pad}
    return tuple(Setting(f"token.{n}", f"{n}_token_id", default=(one,), null=None) for n, one in ids.items())  # type: ignore[return-value]
