"""Another model's tokenizer: its tokens in the rows of this one, those that both have as they are, others made of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from convert.edits.initial import Donor
from convert.edits.loaded import own_config, written_config
from convert.edits.played import played
from convert.edits.vocabulary import Revised, own_files, refuse_more_ids, rounded_up
from convert.tokenizer_forms import choose
from convert.tokenizing import installed
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.edits.vocabulary import mixed_rows, replace_rows
from surgery.errors import ConversionError
from surgery.gathered import Mixture, mean_of
from surgery.model import Artefact
from surgery.tokenizer.alike import ids_by_bytes
from surgery.tokenizer.export import TokenizerFiles, export
from surgery.tokenizer.facts import TokenizerFacts, load
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.probe import SAMPLES
from surgery.tokenizer.written import answer_end

_PARTS = ("bos", "eos", "unk", "pad")
_FEW = 256  # shared tokens whose mean an id without a token gets: its logit then never is the largest


def transplant_tokenizer(artefact: Artefact, donor: Artefact, *, k: int = 8, pad_to: int = 1) -> Revised:
    """The artefact with the donor's tokenizer.

    A token that both have keeps its row. Any other becomes the sum of ``k`` shared tokens that comes closest to it in the
    donor's embeddings, taken in this model's rows; tokens that play a part (bos, eos ...) take the row that plays it here.
    Ids without a token get a mean.
    """
    files, given = own_files(artefact), own_files(donor)
    value = as_tokenizer_json(files, partial(recipe_for, artefact.family))
    theirs = as_tokenizer_json(given, partial(recipe_for, donor.family))
    old, new = ids_by_bytes(value), ids_by_bytes(theirs)
    refuse_more_ids(artefact, max(old.values()) + 1)
    recipe = recipe_for(donor.family, given)
    template = template_for(recipe, given)
    exported = export(recipe, given, chat_template=template)
    ours, wanted = export(recipe_for(artefact.family, files), files).facts, exported.facts
    parts = _parts(ours, wanted)
    count = max(new.values()) + 1
    rows = rounded_up(count, pad_to)

    shared = sorted((old[token], place) for token, place in new.items() if token in old and place not in parts)
    by_id = {place: token for token, place in new.items()}
    tokens = [by_id.get(place, b"") for place in range(count)]
    common: Mixture = mean_of(row for row, _ in shared[:: max(1, len(shared) // _FEW)])
    instead = [((parts[place], 1.0),) if place in parts else common for place in range(count)]
    pursued = Donor(donor).mixtures(artefact, tokens, old, instead, k)
    mixtures = [
        tuple(instead[p] if p in parts else mixture for p, mixture in enumerate(made))
        for made in pursued
    ]
    meaning = {old[token]: place for token, place in new.items() if token in old}
    meaning |= {getattr(ours, part): getattr(wanted, part) for part in reversed(_PARTS) if _both(ours, wanted, part)}
    end = answer_end(template, _names(wanted), wanted.specials.values()) if template is not None else None
    says = played(artefact, donor, wanted, meaning, next((place for place, text in wanted.specials.items() if text == end), None))
    changed = replace_rows(artefact, mixed_rows(*mixtures), count, padded=rows).edited(
        lambda model: model.having(
            "the donor's tokenizer", **{fact.replace(".", "__"): value for fact, value in says.facts.items()}
        ),
        "the tokenizer is the donor's",
    )
    exported = _as_loaded(exported, given, donor, changed)
    before, after = load(value), load(theirs)
    return Revised(
        changed,
        dict(exported),
        ([one for one, _ in shared], [other for _, other in shared]),
        {
            "edit": "transplant-tokenizer",
            "donor": donor.label,
            "tokens": len(new),
            "shared": len(shared),
            "parts": len(parts),
            "rows": rows,
            "k": k,
        },
        (
            f"{len(new)} tokens of the donor: {len(shared)} are this model's too and keep their rows, the others are made of "
            f"{k} of those each; {len(parts)} play a part (bos, eos, unk, pad) that a row here plays",
            f"rows: {artefact.model.facts['vocab']} become {rows}",
            *says.said,
            *exported.notices,
            "tokens of samples, before -> after:",
            *(f"  {n:<16} {len(before.encode(t).ids)} -> {len(after.encode(t).ids)}" for n, t in SAMPLES.items()),
        ),
        settings=says.settings,
    )


def _as_loaded(made: TokenizerFiles, files: Mapping[str, bytes], donor: Artefact, output: Artefact) -> TokenizerFiles:
    """The files in a form of which a library gives the donor's ids beside the output's config; raises where there is none."""
    library = installed()
    if library is None:
        return made
    configs = own_config(donor.origin), written_config(output)
    try:
        return choose(made, files, configs, output.family, library).made
    except ConversionError as refusal:
        raise ConversionError(
            f"the donor's tokenizer cannot be read beside this model's config.json (SRC is the donor here): {refusal}"
        ) from None


def _names(wanted: TokenizerFacts) -> dict[str, str]:
    """What a template may ask for."""
    places = {f"{part}_token": getattr(wanted, part) for part in _PARTS}
    return {name: wanted.specials[place] for name, place in places.items() if place in wanted.specials}


def _both(ours: TokenizerFacts, theirs: TokenizerFacts, part: str) -> bool:
    return getattr(ours, part) is not None and getattr(theirs, part) is not None


def _parts(ours: TokenizerFacts, theirs: TokenizerFacts) -> dict[int, int]:
    """The donor's ids that play a part, with the row that plays it here."""
    return {getattr(theirs, part): getattr(ours, part) for part in reversed(_PARTS) if _both(ours, theirs, part)}
