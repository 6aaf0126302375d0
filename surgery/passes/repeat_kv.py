"""Repeat key-value heads: every query gets a copy of the keys and values that its group shares."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness, reindexed


def repeat_kv(model: Model, kv: int | None = None) -> Model:
    """The model with ``kv`` key-value heads (default: one per query head), each old one repeated for its queries.

    ``kv`` must be a multiple of the present number and divide the number of query heads.
    """
    old, heads = model.facts["kv"], model.facts["heads"]
    new = heads if kv is None else kv
    if new % old or heads % new:
        raise ValueError(f"{old} key-value heads cannot become {new}: it must be a multiple of {old} that divides {heads}")
    if new == old:
        return model
    times, before, after = new // old, heads // old, heads // new
    copies = [((i,), (i // times,)) for i in range(new)]
    same_heads = [(divmod(i, after), divmod(i, before)) for i in range(heads)]
    changed = model.having("key-value heads repeated", kv=new)
    for name in ("k", "k_still", "v"):
        for kind in ("", ".bias"):
            changed = changed.mapped(f"layer.{{layer}}.{name}{kind}", lambda e: reindexed(e, ("kv",), (new,), copies))
    for name in ("q", "q_still", "q.bias", "q_still.bias", "o"):
        changed = changed.mapped(
            f"layer.{{layer}}.{name}", lambda e: reindexed(e, ("kv", "group"), (new, after), same_heads)
        )
    norms = {
        f"layer.{layer}.key.{i}.{kind}": model.tensors[name]
        for layer in range(model.sizes["layer"])
        for kind in ("norm", "norm_still")
        for i in range(new)
        if (name := f"layer.{layer}.key.{i // times}.{kind}") in model.tensors
    }
    return changed.using(norms)


REPEAT_KV = Pass(
    name="repeat-kv",
    mends=("kv",),
    says="key-value heads are repeated until there is one per query head",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: repeat_kv(model),
    asked=True,
    costs="the key-value cache and the k and v tensors grow by the size of a group",
)
