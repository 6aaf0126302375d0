"""How new rows begin: the names that ``--init`` takes, and another model as a donor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from convert.checkpoint import Checkpoint, open_checkpoint, open_sources
from convert.edits.tokens import tokenizer_files
from convert.prepare import open_artefact
from convert.stream import Scratch, Source
from convert.tokenizing import has_tokenizer
from mappings.tokenizers import recipe_for
from surgery.edits.vocabulary import Fill, mean_rows, mixed_rows, near_mean_rows, normal_rows, zero_rows
from surgery.errors import ConversionError, UsageError, show
from surgery.gathered import Mixture, mean_of, mixed
from surgery.model import Artefact
from surgery.tokenizer.alike import ids_by_bytes
from surgery.tokenizer.grow import Grown, as_tokenizer_json

if TYPE_CHECKING:
    import torch

Start = Callable[[Artefact, Grown, int], Fill]  # the artefact, what is new, the seed

#: name -> what it is; ``copy:TOKEN`` and ``donor:MODEL`` come on top
STARTS: dict[str, Start] = {
    "subword-mean": lambda artefact, grown, seed: mixed_rows(tuple(map(mean_of, grown.parts))),
    "mean": lambda artefact, grown, seed: mean_rows,
    "mean-cov": lambda artefact, grown, seed: near_mean_rows(seed),
    "zero": lambda artefact, grown, seed: zero_rows,
    "normal": lambda artefact, grown, seed: normal_rows(artefact.model.facts["init.range"], seed),
}


def fill_of(init: str, artefact: Artefact, grown: Grown, *, seed: int = 0, k: int = 8) -> Fill:
    """The rows that ``--init`` names, for the new tokens of ``grown``."""
    if init in STARTS:
        return STARTS[init](artefact, grown, seed)
    kind, _, rest = init.partition(":")
    if kind == "copy" and rest:
        if rest.encode() not in grown.old:
            raise UsageError(f"--init copy:{show(rest)}: the tokenizer has no such token, by its exact spelling.")
        return mixed_rows((((grown.old[rest.encode()], 1.0),),) * len(grown.tokens))
    if kind == "donor" and rest:
        donor = Donor.open(rest)
        instead = tuple(map(mean_of, grown.parts))
        return mixed_rows(*donor.mixtures(artefact, grown.tokens, grown.old, instead, k))
    raise UsageError(f"--init {show(init)}: say {', '.join(STARTS)}, copy:TOKEN or donor:MODEL.")


class Donor:
    """A model that knows tokens which another lacks: its embeddings say what those are made of."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        checkpoint: Checkpoint = artefact.origin
        files = tokenizer_files(checkpoint)
        if not has_tokenizer(files):
            raise ConversionError(
                f"the donor {show(checkpoint.path.name)} has no tokenizer, so which of its rows are which tokens' is not known: "
                "put its own tokenizer beside its weights, or choose another donor or another --init."
            )
        value = as_tokenizer_json(files, partial(recipe_for, artefact.family))
        self.ids = {token: place for token, place in ids_by_bytes(value).items() if place < artefact.model.facts["vocab"]}

    @classmethod
    def open(cls, place: str) -> Donor:
        try:
            artefact = open_artefact(open_checkpoint(place))
        except ConversionError as refusal:
            raise type(refusal)(f"the donor that --init names cannot be used: {refusal}") from refusal
        return cls(artefact)

    def mixtures(
        self,
        base: Artefact,
        tokens: Sequence[bytes],
        old: Mapping[bytes, int],
        instead: Sequence[Mixture],
        k: int,
    ) -> tuple[tuple[Mixture, ...], ...]:
        """What each token is made of, in rows of ``base``: for the embeddings, and for an output projection of its own.

        ``old`` are the ids of the base's tokens. A token that both have is that row; one that the donor lacks is what
        ``instead`` says; any other is the sum of ``k`` shared tokens that comes closest to it in the donor.
        """
        shared = sorted((place, self.ids[token]) for token, place in old.items() if token in self.ids)
        if len(shared) < 2:
            raise UsageError(
                f"the donor shares {len(shared)} tokens with the base, so nothing of it can be said in the base's rows: choose a "
                "donor whose tokenizer has the same script, or another --init."
            )
        wanted = [token for token in tokens if token not in old and token in self.ids]
        names = ["embed"] if base.model.facts["tied"] else ["embed", "head"]
        made: list[tuple[Mixture, ...]] = []
        for name in names:
            theirs = name if name in self.artefact.model.tensors else "embed"
            if made and theirs == "embed":
                break
            found = dict(zip(wanted, self._pursued(theirs, [self.ids[token] for token in wanted], shared, k), strict=True))
            made.append(
                tuple(
                    ((old[token], 1.0),) if token in old else found.get(token, other)
                    for token, other in zip(tokens, instead, strict=True)
                )
            )
        return tuple(made)

    def _pursued(self, name: str, ids: Sequence[int], shared: Sequence[tuple[int, int]], k: int) -> tuple[Mixture, ...]:
        from surgery.pursuit import pursue

        if not ids:
            return ()
        dictionary = rows_of(self.artefact, name, [theirs for _, theirs in shared])
        return tuple(
            tuple((shared[row][0], weight) for row, weight in mixture)
            for mixture in pursue(rows_of(self.artefact, name, ids), dictionary, k)
        )


def rows_of(artefact: Artefact, name: str, ids: Sequence[int]) -> torch.Tensor:
    """Rows of a role, in float32, in this order."""
    from convert.evaluate import evaluate

    checkpoint: Checkpoint = artefact.origin
    wanted = mixed(artefact.model.tensors[name], tuple(((row, 1.0),) for row in ids))
    with open_sources(checkpoint) as sources:
        return evaluate(wanted, wanted.whole, Source(checkpoint.tensors, sources.read_into), Scratch())
