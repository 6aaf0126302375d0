"""``model-index``, the results of evaluations in a card: which keys it must have, and what they must hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convert.validate.subject import said

#: keys of each table, and whether it must have them: hub-docs modelcard.md
_TASK = {"type": True, "name": False}
_DATASET = {"type": True, "name": True, "config": False, "split": False, "revision": False}
_METRIC = {"type": True, "name": False, "config": False}
_SOURCE = {"name": False, "url": False}


def model_index_fault(stated: Any) -> str:
    """Where it is not what the Hub reads, and why; empty when it is."""
    if not isinstance(stated, list) or not stated:
        return f"model-index is {said(stated)}, not a list of models with their results"
    for place, model in enumerate(stated):
        at = f"model-index[{place}]"
        if not isinstance(model, Mapping) or not isinstance(model.get("name"), str):
            return f"{at} is {said(model)}, without a name"
        if not isinstance(results := model.get("results"), list):
            return f"{at}.results is {said(results)}, not a list"
        for number, result in enumerate(results):
            if fault := _result(f"{at}.results[{number}]", result):
                return fault
    return ""


def _result(at: str, result: Any) -> str:
    if not isinstance(result, Mapping):
        return f"{at} is {said(result)}, not a table of task, dataset and metrics"
    for key, words in (("task", _TASK), ("dataset", _DATASET)):
        if fault := _words(f"{at}.{key}", result.get(key), words):
            return fault
    if (source := result.get("source")) is not None and (fault := _words(f"{at}.source", source, _SOURCE)):
        return fault
    if not isinstance(metrics := result.get("metrics"), list):
        return f"{at}.metrics is {said(metrics)}, not a list"
    for number, metric in enumerate(metrics):
        if fault := _words(f"{at}.metrics[{number}]", metric, _METRIC):
            return fault
        if metric.get("value") is None:
            return f"{at}.metrics[{number}] has no value"
    return ""


def _words(at: str, table: Any, keys: Mapping[str, bool]) -> str:
    """What of a table is no word, though it must be."""
    if not isinstance(table, Mapping):
        return f"{at} is {said(table)}, not a table"
    for key, needed in keys.items():
        value = table.get(key)
        if not isinstance(value, str) and (needed or value is not None):
            return f"{at}.{key} is {said(value)}, not a word"
    return ""
