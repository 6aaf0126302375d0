"""Windows: one that is as long as the context does nothing, and a context as short as the window makes it so."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness

_MENDS = ("window", "window.full")


def drop_idle_window(model: Model) -> Model:
    """The model without a window that no text is long enough to reach; another is returned as it is."""
    window, context = model.facts["window"], model.facts["context"]
    if window is None or context is None or window < context:
        return model
    return model.having(f"the window of {window} covers the context of {context}", window=None, window__full=())


def limit_context(model: Model) -> Model:
    """The model with its longest text as long as its window, which then does nothing."""
    window, context = model.facts["window"], model.facts["context"]
    if window is None:
        return model
    if context is None or window < context:
        scaling = _settled(model.facts["rope.scaling"], context)
        model = model.having(f"limited to the window of {window}", context=window, rope__scaling=scaling)
    return drop_idle_window(model)


def _settled(
    scaling: tuple[tuple[str, object], ...] | None, context: int | None
) -> tuple[tuple[str, object], ...] | None:
    """A rope scaling that no longer leans on the context: the length it was trained for is said."""
    table = dict(scaling or ())
    if table.get("rope_type") not in ("yarn", "longrope", "llama3") or context is None:
        return scaling
    original = table.setdefault("original_max_position_embeddings", context)
    if table["rope_type"] == "longrope" and isinstance(original, int):
        table.setdefault("factor", context / original)
    kind = table.pop("rope_type")
    return (("rope_type", kind), *sorted(table.items()))


IDLE_WINDOW = Pass(
    name="drop-idle-window",
    mends=_MENDS,
    says="a window that is as long as the context is left out, since it does nothing",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: drop_idle_window(model),
    up_to_context=True,
)

LIMIT_CONTEXT = Pass(
    name="limit-context",
    mends=_MENDS,
    says="the longest text is limited to the attention window, up to which the models are the same",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: limit_context(model),
    asked=True,
    costs="longer texts, which the source reads through its window, are given up",
    up_to_context=True,
)
