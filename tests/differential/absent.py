"""Sweep `absent`: each optional key left out, so that whoever reads the config falls back on a default.

Of stock classes: the config as the class saves it, less one key, judged by the class. Of vendors' families without a class:
the golden's config less one key; there the reference decoder of the family says what the default is, which is the second
best judge, since it is ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from convert.planning import Plan
from surgery.errors import ConversionError
from tests.differential import product
from tests.differential.case import Fault, Outcome, brief, concluded
from tests.differential.cells import EDITS, logits_of, opened
from tests.differential.judge import Unloadable
from tests.differential.keys import targets
from tests.differential.native import has_class, native, natives
from tests.differential.room import Room
from tests.differential.sources import source_of
from tests.goldens import golden, goldens
from tests.pairs.test_plans import VARIANTS

#: without which a config is not of the family
_NAMES = {"model_type", "architectures", "auto_map"}


@dataclass(frozen=True)
class NativeCase:
    """A key that the class saves, left out."""

    family: str
    key: str
    target: str

    @property
    def id(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def source(self) -> str:
        return f"absent/{self.family}/{self.key}"

    def judged(self, room: Room) -> Outcome:
        config = native(self.family).saved()
        # what the table does not know has the class's own value here: the user knows better, and says so
        accepted = {"accept": tuple(config)}
        del config[self.key]
        found = source_of(self.family, self.source, config, room)
        # a default that is made for large models (an id of 151329, 8 groups of experts) may not fit a tiny one
        return product.conversion(self.id, found, self.target, room, options=accepted, nonsense=True)


@dataclass(frozen=True)
class VendorCase:
    """A key of a golden's config left out, the checkpoint rewritten as its own family."""

    golden: str
    key: str

    @property
    def id(self) -> str:
        return f"absent/{self.golden}/{self.key}"

    @property
    def source(self) -> str:
        return f"absent/{self.golden}"

    def judged(self, room: Room) -> Outcome:
        case, variant = golden(self.golden), VARIANTS.get(self.golden)
        folder = room.fresh(self.golden)
        _without(case.checkpoint, self.key, folder)
        tokens = load_file(case.logits)["input_ids"]

        def judged(plan: Plan) -> Outcome:
            family = plan.target.partition("-")[0]
            try:
                truth: Tensor = logits_of(folder, family, tokens, variant)
            except (Unloadable, ConversionError) as error:
                return concluded(self.id, [Fault("verify", f"accepted, and the reference decoder refuses: {brief(error)}")])
            output = product.written(plan, room, lambda out: logits_of(out, family, tokens, variant), variant).gone()
            return concluded(self.id, output.faults(truth))

        outcome = product.tried(self.id, lambda: product.planned(folder, opened(case).family, variant=variant), judged)
        shutil.rmtree(folder)
        return outcome


def cases() -> Iterator[NativeCase | VendorCase]:
    """Every key of every config."""
    for one in natives():
        for key in sorted(one.saved().keys() - _NAMES):
            yield from (NativeCase(one.family, key, target) for target in targets(one.family))
    for case in goldens():
        if not case.name.startswith(EDITS) and not has_class(opened(case).family):
            config = case.checkpoint / "config.json"
            keys = json.loads(config.read_text(encoding="utf-8")).keys() - _NAMES if config.is_file() else ()
            yield from (VendorCase(case.name, key) for key in sorted(keys))


def _without(checkpoint: Path, key: str, folder: Path) -> None:
    """The checkpoint with one key of its config left out."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config[key]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
