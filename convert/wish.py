"""A wish: what was asked for, so that a plan can be made again, of the same checkpoint or of another of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from surgery.model import Applied


@dataclass(frozen=True)
class Wish:
    """Which family is read, which edits are done to it in order, and what it is written as."""

    family: str
    variant: str
    to: str  # label of the family written
    edits: tuple[Applied, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)  # of `plan_artefact`, and `accept`; JSON values

    def to_json(self) -> dict[str, Any]:
        edits = [{"do": edit.name, **edit.arguments} for edit in self.edits]
        return {"family": self.family, "variant": self.variant, "to": self.to, "edits": edits, "options": dict(self.options)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Wish:
        edits = tuple(Applied(one["do"], {k: v for k, v in one.items() if k != "do"}) for one in told["edits"])
        return cls(told["family"], told["variant"], told["to"], edits, told["options"])

    def without_places(self) -> list[dict[str, Any]]:
        """The edits as an output may tell them: of a path only the last name, since paths are this machine's."""
        return [
            {"do": edit.name}
            | {k: PurePath(v).name if isinstance(v, str) and "/" in v else v for k, v in edit.arguments.items()}
            for edit in self.edits
        ]


def variant_of(label: str) -> str | None:
    """The variant in a family's label, such as ``baichuan-2-7b``; None where the family has none.

    >>> variant_of("baichuan-2-7b"), variant_of("llama")
    ('2-7b', None)
    """
    return label.partition("-")[2] or None
