"""Windows of attention: how configs say which layers look back how far.

The facts are the window in tokens and ``window.full``, the layers without one. No window at all is (None, ()).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mappings.via import Inexpressible, Unreadable, Values, Via

_KINDS = {"full_attention": True, "sliding_attention": False}


def _late_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    """Qwen: nothing counts without use_sliding_window; with it, layers from max_window_layers on have the window."""
    layers = range(values["num_hidden_layers"])
    listed = _full(values["layer_types"], len(layers)) if "layer_types" in values else None
    if not values["use_sliding_window"]:
        if listed is not None and len(listed) < len(layers):
            raise Unreadable("layer_types names layers with a window, but use_sliding_window is not true")
        return {facts[0]: None, facts[1]: ()}
    if "sliding_window" not in values:
        raise Unreadable("use_sliding_window is true, but sliding_window does not say how wide the window is")
    full = layers[: values["max_window_layers"]] if listed is None else listed
    return _windowed(facts, values["sliding_window"], full, layers)


def _late_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    window, full = facts.values()
    if window is None:
        return {"use_sliding_window": False, "sliding_window": None}
    if tuple(full) != tuple(range(len(full))):
        raise Inexpressible("max_window_layers gives the window to all layers from one on")
    return {"use_sliding_window": True, "sliding_window": window, "max_window_layers": len(full)}


#: transformers models/qwen2/configuration_qwen2.py (5.23) __post_init__
LATE_WINDOW = Via("window of the later layers", _late_read, _late_write)


def _none_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    if values["use_sliding_window"] or set(values.get("layer_types", ())) - {"full_attention"}:
        raise Unreadable("use_sliding_window is true, and which layers it is for differs between releases of the library")
    return {facts[0]: None, facts[1]: ()}


def _none_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    if next(iter(facts.values())) is not None:
        raise Inexpressible("which layers a window is for differs between releases of the library")
    return {"use_sliding_window": False, "sliding_window": None}


#: a switch that must be off
NO_WINDOW = Via("no window", _none_read, _none_write)


def _alternating_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    """Gemma 2: a window on every second layer from the first on."""
    layer, *window = facts
    layers = range(values["num_hidden_layers"])
    full = layers[1::2]
    if "layer_types" in values and _full(values["layer_types"], len(layers)) != list(full):
        raise Unreadable("layer_types gives windows to other layers than every second one")
    return {layer: len(layers)} | _windowed(tuple(window), values["sliding_window"], full, layers)


def _alternating_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, window, full = facts.values()
    if window is None or tuple(full) != tuple(range(1, layers, 2)):
        raise Inexpressible("every second layer has a window, from the first on", "window", "window.full")
    return {keys[0]: layers, keys[1]: window}


#: transformers models/gemma2/configuration_gemma2.py (5.23) __post_init__
ALTERNATING_WINDOW = Via("window of every second layer", _alternating_read, _alternating_write)


def _full(kinds: Any, count: int) -> list[int]:
    """The layers that layer_types gives full attention."""
    if len(kinds) != count or any(kind not in _KINDS for kind in kinds):
        raise Unreadable(f"layer_types must name each of {count} layers as one of {', '.join(_KINDS)}")
    return [layer for layer, kind in enumerate(kinds) if _KINDS[kind]]


def _windowed(facts: tuple[str, ...], window: int, full: Sequence[int], layers: range) -> dict[str, Any]:
    """The facts; a window that no layer has is none."""
    none = len(full) == len(layers)
    return {facts[0]: None if none else window, facts[1]: () if none else tuple(full)}
