"""Merging LoRA adapters: ``W + factor * B A`` for every matrix, in float32, rounded once, in the base's own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convert.checkpoint import Checkpoint, Stored, open_adapter, open_sources
from convert.edits.adapter import Adapter, check_alone, read_adapter, rows_of_base_differ
from convert.edits.origin import documents_with, family_of
from mappings.family import Family
from mappings.slabs import as_in_rows
from mappings.updates import Place, Product, places, with_product, with_sum, with_tensor
from mappings.wrapping import unwrapped
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.model import Applied, Artefact, Model


def merge_lora(artefact: Artefact, adapter: str | Path, *, weight: float = 1.0, subtract: bool = False) -> Artefact:
    """The artefact with an adapter merged into it, ``weight`` times; ``subtract`` takes a merged one out again.

    Whole tensors that the adapter holds (``modules_to_save``, biases) replace those of the base, also with more rows;
    the tokenizer beside them comes along. ``ConversionError`` where the adapter is not a LoRA, or not of this base.
    """
    read = open_adapter(adapter)
    check_alone(read)
    checkpoint: Checkpoint = artefact.origin
    joined, named = checkpoint.joined("adapter", read, {"weight": weight, "subtract": subtract})
    found = read_adapter(named)
    if found.replaced and (subtract or weight != 1.0):
        raise UsageError(
            f"the adapter holds whole tensors ({listed(found.replaced, 3)}), which replace those of the base: they "
            "can be taken neither in part (--weight) nor out again (--subtract)."
        )
    family = family_of(artefact)
    copies = {_named(family, name): stored for name, stored in found.copies.items()}
    _check_base(joined, {_named(family, name): stored for name, stored in checkpoint.tensors.items()}, copies)
    whole = {_named(family, name): stored for name, stored in found.replaced.items()}
    # a resized embedding that got a LoRA: the adapter keeps the resized base, whose further rows nobody else has
    trained = {_named(family, f"{module}.weight") for module in found.pairs}
    resized = {n: c[0] for n, c in copies.items() if n in trained and c[0].shape[0] > artefact.model.facts["vocab"]}
    model, notes = _replaced(artefact.model, family, {**resized, **whole})
    known = places(family, model)
    factor = -weight if subtract else weight
    for module, pair in found.pairs.items():
        place = _place(known, _named(family, f"{module}.weight"), module, artefact)
        scale = factor * found.config.factor(module)
        model = with_product(model, place, Product(pair.down, pair.up, scale, pair.embedding))
        if pair.bias is not None:
            bias = _named(family, f"{module}.bias")
            model = with_sum(model, _place(known, bias, f"{module} (its bias)", artefact), pair.bias, scale)
    _check_tied(model, found, known, family)
    documents, told = documents_with(checkpoint, read, grown=model.facts["vocab"] != artefact.model.facts["vocab"])
    verb = "taken out" if subtract else "merged"
    times = "" if weight == 1.0 else f", {weight:g} times"
    says = f"an adapter of {len(found.pairs)} matrices is {verb} ({Path(read.path).name}){times}"
    return replace(
        artefact,
        model=model,
        origin=replace(joined, documents=documents),
        steps=(*artefact.steps, f"{says}: products in float32, rounded once", *notes),
        notes=(*artefact.notes, *read.warnings, *_hint(found, checkpoint), *told),
        edits=(*artefact.edits, Applied("merge-lora", {"adapter": str(read.path), "weight": weight, "subtract": subtract})),
    )


def _named(family: Family, name: str) -> str:
    """What the family's rows call a tensor of the base, or a module's of the adapter."""
    return as_in_rows(family, unwrapped(name))


def _place(known: Mapping[str, Place], name: str, module: str, artefact: Artefact) -> Place:
    if name not in known:
        raise ConversionError(
            f"the adapter changes {show(module)}, which {artefact.label} has not ({show(name)} is no tensor of it). "
            "The adapter belongs to another family or to another number of layers; merge it into the base that it was "
            "trained on, before that is converted."
        )
    return known[name]


def _replaced(model: Model, family: Family, replaced: Mapping[str, Stored]) -> tuple[Model, tuple[str, ...]]:
    """The model with whole tensors replaced, and as many rows of the vocabulary as the new ones have."""
    if not replaced:
        return model, ()
    known = places(family, model)
    old = model.facts["vocab"]
    rows = {
        stored.shape[0] for name, stored in replaced.items() if name in known and _of_vocabulary(known[name]) and stored.shape
    }
    if len(rows) > 1:
        raise ConversionError(
            f"the adapter's embeddings and output projection have {listed(sorted(rows))} rows; they must agree."
        )
    new = rows.pop() if rows else old
    if new != old:
        left = [name for name, place in known.items() if _of_vocabulary(place) and name not in replaced]
        if left:
            raise ConversionError(
                f"the adapter's vocabulary has {new} rows and the base's {old}, but the adapter holds no "
                f"{listed(left)} of its own: it is incomplete, or was trained on another base."
            )
        model = model.having("the adapter's embeddings", vocab=new)
        known = places(family, model)
    for name, stored in replaced.items():
        if name not in known:
            raise ConversionError(f"the adapter replaces {show(name)}, which this base has not. It belongs to another base.")
        model = with_tensor(model, known[name], stored)
    grown = (f"the vocabulary goes from {old} to {new} rows, those of the adapter",) if new != old else ()
    return model, (f"{listed(sorted(replaced), 3)} {'is' if len(replaced) == 1 else 'are'} the adapter's own", *grown)


def _check_base(joined: Checkpoint, base: Mapping[str, Stored], copies: Mapping[str, tuple[Stored, ...]]) -> None:
    """Where the adapter keeps untrained copies of the base's tensors, they must be this base's."""
    pairs = [(base[name], copy) for name, found in copies.items() if name in base for copy in found]
    if not pairs:
        return
    with open_sources(joined) as sources:
        for stored, copy in pairs:
            if rows_of_base_differ(sources, stored, copy):
                raise ConversionError(
                    f"{show(copy.name)} is the adapter's copy of the base it was trained on, and {show(stored.name)} "
                    "of this base has other values: the adapter belongs to another base."
                )


def _check_tied(model: Model, adapter: Adapter, known: Mapping[str, Place], family: Family) -> None:
    """An adapter of tied embeddings changes only the embeddings, so that the two are no longer the same."""
    if not model.facts["tied"]:
        return
    touched = [m for m in adapter.pairs if _of_vocabulary(known[_named(family, f"{m}.weight")])]
    if touched:
        raise ConversionError(
            f"the adapter changes {listed(map(show, touched))}, and the embeddings of this base are also its output "
            "projection, which the adapter does not change. Untie the base first (`surgery untie`, or an untie step "
            "before this one)."
        )


def _of_vocabulary(place: Place) -> bool:
    return bool({"embed", "head"} & set(place.roles))


def _hint(adapter: Adapter, base: Checkpoint) -> tuple[str, ...]:
    """What the adapter says about its base, unless that is what this is."""
    said = adapter.config.base.rstrip("/").rpartition("/")[2]
    name = (base.repository or "").partition("@")[0].rpartition("/")[2] or base.path.name
    return () if said in ("", name) else (f"the adapter says that it was trained on {show(adapter.config.base)}",)
