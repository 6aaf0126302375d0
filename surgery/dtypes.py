"""Element types, named as safetensors names them, and their sizes in bytes."""

from __future__ import annotations

#: bytes per element
ITEMSIZE = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1,
    "BOOL": 1, "C64": 8,
}  # fmt: skip

#: types of the format that nothing here reads, with what they are: no vendor publishes a plain model in them
ELSEWHERE = {
    "F4": "4-bit floating point (two elements a byte)",
    "F6_E2M3": "6-bit floating point (four elements in three bytes)",
    "F6_E3M2": "6-bit floating point (four elements in three bytes)",
    "F8_E4M3FNUZ": "8-bit floating point of AMD's kind",
    "F8_E5M2FNUZ": "8-bit floating point of AMD's kind",
}

#: the types that hold a model's weights, with the names that config.json uses.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

#: the types of weights that mean something only with a scale beside them
QUANTISED = ("F8_E4M3",)

#: the most by which rounding to a type changes a number, relative to it, unless the number is too small or too large
ROUNDING = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}
