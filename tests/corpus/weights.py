"""Good files with the tensors of no model, or with values that no training leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.corpus.case import Change, refused, taken, uncomputable, warned
from tests.corpus.files import Stored, bytes_of, laid_out
from tests.corpus.good import HEAD, NORM, Good

_UP, _GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
Array = np.ndarray[Any, np.dtype[Any]]
_NUMPY = {"F32": np.float32, "F16": np.float16}


def _without(chosen: Callable[[Good, str], bool]) -> Change:
    return lambda good: good.write({name: stored for name, stored in good.made().items() if not chosen(good, name)})


def _missing(good: Good) -> None:
    gone = good.matrix()
    good.write({name: stored for name, stored in good.made().items() if name != gone})


def _with(more: Callable[[Good], dict[str, Stored]]) -> Change:
    return lambda good: good.write(good.made() | more(good))


def _typed(name: str, first: str, second: str | None = None) -> Change:
    """A tensor of the right shape and another type."""
    return _with(lambda good: {name: good.stored(good.one_of(first, second or first), good.shapes()[name])})


def _values(dtype: str | None, change: Callable[[Good, Array], None]) -> Change:
    """One matrix whose values are changed, as floats where `dtype` says of which type, else as bytes."""

    def changed(good: Good) -> None:
        tensors, name = good.made(dtype), good.matrix()
        values = np.frombuffer(tensors[name].data, _NUMPY[dtype] if dtype else np.uint8).copy()
        change(good, values)
        tensors[name] = replace(tensors[name], data=values.tobytes())
        good.write(tensors)

    return changed


def _set(first: int, second: int, *values: float) -> Callable[[Good, Array], None]:
    def change(good: Good, into: Array) -> None:
        into[good.one_of(first, second)] = good.one_of(values[0], values[-1])

    return change


def _subnormal(good: Good, values: Array) -> None:
    values[:4] = [1e-42, -1e-45, -0.0, 1.1754942e-38]


def _transposed(good: Good) -> dict[str, Stored]:
    return {_UP: good.stored("F16", (good.hidden, good.inner))}


def _no_truths(good: Good) -> dict[str, Stored]:
    shape = good.shapes()[_GATE]
    return {_GATE: Stored("BOOL", shape, b"\2" * bytes_of("BOOL", shape))}


def _four_bits(good: Good) -> dict[str, Stored]:
    shape = good.shapes()[_UP]
    return {_UP: Stored("F4", shape, good.numbers.bytes(bytes_of("F4", shape)))}


def _eight_bits(good: Good) -> None:
    tensors = good.made()
    tensors[_UP] = good.stored(good.one_of("F8_E4M3", "F8_E5M2"), tensors[_UP].shape)
    tensors[f"{_UP}_scale_inv"] = good.stored("F32", (1, 1))
    good.write(tensors, config=good.config(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}))


def _two_shards(same: bool) -> Change:
    """A tensor in the shard that has it and in another one."""

    def change(good: Good) -> None:
        name = good.matrix()
        stored = good.tensors[name]
        there = good.other(good.lies[name])
        more = stored if same else good.stored(stored.dtype, stored.shape)
        good.put(there, laid_out(good.of(there) | {name: more}))

    return change


def _other_case(good: Good) -> None:
    tensors, name = good.made(), good.matrix()
    good.write(tensors | {name.replace("model", "Model", 1): tensors[name]})


CASES = (
    refused("sem_missing_tensor", "a tensor is missing", _missing, "missing"),
    refused("sem_missing_norm", "the last norm is missing", _without(lambda good, name: name == NORM), "missing.*model.norm"),
    refused("sem_missing_layer", "a layer is missing",
            _without(lambda good, name: name.startswith(f"model.layers.{good.layers - 1}.")), "missing"),
    refused("sem_extra_tensor", "a tensor that the family does not have, and that changes what is computed",
            _with(lambda good: {good.one_of("model.layers.0.self_attn.o_proj.bias", "model.layers.1.mlp.experts.0.weight"):
                                good.stored("F32", (good.hidden,))}), "unexpected"),
    refused("sem_transposed", "a matrix the other way round", _with(_transposed), "shape"),
    refused("sem_packed_rows_wrong", "packed queries, keys and values of too few rows",
            _with(lambda good: {"model.layers.1.self_attn.W_pack.weight": good.stored(
                "BF16", (good.one_of(3 * good.hidden - 4, 2 * good.hidden), good.hidden))}), "shape", "baichuan"),
    taken("sem_square_ambiguous_transpose", "a square matrix, which no shape tells from its transpose"),
    refused("sem_scalar_norm", "a norm that is one number, which would broadcast",
            _with(lambda good: {NORM: good.stored("F32", ())}), "shape"),
    refused("sem_1d_broadcast", "a norm of one number, which would broadcast",
            _with(lambda good: {"model.layers.0.input_layernorm.weight": good.stored("F32", (1,))}), "shape"),
    refused("sem_empty_weight", "a matrix without values",
            _with(lambda good: {good.matrix(): good.stored("F16", good.one_of((0, good.hidden), (0,)))}), "shape"),
    refused("sem_int_weight", "integers where nothing says that they are codes", _typed(_GATE, "I8", "I32"), "dtype"),
    refused("sem_bool_weight", "truths, of bytes that are none",
            _with(_no_truths), "dtype"),
    refused("sem_complex_weight", "complex numbers, of which a cast drops half", _typed(_GATE, "C64"), "dtype"),
    refused("sem_fp8_with_scale", "codes of 8 bits with scales, which mean nothing without them", _eight_bits, "quant"),
    refused("sem_fp4_packed", "two values a byte",
            _with(_four_bits), "F4"),
    uncomputable("sem_nan", "a value that is no number", _values("F32", _set(0, -1, float("nan")))),
    uncomputable("sem_inf", "a value that is infinite", _values("F16", _set(5, 5, float("inf"), -float("inf")))),
    taken("sem_all_zero", "a matrix of zeros, with which every function is computed as before",
          _values(None, lambda good, values: values.fill(0))),
    taken("sem_f32_beyond_f16", "values that float16 does not have, where nobody asked for it",
          _values("F32", _set(1, 1, 7e4, -1e30))),
    taken("sem_denormals", "values below the least normal one, and -0", _values("F32", _subnormal)),
    refused("sem_dup_two_shards_differ", "a tensor in two shards, with other values", _two_shards(same=False), "duplicate"),
    warned("sem_dup_two_shards_same", "a tensor in two shards, with the same values", _two_shards(same=True), "duplicate"),
    refused("sem_nfc_nfd_pair", "two names that Unicode calls equal",
            _with(lambda good: {f"model.caf{end}": good.stored("F32", (2,)) for end in ("\u00e9", "e\u0301")}), "unexpected"),
    refused("sem_case_pair", "two names that differ in a capital letter", _other_case, "unexpected"),
    refused("cfg_untied_head_absent", "no head, and a config that does not tie it",
            _without(lambda good, name: name == HEAD), "lm_head"),
)  # fmt: skip
