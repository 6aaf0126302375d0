"""Tokenizers that are made to work without end, each from a good one, in a few kilobytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Value = dict[str, Any]


def doubling(value: Mapping[str, Any], times: int = 40) -> Value:
    """Every e becomes two, again and again."""
    return _normalised(value, *({"type": "Replace", "pattern": {"String": "e"}, "content": "ee"} for _ in range(times)))


def _filling(value: Mapping[str, Any]) -> Value:
    return _normalised(value, *({"type": "Replace", "pattern": {"Regex": ""}, "content": "ab"} for _ in range(60)))


def _padding(value: Mapping[str, Any]) -> Value:
    padding = {
        "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "a",
    }  # fmt: skip
    return {**value, "padding": padding}


def _multiple(value: Mapping[str, Any]) -> Value:
    padding = {**_padding(value)["padding"], "strategy": "BatchLongest", "pad_to_multiple_of": 10**9}
    return {**value, "padding": padding}


def _around(value: Mapping[str, Any]) -> Value:
    name = value["added_tokens"][0]["content"] if value["added_tokens"] else "a"
    many = {name: {"id": name, "ids": [1] * 15_000, "tokens": ["a"] * 15_000}}
    template = {"type": "TemplateProcessing", "special_tokens": many}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, *[{"SpecialToken": {"id": name, "type_id": 0}}] * 100]
    return {**value, "post_processor": {**template, "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}]}}


def _normalised(value: Mapping[str, Any], *steps: Mapping[str, Any]) -> Value:
    return {**value, "normalizer": {"type": "Sequence", "normalizers": list(steps)}}


BOMBS: Mapping[str, Callable[[Mapping[str, Any]], Value]] = {
    "doubled letters": doubling, "text between letters": _filling, "padding": _padding, "multiples": _multiple,
    "specials around": _around,
}  # fmt: skip
