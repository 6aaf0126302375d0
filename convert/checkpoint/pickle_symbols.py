"""What a pickle may mention, and what we make of it: storages, tensors as windows on them, and refusals.

The tables hold symbols, which are compared with the names in a pickle. Nothing in them is ever imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, UnsafeInput, show

HIGHEST_RANK = 8

#: the classes of storage in the module ``torch``, and their elements' type.
STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}
#: the element types that torch stores in an UntypedStorage and names beside it (torch/storage.py, _new_dtypes).
NAMED_DTYPES = {
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
}
#: harmless things that torch writes and we do not read.
UNSUPPORTED = {
    ("torch._utils", "_rebuild_sparse_tensor"): "a sparse tensor",
    ("torch._utils", "_rebuild_sparse_csr_tensor"): "a sparse tensor",
    ("torch._utils", "_rebuild_qtensor"): "a quantised tensor",
    ("torch._utils", "_rebuild_nested_tensor"): "a nested tensor",
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): "a tensor without data (device meta)",
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): "a tensor of another device",
    **{("torch", name): f"a storage of unsupported elements ({name})" for name in (
        "ComplexDoubleStorage", "QInt8Storage", "QInt32Storage", "QUInt8Storage", "QUInt4x2Storage", "QUInt2x4Storage",
    )},
    **{("torch", name): f"elements of the unsupported type {name}" for name in (
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2", "complex32", "complex128",
        "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2",
    )},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that a pickle may mention: what it stands for here, and for storages and dtypes which elements."""

    kind: str
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements somewhere in the file, found by its key."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]


@dataclass(frozen=True, slots=True)
class Window:
    """A tensor: a strided window on a storage, proven to lie inside it."""

    storage: Storage
    dtype: str
    offset: int  # in elements of dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: every name that is not an error. It is never imported, only compared.
SYMBOLS = {
    ("collections", "OrderedDict"): Symbol("dict"),
    ("torch", "Size"): Symbol("size"),
    ("torch._utils", "_rebuild_tensor"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v3"): Symbol("tensor with dtype"),
    ("torch._utils", "_rebuild_parameter"): Symbol("parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"): Symbol("parameter"),
    ("torch._tensor", "_rebuild_from_type_v2"): Symbol("tensor with attributes"),
    ("torch", "Tensor"): Symbol("class"),
    ("torch.nn.parameter", "Parameter"): Symbol("class"),
    ("torch.storage", "UntypedStorage"): Symbol("storage", "U8"),
    **{("torch", name): Symbol("storage", dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): Symbol("dtype", dtype) for name, dtype in NAMED_DTYPES.items()},
    **{("torch", name): Symbol("dtype") for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    )},
}  # fmt: skip


class Refused(Exception):
    """The pickle is not read further; ``kind`` says whether it is damaged or unsafe. The caller names the file."""

    def __init__(self, what: str, kind: type[ConversionError] = ConversionError) -> None:
        super().__init__(what)
        self.kind = kind


def damaged(what: str) -> Refused:
    """The refusal of a pickle that no writer of checkpoints writes."""
    return Refused(f"the pickle is damaged or not torch's: {what}.")


def code(what: str) -> Refused:
    """The refusal of a pickle that asks for more than data."""
    return Refused(
        f"the pickle {what}, which is not allowed: it could run code. Only plain tensors are read and nothing was "
        f"executed. Use the safetensors version of this model, or have its author save only the state dict.",
        UnsafeInput,
    )


def _make_dict(arguments: tuple[object, ...]) -> object:
    if arguments not in ((), ([],)):
        raise damaged("an OrderedDict with arguments")
    return {}


def _make_size(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (tuple() as sizes,):
            return sizes
    raise damaged("a malformed torch.Size")


def _make_parameter(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Window() as window, *_):
            return window
    raise damaged("a malformed Parameter")


def _make_tensor(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides):
            metadata = None
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides, _, _, *rest) if len(rest) < 2:
            metadata = rest[0] if rest else None
        case _:
            raise damaged("malformed arguments of a tensor")
    return _window(storage, storage.dtype, offset, shape, strides, metadata)


def _make_tensor_with_dtype(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides, _, _, Symbol("dtype", dtype), *rest):
            if dtype and len(rest) < 2:
                return _window(storage, dtype, offset, shape, strides, rest[0] if rest else None)
    raise damaged("malformed arguments of a tensor")


def _make_tensor_with_attributes(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Symbol("tensor" | "tensor with dtype" as kind), Symbol("class"), tuple() as inner, _):
            return CONSTRUCTORS[kind](inner)
    raise damaged("malformed arguments of a tensor with attributes")


def _window(
    storage: Storage, dtype: str, offset: object, shape: tuple[object, ...], strides: tuple[object, ...], flags: object
) -> Window:
    """The tensor, if every element lies inside the storage and no storage is blown up by a stride of 0."""
    if flags:
        raise Refused("the pickle holds a conjugated or negated view, whose bytes are not its values. Re-save it.")
    if len(shape) != len(strides) or len(shape) > HIGHEST_RANK:
        raise damaged("shape and stride of a tensor do not match, or its rank is absurd")
    sizes, steps = _whole(shape), _whole(strides)
    (start,) = _whole((offset,)) if 0 not in sizes else (0,)  # torch writes any offset for an empty view
    available = storage.nbytes // ITEMSIZE[dtype]
    count = prod(sizes)
    if prod(max(size, 1) for size in sizes) >= 2**60:
        raise damaged(f"a tensor of the impossible shape {show(sizes)}")
    last = start + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if count and (last >= available or count > available):
        raise damaged(
            f"a tensor of shape {show(sizes)} with stride {show(steps)} at offset {start} reaches outside its storage "
            f"of size {available}, or is larger than it"
        )
    return Window(storage, dtype, start, sizes, steps)


def _whole(values: tuple[object, ...]) -> tuple[int, ...]:
    whole = tuple(value for value in values if type(value) is int and 0 <= value < 2**63)
    if len(whole) != len(values):
        raise damaged("a size, stride or offset of a tensor is negative, too large or not an integer")
    return whole


CONSTRUCTORS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "dict": _make_dict,
    "size": _make_size,
    "tensor": _make_tensor,
    "tensor with dtype": _make_tensor_with_dtype,
    "tensor with attributes": _make_tensor_with_attributes,
    "parameter": _make_parameter,
}
