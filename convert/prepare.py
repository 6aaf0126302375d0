"""From a checkpoint and a wish to a plan: recognise, read, decode, make legal, encode, lay out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

from convert.checkpoint import Checkpoint, open_sources, refuse_quantised
from convert.checkpoint.reading import same_values
from convert.consumers import served
from convert.containers import CONTAINERS
from convert.documents import carried, generation_config, is_licence, source_card
from convert.planning import SHARD_SIZE, OutputFile, Plan, TokenizerPlan, document, weakest
from convert.tokenizing import How, has_tokenizer
from convert.wish import Wish
from convert.zeros import with_known_zeros
from mappings import families
from mappings.config import bounded, read_facts, recognise, refusals, stated_context, write_config
from mappings.elsewhere import known_by
from mappings.family import Family, Stored
from mappings.rows import Alike, Target, decode, encode
from mappings.slabs import names_all
from surgery.dtypes import FLOATS, ITEMSIZE
from surgery.edits.dtype import cast
from surgery.edits.mtp import drop_mtp
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.layout import leaves, parse
from surgery.legalise import Unexpressible, legalise
from surgery.model import Artefact, Model
from surgery.movement import Piece
from surgery.passes import PASSES, Pass
from surgery.values import WIDENING, Exactness, Moved

#: of a repack, where only a repository's own code, which is never carried, says what the model is
_NO_CLASS = (
    "config.json has no model_type, only auto_map, which names code of the repository: that code is not carried, so no "
    "library will know the output's class. Convert it to a family that one has, or put the code and auto_map beside it yourself."
)


def open_artefact(
    checkpoint: Checkpoint, *, source: str | None = None, variant: str | None = None, accept: Iterable[str] = ()
) -> Artefact:
    """The checkpoint in the hub's words. ``ConversionError`` where the files cannot tell which variant it is."""
    refuse_quantised(checkpoint)
    candidates = _fitting(identify(checkpoint.config, source, variant), checkpoint, accept)
    if len(candidates) > 1:
        raise _ambiguous(candidates)
    return _decoded(checkpoint, candidates[0], accept)


def plan_conversion(
    checkpoint: Checkpoint,
    to: str | None,
    *,
    source: str | None = None,
    variant: str | None = None,
    accept: Iterable[str] = (),
    **options: Any,
) -> Plan:
    """The plan that rewrites ``checkpoint`` as the family ``to`` (None: its own); ``options`` are ``plan_artefact``'s.

    ``source`` asserts the family read, ``variant`` chooses among its variants where the files cannot tell; ``accept``
    names config keys that the user knows to be harmless. Where several variants fit and the target can express none of
    them, the refusal says why, since no ``variant`` would help.
    """
    refuse_quantised(checkpoint)
    candidates = _fitting(identify(checkpoint.config, source, variant), checkpoint, accept)
    plans: list[Plan] = []
    failures: list[Unexpressible] = []
    for family in candidates:
        try:
            plans.append(plan_artefact(_decoded(checkpoint, family, accept), to, **options))
        except Unexpressible as refusal:
            failures.append(refusal)
    if failures and not plans:
        raise failures[0]
    if len(candidates) > 1:
        raise _ambiguous(candidates)
    return plans[0]


def plan_artefact(
    artefact: Artefact,
    to: str | None = None,
    *,
    dtype: str | None = None,
    mends: Iterable[str] = (),
    prefer: Iterable[str] = (),
    max_shard_size: int = SHARD_SIZE,
    tensor_parallel: int = 1,
    mtp: Literal["keep", "drop"] = "keep",
    tokenizer: How = "convert",
    vocab_mismatch: bool = False,
    consumers: Iterable[str] = (),
) -> Plan:
    """The plan that writes an artefact as the family ``to`` (default: the family that stored it).

    ``dtype``, as config.json names it, casts every weight; ``mends`` allows passes that cost something; ``prefer``
    names passes that are to do what others would do otherwise; ``tensor_parallel`` is the number of files that a family
    of model-parallel files gets; ``mtp`` says whether layers that only predict further tokens stay; ``tokenizer`` says
    whether its files are rewritten so that no remote code is needed (canonical: with SentencePiece scores that all
    differ), or carried as they are; ``vocab_mismatch`` allows it more ids than the embeddings have rows;
    ``consumers`` are programs that must serve the output as it is meant.
    """
    artefact = drop_mtp(artefact) if mtp == "drop" else artefact
    consumers = tuple(consumers)
    checkpoint, mends, prefer = artefact.origin, sorted(mends), sorted(prefer)
    _check_passes("mend", mends, (p.name for p in PASSES))
    _check_passes("prefer", prefer, (name for p in PASSES if p.instead_of for name in (p.name, p.instead_of)))
    model = _as_dtype(artefact.model, dtype)
    target, legal, passes = _legal(artefact, model, to or artefact.family, mends, prefer)
    if tensor_parallel != 1 and target.stored != "consolidated":
        raise UsageError(f"--tensor-parallel cuts Meta's consolidated files; {target.name} is written whole.")
    legal, widened = _widened(legal, passes) if dtype is None else (legal, ())
    warned = (*_lengths(model.facts["context"], stated_context(target, legal.facts)), *served(target, legal.facts, consumers))
    return _assemble(
        checkpoint,
        (artefact.label, target.label),
        encode(target, legal, tensor_parallel),
        write_config(target, legal.facts),
        {
            "dtype": dtype,
            "mends": mends,
            "prefer": prefer,
            "max_shard_size": max_shard_size,
            "tensor_parallel": tensor_parallel,
            "mtp": mtp,
            "tokenizer": tokenizer,
            "vocab_mismatch": vocab_mismatch,
            "consumers": sorted(consumers),
            "accept": sorted(artefact.accepted),
        },
        tokenizer=_tokenizer(artefact, target, tokenizer, vocab_mismatch),
        stored=target.stored,
        steps=(*artefact.steps, *(p.says for p in passes)),
        notes=(*artefact.notes, *widened, *warned),
        left=artefact.left,
        least=max((p.exactness for p in passes), default=Exactness.BYTE),
        passes=passes,
        made_of=(artefact, target),
        parameters=legal.parameters,
    )


def _legal(
    artefact: Artefact, model: Model, to: str, mends: list[str], prefer: list[str]
) -> tuple[Family, Model, tuple[Pass, ...]]:
    """The variant of ``to`` that the output will be read as, the model as that can express it, and the passes that ran."""
    failures: list[Unexpressible] = []
    read_as: list[str] = []
    for target in target_families(to, model):
        known = with_known_zeros(artefact.origin, model, {r.fact for r in refusals(target, model.facts)})
        try:
            legal, passes = legalise(
                known, partial(refusals, target), mends=mends, prefer=prefer, bounded=partial(bounded, target)
            )
        except Unexpressible as refusal:
            failures.append(refusal.between(artefact.label, target.name))
            continue
        config = write_config(target, legal.facts)
        found = recognise(families(), {target.nested: config} if target.nested else config)
        if target in found:
            return target, legal, passes
        read_as.append(f"{target.label} would be read as {listed(f.label for f in found) if found else 'none'}")
    if failures and not read_as:
        raise failures[0] from None
    raise ConversionError(
        f"{artefact.label} -> {to}: no variant of it would be read again as what was written ({'; '.join(read_as)}), because "
        "its files cannot say what tells the variants apart. Nothing was written."
    )


def identify(config: Mapping[str, Any], source: str | None = None, variant: str | None = None) -> tuple[Family, ...]:
    """The family a config is, as every variant that it could be; one unless the files cannot tell."""
    named = [f for f in families() if source in (None, f.name)]
    if not named:
        raise UsageError(f"there is no family {show(source)}; `convert families` lists them.")
    found = recognise(named, config)
    if variant is not None:
        # the variant decides where the config leaves it open, so the rest of the recognition is not asked
        akin = [f for f in named if f.variant == variant and (found == () or f.name in {g.name for g in found})]
        akin = [f for f in akin if f.recognise.names(config)]
        if not akin:
            known = sorted({f.variant for f in named if f.variant})
            raise UsageError(f"there is no variant {show(variant)} of this family; known are {listed(known, 20)}.")
        return (akin[0],)
    if found:
        return found
    alike = [f for f in named if f.recognise.model_type and f.recognise.names(config)]
    if len(alike) > 1:
        raise _ambiguous(tuple(alike))
    said = f"model_type {show(config.get('model_type'))}, architectures {show(config.get('architectures'))}"
    wanted = f"{source}" if source else f"any of the {len({f.name for f in named})} families known"
    it = known_by(config)
    told = f" It is {it.title}: {'; '.join(it.reasons)}. Instead: {it.instead}." if it and it.instead else ""
    raise ConversionError(
        f"config.json ({said}) is not {wanted}.{told} `convert families` lists what can be read; `convert repack` rewrites any "
        "checkpoint as safetensors without touching its layout."
    )


def target_families(to: str, model: Model) -> tuple[Family, ...]:
    """The variants of ``to``, the one first that can express the most of the model; as listed where several can."""
    named = [f for f in families() if to in (f.name, f.label) and not f.partial]
    if not named:
        raise UsageError(f"there is no family {show(to)} to write; `convert families` lists them.")
    return tuple(sorted(named, key=lambda f: len(refusals(f, model.facts))))


def plan_repack(
    checkpoint: Checkpoint, *, max_shard_size: int = SHARD_SIZE, without: Mapping[str, str] | None = None
) -> Plan:
    """The identity: the same tensors under the same names, as safetensors in shards of the wished size.

    ``without`` names tensors to leave out, and why.
    """
    targets, left = [], dict(without or {})
    for stored in checkpoint.tensors.values():
        if stored.name in left:
            continue
        axes = tuple(f"axis{i}" for i in range(len(stored.shape)))
        leaf = leaves(parse(" ".join(axes)), dict(zip(axes, stored.shape, strict=True)))[0]
        piece = Piece(stored.name, 0, (0,) * len(axes), stored.shape, stored.strides)
        parts = ((Moved(axes, stored.shape, stored.dtype, (piece,)), leaf),) if stored.numel else ()
        targets.append(Target(stored.name, stored.shape, stored.dtype, parts))
    config = {key: value for key, value in checkpoint.config.items() if key != "auto_map"}
    options = {"max_shard_size": max_shard_size}
    notes = (_NO_CLASS,) if "auto_map" in checkpoint.config and "model_type" not in config else ()
    return _assemble(checkpoint, ("as stored", "as stored"), targets, config, options, left=left, notes=notes)


def _fitting(candidates: tuple[Family, ...], checkpoint: Checkpoint, accept: Iterable[str]) -> tuple[Family, ...]:
    """Those candidates as which the files can be read; where none is, those whose tables name the tensors, or all.

    Tensors that a candidate holds to be the same are compared, so that an output projection of its own tells one that
    has none.
    """
    if len(candidates) == 1:
        return candidates
    named = tuple(family for family in candidates if names_all(family, checkpoint.tensors)) or candidates
    return tuple(family for family in named if len(named) == 1 or _reads(checkpoint, family, accept)) or named


def _reads(checkpoint: Checkpoint, family: Family, accept: Iterable[str]) -> bool:
    try:
        _decoded(checkpoint, family, accept)
    except ConversionError:
        return False
    return True


def _decoded(checkpoint: Checkpoint, family: Family, accept: Iterable[str]) -> Artefact:
    accept = tuple(accept)
    facts = read_facts(family, checkpoint.config, accept=frozenset(accept))
    decoded = decode(family, facts, checkpoint.tensors)
    check_alike(checkpoint, decoded.alike)
    return Artefact(
        decoded.model, family.name, family.variant, checkpoint,
        notes=(*family.notes, *decoded.notes), left=decoded.left, accepted=tuple(accept),
    )  # fmt: skip


def _assemble(
    checkpoint: Checkpoint,
    labels: tuple[str, str],
    targets: Iterable[Target],
    config: dict[str, Any],
    options: dict[str, Any],
    *,
    tokenizer: TokenizerPlan | None = None,
    stored: Stored = "safetensors",
    steps: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    left: Mapping[str, str] | None = None,
    least: Exactness = Exactness.BYTE,
    passes: tuple[Pass, ...] = (),
    made_of: tuple[Artefact, Family] | None = None,
    parameters: int | None = None,
) -> Plan:
    container = CONTAINERS[stored]
    files = container.files(targets, config, options["max_shard_size"])
    documents = container.documents(files, config, _main_dtype(files))
    generation, told = generation_config(checkpoint) if container.hub else (None, ())
    if generation is not None:
        documents["generation_config.json"] = document(generation)
    rewritten = frozenset(tokenizer.names if tokenizer is not None else ())
    return Plan(
        checkpoint=checkpoint,
        source=labels[0],
        target=labels[1],
        exactness=max(least, weakest(files)),
        steps=steps,
        files=files,
        documents=documents,
        copies=tuple(name for name in carried(checkpoint) if name not in rewritten),
        tokenizer=tokenizer,
        notes=(*checkpoint.warnings, *notes, *told),
        options=options,
        left=left or {},
        passes=tuple(p.name for p in passes),
        limited=any(p.up_to_context for p in passes),
        wish=_wish(*made_of, options) if made_of is not None else None,
        parameters=parameters,
        card=source_card(checkpoint),
    )


def _wish(artefact: Artefact, target: Family, options: Mapping[str, Any]) -> Wish:
    return Wish(artefact.family, artefact.variant, target.label, artefact.edits, options)


def _tokenizer(artefact: Artefact, target: Family, how: How, beyond: bool) -> TokenizerPlan | None:
    """Which files to convert, unless there are none, they are to be carried, or the target is not of the Hub's kind."""
    names = tuple(name for name in carried(artefact.origin) if not is_licence(name))
    if how == "carry" or not CONTAINERS[target.stored].hub or not has_tokenizer(names):
        return None
    return TokenizerPlan(names, artefact.family, artefact.model.facts["vocab"], how, beyond, target.label)


def _as_dtype(model: Model, dtype: str | None) -> Model:
    return model if dtype is None else cast(model, dtype)


def check_alike(checkpoint: Checkpoint, alike: tuple[Alike, ...]) -> None:
    """Tensors of which only one is read, because the family holds them to be the same, must be the same."""
    if not alike:
        return
    with open_sources(checkpoint) as sources:
        for pair in alike:
            if not same_values(sources, checkpoint.tensors[pair.name], checkpoint.tensors[pair.other]):
                raise ConversionError(
                    f"{show(pair.name)} differs from {show(pair.other)}, though {pair.why}. Loaders disagree about which one "
                    f"counts. Download them again; if two tensors are meant, correct {checkpoint.config_name}."
                )


def _check_passes(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = sorted(known)
    if unknown := sorted(set(names) - set(known)):
        raise UsageError(f"--{option} {show(unknown[0])}: there is no such pass; known are {listed(known, 20)}.")


def _lengths(source: int | None, output: int | None) -> tuple[str, ...]:
    """What to say of a context that is not the source's."""
    if source == output or source is None:
        return ()
    if output is None:
        return (f"The output does not state the longest text, which is {source:,} tokens in the source.",)
    does = "longer ones are given up" if output < source else "no weight was trained for what lies between"
    return (f"The longest text is {output:,} tokens in the output and {source:,} in the source: {does}.",)


def _widened(model: Model, passes: Iterable[Pass]) -> tuple[Model, tuple[str, ...]]:
    """The model in the element type that a pass wants for its values, and a note; as it is where that gains nothing."""
    notes: list[str] = []
    for one in passes:
        if any((expr.dtype, one.wants) in WIDENING for expr in model.tensors.values()):
            model = _as_dtype(model, FLOATS[one.wants])
            notes.append(f"Written as {FLOATS[one.wants]}, because {one.why_wants}; --dtype asks for another type.")
    return model, tuple(notes)


def _main_dtype(files: tuple[OutputFile, ...]) -> str:
    """The element type that most bytes have."""
    held: Counter[str] = Counter()
    for file in files:
        for output in file.outputs:
            held[output.dtype] += output.numel * ITEMSIZE[output.dtype]
    return held.most_common(1)[0][0] if held else "F32"


def _ambiguous(candidates: tuple[Family, ...]) -> ConversionError:
    choices = ", ".join(f"--variant {f.variant} ({f.title})" for f in candidates)
    return ConversionError(
        f"config.json fits {len(candidates)} variants that compute different things from the same tensors, and the files cannot "
        f"tell which this is: {choices}. A wrong guess gives a model that loads and talks nonsense, so say which."
    )
