"""Merging LoRA adapters: ``W + factor * B A`` for every matrix, in float32, rounded once, in the base's own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from convert.checkpoint import Checkpoint, Stored, open_adapter, open_sources
from convert.checkpoint.reading import same_values
from convert.edits.adapter import Adapter, check_alone, read_adapter, rows_of_base_differ
from convert.edits.adapter_config import LARGEST
from convert.edits.origin import documents_with, family_of
from convert.edits.sameness import agrees
from convert.edits.tying import Settled, settled
from mappings.family import Family
from mappings.slabs import as_in_rows
from mappings.updates import Place, Product, places, read_as, with_product, with_rows_of, with_sum, with_tensor
from mappings.wrapping import unwrapped
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.model import Applied, Artefact, Model
from surgery.passes.untie import untie


def merge_lora(artefact: Artefact, adapter: str | Path, *, weight: float = 1.0, subtract: bool = False) -> Artefact:
    """The artefact with an adapter merged into it, ``weight`` times; ``subtract`` takes a merged one out again.

    Whole tensors that the adapter holds (``modules_to_save``, biases) replace those of the base, also with more rows or
    fewer; the tokenizer beside them comes along. Tied embeddings are untied where the adapter changes one end alone, and
    that is said. ``ConversionError`` where the adapter is not a LoRA, or not of this base.
    """
    if not abs(weight) <= LARGEST:
        raise UsageError(f"--weight {weight:g} is no number that a weight can be multiplied by in float32: take one such as 1.")
    read = open_adapter(adapter)
    check_alone(read)
    checkpoint: Checkpoint = artefact.origin
    joined, named = checkpoint.joined("adapter", read, {"weight": weight, "subtract": subtract})
    family = family_of(artefact)
    found = read_adapter(named).renamed(partial(_named, family))
    _check_partial(found, weight, subtract)
    before = _tied_again(artefact.model)
    embed, head = _ends(family, before)
    _check_base(joined, artefact, found, (embed, head))
    found = _with_resized(found, (embed, head), before.facts["vocab"])
    how = Settled(found, "never")
    if before.facts["tied"]:
        with open_sources(joined) as sources:
            how = settled(found, embed, head, partial(same_values, sources))
    apart = not artefact.model.facts["tied"]
    factor = -weight if subtract else weight
    model, notes = _changed(replace(artefact, model=before), family, how, factor, (embed, head), apart)
    if apart:
        model = untie(model)
    documents, told = documents_with(checkpoint, read, grown=model.facts["vocab"] > before.facts["vocab"])
    verb = "taken out" if subtract else "merged"
    times = "" if weight == 1.0 else f", {weight:g} times"
    says = f"an adapter of {len(found.pairs)} matrices is {verb} ({Path(read.path).name}){times}"
    return replace(
        artefact,
        model=model,
        origin=replace(joined, documents=documents),
        steps=(*artefact.steps, f"{says}: products in float32, rounded once", *notes),
        notes=(*artefact.notes, *read.warnings, *_hints(found, checkpoint), *told),
        edits=(*artefact.edits, Applied("merge-lora", {"adapter": str(read.path), "weight": weight, "subtract": subtract})),
    )


def _named(family: Family, name: str) -> str:
    """What the family's rows call a tensor of the base, or a module's of the adapter."""
    return as_in_rows(family, unwrapped(name))


def _check_partial(adapter: Adapter, weight: float, subtract: bool) -> None:
    """What is not added cannot be added in part; a factor that no weight survives is refused before the pass."""
    if subtract or weight != 1.0:
        whole = {**adapter.base, **adapter.replaced}
        if whole:
            raise UsageError(
                f"the adapter holds whole tensors ({listed(whole, 3)}), which replace those of the base: they "
                "can be taken neither in part (--weight) nor out again (--subtract)."
            )
        if kind := "rows of embeddings, which replace those of the base" if adapter.rows else (
            "a DoRA, which rescales the base's own weights" if adapter.config.rescaled else ""
        ):  # fmt: skip
            raise UsageError(f"the adapter is of {kind}: it can be taken neither in part (--weight) nor out again (--subtract).")
    for name, pair in adapter.pairs.items():
        if not abs(weight * (factor := adapter.config.factor(pair.module))) <= LARGEST:
            what = f"{weight:g} times {factor:g}, what adapter_config.json asks for"
            raise UsageError(f"the product of {show(name)} would be multiplied by {what}, which float32 cannot hold.")


def _ends(family: Family, model: Model) -> tuple[str, str]:
    """The names of the embeddings and of the output projection, where that is a tensor of its own."""
    found = {place.roles: name for name, place in places(family, untie(model)).items()}
    return found.get(("embed",), ""), found.get(("head",), "")


def _tied_again(model: Model) -> Model:
    """The model with its two ends as one matrix, where an edit before this one made the second a copy of the first.

    The adapter was trained on the base, and acts on both ends or on one as it does there.
    """
    if model.facts["tied"] or model.tensors.get("head") != model.tensors["embed"]:
        return model
    return model.using({"head": None}).having("the base", tied=True)


def _with_resized(adapter: Adapter, ends: Iterable[str], rows: int) -> Adapter:
    """The adapter with the base's matrices of another number of rows that it keeps copies of: nobody else has them."""
    copies = {name: adapter.copies[name][0] for name in ends if name in adapter.copies}
    resized = {name: copy for name, copy in copies.items() if copy.shape[0] != rows}
    return replace(adapter, base={**resized, **adapter.base})


def _changed(
    artefact: Artefact, family: Family, how: Settled, factor: float, ends: tuple[str, str], apart: bool
) -> tuple[Model, tuple[str, ...]]:
    """The model with all that the adapter changes, and what is to be said of it; ``apart``: it is untied anyhow."""
    adapter, (embed, head) = how.adapter, ends
    held = {*adapter.base, *adapter.replaced} | ({head} if how.untie == "then" and embed in adapter.base else set())
    model = artefact.model
    if how.untie == "first":
        model = untie(model)
    wanted = untie(model) if how.untie == "then" else model
    rows = _rows(wanted, family, adapter, held)
    notes = []
    if rows != model.facts["vocab"]:
        notes.append(f"the vocabulary goes from {model.facts['vocab']} to {rows} rows, those of the adapter")
        model = model.having("the adapter's embeddings", vocab=rows)
    model = _replaced(model, family, adapter.base)
    if how.untie == "then":
        model = untie(model)
    model = _replaced(model, family, adapter.replaced)
    known = places(family, model)
    repeated = any(edit.name == "repeat-kv" for edit in artefact.edits)
    for name, pair in adapter.pairs.items():
        place = _place(known, name, pair.module, artefact)
        if repeated and any(role.rpartition(".")[2] in ("k", "v") for role in place.roles):
            raise UsageError(
                f"{show(pair.module)} holds keys or values, whose heads an edit before this one repeats, and an adapter of "
                "repeated heads cannot be verified against the base. Merge first and repeat behind it, or run two commands."
            )
        scale = factor * adapter.config.factor(pair.module)
        model = with_product(model, place, Product(pair.down, pair.up, scale, pair.embedding, pair.magnitude))
        if pair.bias is not None:
            bias = _place(known, f"{name.removesuffix('weight')}bias", f"{pair.module} (its bias)", artefact)
            model = with_sum(model, bias, pair.bias, scale)
    for name, trained in adapter.rows.items():
        place = _place(known, name, name.removesuffix(".weight"), artefact)
        model = with_rows_of(model, place, trained.at, trained.values)
        notes.append(f"{len(trained.at)} rows of {name} are the adapter's own")
    if whole := sorted({**adapter.base, **adapter.replaced}):
        notes.insert(0, f"taken whole from the adapter: {listed(whole, 3)}")
    if how.untie != "never" and not apart:
        notes.append(
            f"the base is tied, and the adapter gives embeddings and output projection different values: {head} is written as "
            "a tensor of its own, untied"
        )
    return model, tuple(notes)


def _place(known: Mapping[str, Place], name: str, module: str, artefact: Artefact) -> Place:
    if name not in known:
        raise ConversionError(
            f"the adapter changes {show(module)}, which {artefact.label} has not ({show(name)} is no tensor of it). "
            "The adapter belongs to another family or to another number of layers; merge it into the base that it was "
            "trained on, before that is converted."
        )
    return known[name]


def _rows(model: Model, family: Family, adapter: Adapter, held: Iterable[str]) -> int:
    """How many rows of the vocabulary the adapter's tensors have; all that the model has of it must have them."""
    of_vocabulary = [name for name, place in places(family, model).items() if {"embed", "head"} & set(place.roles)]
    old: int = model.facts["vocab"]
    whole = {**adapter.base, **adapter.replaced}
    # a tensor that is trained whole replaces the untrained one under its name
    rows = {whole[name].shape[0] for name in of_vocabulary if name in whole and whole[name].shape}
    if len(rows) > 1:
        raise ConversionError(
            f"the adapter's embeddings and output projection have {listed(sorted(rows))} rows; they must agree."
        )
    new = rows.pop() if rows else old
    if new != old and (left := [name for name in of_vocabulary if name not in held]):
        raise ConversionError(
            f"the adapter's vocabulary has {new} rows and the base's {old}, but the adapter holds no "
            f"{listed(left)} of its own: it is incomplete, or was trained on another base."
        )
    return new


def _replaced(model: Model, family: Family, replaced: Mapping[str, Stored]) -> Model:
    """The model with whole tensors replaced."""
    known = places(family, model) if replaced else {}
    for name, stored in replaced.items():
        if name not in known:
            raise ConversionError(f"the adapter replaces {show(name)}, which this base has not. It belongs to another base.")
        model = with_tensor(model, known[name], stored)
    return model


def _check_base(joined: Checkpoint, artefact: Artefact, adapter: Adapter, ends: tuple[str, str]) -> None:
    """Where the adapter keeps untrained copies of the base's tensors, they must be this base's: its files', or what the
    edits before this one made of them."""
    family, model = family_of(artefact), artefact.model
    embed, head = ends
    base = {_named(family, name): stored for name, stored in artefact.origin.tensors.items()}
    if model.facts["tied"]:
        base.pop(head, None)  # what lies there is not read
    with open_sources(joined) as sources:
        for name, copies in adapter.copies.items():
            stored = base.get(name, base.get(embed) if name == head else None)
            for copy in copies:
                if stored is not None and not rows_of_base_differ(sources, stored, copy):
                    continue
                found = read_as(family, untie(model), name, copy)
                if found is None and stored is None:
                    continue
                if not artefact.edits or found is None or not all(agrees(joined, sources, *pair) for pair in found):
                    what, key = stored.name if stored is not None else name, copy.name.partition("/")[2]
                    raise ConversionError(
                        f"{show(key)} is the adapter's copy of the base it was trained on, and {show(what)} "
                        "of this base has other values: the adapter belongs to another base."
                    )


def _hints(adapter: Adapter, base: Checkpoint) -> tuple[str, ...]:
    """What the adapter says about its base, unless that is what this is; and what of it does nothing, or has odd names."""
    found = []
    if adapter.wrappers:
        found.append(
            f"names of the adapter's tensors carry what {listed(adapter.wrappers)} put into them, and were read without it; "
            "peft itself passes over such tensors, and leaves its matrices at zero"
        )
    if adapter.idle:
        all_ = adapter.idle == len(adapter.pairs) and not (adapter.base or adapter.replaced or adapter.rows)
        found.append(
            f"{adapter.idle} of the adapter's {len(adapter.pairs)} products are zero"
            + (": it changes nothing. It was not trained, or was saved without its weights" if all_ else "")
        )
    said = adapter.config.base.rstrip("/").rpartition("/")[2]
    name = (base.repository or "").partition("@")[0].rpartition("/")[2] or base.path.name
    if said not in ("", name):
        found.append(f"the adapter says that it was trained on {show(adapter.config.base)}")
    return tuple(found)
