"""The vocabulary of the tables: what a family's file may say, and nothing that runs.

A family is how to recognise it, how its config.json maps to the hub's facts, and one row per kind of tensor. Tables hold
literals and the named conversions of ``mappings.via`` only, so that both directions, the expected names and shapes, the
coverage proof and the documentation are all computed from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from mappings.via import SAME, Via


@dataclass(frozen=True)
class Recognise:
    """Conditions on config.json, all of which must hold: keys that must have a value, and values they must not have.

    The dots of a key in ``present`` descend.
    Of the tables in ``one_of`` one must hold whole, and of those in ``none_of`` none: sizes that were published.
    """

    model_type: str = ""
    aliases: tuple[str, ...] = ()  # other model_types of the same class
    architectures: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    unlike: Mapping[str, Any] = field(default_factory=dict)
    one_of: tuple[Mapping[str, Any], ...] = ()
    none_of: tuple[Mapping[str, Any], ...] = ()

    def matches(self, config: Mapping[str, Any]) -> bool:
        stated = config.get("architectures")
        named = stated if isinstance(stated, list | tuple) else ()
        unsaid = stated is None and self.model_type != ""  # as the libraries take it: the model_type has one class for text
        return (
            self.names(config)
            and (not self.architectures or unsaid or any(name in self.architectures for name in named))
            and all(lookup(config, key) is not None for key in self.present)
            and all(config.get(key) is None for key in self.absent)
            and all(config.get(key) == value for key, value in self.values.items())
            and all(config.get(key) != value for key, value in self.unlike.items())
            and (not self.one_of or any(_holds(table, config) for table in self.one_of))
            and not any(_holds(table, config) for table in self.none_of)
        )


    def names(self, config: Mapping[str, Any]) -> bool:
        """Whether the config has the model_type, or need not have one."""
        return self.model_type in ("", config.get("model_type")) or config.get("model_type") in self.aliases


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """The value under a key whose dots descend, or None."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _holds(table: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return all(config.get(key) == value for key, value in table.items())


@dataclass(frozen=True)
class Of:
    """A default: so many ``times`` the value of another fact, divided by ``over`` when given."""

    fact: str
    over: str = ""
    times: int = 1


REQUIRED = Of("")
AS_ABSENT = Of("", "absent")


@dataclass(frozen=True)
class Setting:
    """Config keys and the facts they state; several of either are separated by blanks, nested keys by dots."""

    fact: str
    key: str
    default: Any = REQUIRED  # when the keys are absent or null; a tuple where there are several facts
    via: Via = SAME
    null: Any = AS_ABSENT  # when the key is there and null, where loaders tell that from an absent one
    absent: Mapping[str, Any] = field(default_factory=dict)  # values of keys that are not there, where facts take several

    @property
    def facts(self) -> tuple[str, ...]:
        return tuple(self.fact.split())

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.key.split())

    def defaults(self) -> tuple[tuple[str, Any], ...]:
        """Each fact with its default."""
        each = self.default if isinstance(self.default, tuple) else (self.default,) * len(self.facts)
        return tuple(zip(self.facts, each, strict=True))


@dataclass(frozen=True)
class Fixed:
    """A fact that the family's code hard-wires; ``why`` says where that was read."""

    fact: str
    value: Any
    why: str


@dataclass(frozen=True)
class Harmless:
    """Keys, separated by blanks, that no setting reads: at the values ``at`` they change no logits, and ``why``.

    The class's own default is among the values. ``None``: whatever the value.
    """

    keys: str
    why: str
    at: tuple[Any, ...] | None = None

    def covers(self, value: Any) -> bool:
        """Whether the keys do nothing at this value; 1 is not true, and 1.0 is 1."""
        return self.at is None or any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.at)


@dataclass(frozen=True)
class Row:
    """What a family's file calls a tensor, which roles it stores, and how.

    ``when`` is a fact that must hold (``!tied`` negates); ``bias`` the fact under which the tensor has a bias beside it,
    whose row is derived: ``.weight`` becomes ``.bias`` and the layout loses the axes that are multiplied over.

    ``{layer:moe}`` in a name runs over a set of layers (``Facts.run``). An index that the roles have and the name lacks is
    an axis of the file tensor: experts stacked in one. ``split`` is the file axis along which model-parallel files cut the
    tensor; without it each file has all of it. ``scale`` is the suffix of the float32 tensor beside an F8_E4M3 one that
    holds a factor for each ``block`` of rows and columns, the last ones partial. A ``spare`` tensor is one whose roles
    another row stores too: it is written, and files may lack it.
    """

    name: str
    roles: str
    layout: str
    when: str = ""
    bias: str = ""
    split: int | None = None
    scale: str = ""
    block: tuple[int, int] = (128, 128)
    spare: bool = False


@dataclass(frozen=True)
class Leave:
    """Tensors that are knowingly not taken: a template, or a prefix ending in ``*``, and why."""

    name: str
    why: str


#: how a family's files are kept: the Hub's safetensors, Meta's model-parallel torch files, nanoGPT's single one
Stored = Literal["safetensors", "consolidated", "ckpt"]


@dataclass(frozen=True)
class Family:
    """One family, or one variant of it where its releases differ."""

    name: str
    title: str
    recognise: Recognise
    settings: tuple[Setting | Fixed, ...]
    rows: tuple[Row, ...]
    architecture: str
    model_type: str
    variant: str = ""
    leave: tuple[Leave, ...] = ()
    harmless: tuple[Harmless, ...] = ()  # beside those of the loading libraries, mappings.harmless
    constants: Mapping[str, Any] = field(default_factory=dict)  # written to config.json as they are
    notes: tuple[str, ...] = ()  # what a user should know and no table can say
    source: str = ""  # where the architecture was read
    stored: Stored = "safetensors"
    nested: str = ""  # the config key under which some releases keep what the settings are about
    prefixes: tuple[
        tuple[str, str], ...
    ] = ()  # beginnings of names that some files have, and what the rows have instead
    #: sizes (one, other) of which the library's class takes the one only where it is a multiple of the other
    multiples: tuple[tuple[str, str], ...] = ()

    @property
    def partial(self) -> bool:
        """Whether such checkpoints hold more than the table does (a vision tower), so that they are read and not written."""
        return bool(self.nested) and self.stored == "safetensors"

    @property
    def label(self) -> str:
        """The name with the variant, as messages say it."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @cached_property
    def base(self) -> str:
        """What the class without a head is called in the one with it, such as ``model.``; empty where there is no such class."""
        layered = next((row.name.partition("{layer")[0].split(".") for row in self.rows if "{layer" in row.name), [])
        return f"{layered[0]}." if len(layered) > 2 else ""

    @cached_property
    def roots(self) -> frozenset[str]:
        """What the rows' names begin with: one segment, and one more where the first is ``base``."""
        return frozenset(
            ".".join(row.name.split(".")[: 2 if self.base and row.name.startswith(self.base) else 1]) for row in self.rows
        )

    def derive(self, **changes: Any) -> Family:
        """This family plus differences: settings and rows replace those that state the same facts, or roles or names.

        What the library's class checks is another class's business, and is not taken over.
        """
        changes.setdefault("multiples", ())
        settings = _merged(self.settings, changes.pop("settings", ()), lambda s: set(s.fact.split()))
        rows = _merged(self.rows, changes.pop("rows", ()), lambda r: {r.name, *r.roles.split()})
        return replace(self, settings=settings, rows=rows, **changes)


T = TypeVar("T")


def _merged(old: tuple[T, ...], new: tuple[T, ...], states: Callable[[T], set[str]]) -> tuple[T, ...]:
    """``old`` with each of ``new`` in the place of the first item that states any of the same; unmatched ones last."""
    merged: list[T] = []
    left = list(new)
    for other in old:
        here = [item for item in new if states(item) & states(other)]
        merged += [item for item in here if item in left] or ([] if here else [other])
        left = [item for item in left if item not in here]
    return (*merged, *left)
