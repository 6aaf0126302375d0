"""The strict reader of safetensors headers, on bytes written out by hand and against the reference library."""

import json
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.checkpoint.stored import Stored
from surgery.errors import ConversionError, UnsafeInput

from .written import floats, read, safetensors

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DATA = floats(1, 2)


def refusal(directory: Path, content: bytes) -> str:
    with pytest.raises(ConversionError) as caught:
        read(directory, "model.safetensors", content)
    assert not isinstance(caught.value, UnsafeInput)
    assert str(caught.value).startswith("model.safetensors: ")
    return str(caught.value)


def test_a_header_says_where_each_tensor_lies(tmp_path: Path) -> None:
    header = (
        b'{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},'
        b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"c":{"dtype":"I64","shape":[],"data_offsets":[20,28]}}'
    )
    contents = read(tmp_path, "x.safetensors", safetensors(header, bytes(28)))
    start = 8 + len(header)
    assert contents.tensors == {
        "b": Stored("b", "x.safetensors", "BF16", (2, 3), (3, 1), start + 8),
        "a": Stored("a", "x.safetensors", "F32", (2,), (1,), start),
        "c": Stored("c", "x.safetensors", "I64", (), (), start + 20),
    }
    assert contents.metadata == {"format": "pt"}
    assert contents.warnings == ()


def test_a_file_without_tensors_is_valid(tmp_path: Path) -> None:
    assert read(tmp_path, "x.safetensors", safetensors(b"{}")).tensors == {}


@pytest.mark.parametrize("lead", [b"    ", b"\n\t  "])
def test_white_space_around_the_header_is_accepted(tmp_path: Path, lead: bytes) -> None:
    contents = read(tmp_path, "x.safetensors", safetensors(lead + json.dumps({"a": ONE}).encode() + b"   ", DATA))
    assert list(contents.tensors) == ["a"]


def test_an_unknown_field_is_reported(tmp_path: Path) -> None:
    contents = read(tmp_path, "x.safetensors", safetensors({"a": {**ONE, "strides": [1]}}, DATA))
    assert contents.warnings == (
        "x.safetensors: the header has fields that safetensors does not define ('strides'); they are ignored.",
    )


ENTRY = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'

ESCAPED = ENTRY.replace("a", "\\u0061", 1)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"{{{ENTRY},{ENTRY}}}", "duplicate key 'a'"),
        (f"{{{ENTRY},{ESCAPED}}}", "duplicate key 'a'"),
        ('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', "duplicate key 'dtype'"),
        ('{"a":["F32",[2],[0,8]]}', "not described by an object"),
        ('{"a":null}', "not described by an object"),
        ('{"a":{"dtype":"F32","shape":[2]}}', "not described by an object"),
        (ENTRY.join("[]"), "does not begin with '{'"),
        (f"[{{{ENTRY}}}]", "does not begin with '{'"),
        (f"{{{ENTRY}}}{{}}", "not JSON"),
        (f"{{{ENTRY},}}", "not JSON"),
        (f"{{{ENTRY}}}\0\0", "not JSON"),
        ('{"a":{"dtype":"F32","shape":[true,2],"data_offsets":[0,8]}}', "no valid shape"),
        ('{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', "no valid shape"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}', "no valid data_offsets"),
        ('{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', "no valid shape"),
        ('{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}', "no valid shape"),
        ('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', "NaN is not JSON"),
        ('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', "too large"),
        (f'{{"a":{{"dtype":"F32","shape":[{"9" * 5000}],"data_offsets":[0,8]}}}}', "integer of 5000 digits"),
        ('{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}', "no valid shape"),
        ('{"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}}', "impossible shape"),
        ('{"a":{"dtype":"F32","shape":[4294967297,8589934590],"data_offsets":[0,8]}}', "impossible shape"),
        ('{"a":{"dtype":"F32","shape":[2,1,1,1,1,1,1,1,1],"data_offsets":[0,8]}}', "at most 8 dimensions"),
        ('{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', "needs 12 bytes"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}', "no valid data_offsets"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}', "no valid data_offsets"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":["0","8"]}}', "no valid data_offsets"),
        ('{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}', "unsupported dtype 'f32'"),
        ('{"a":{"dtype":"F4","shape":[16],"data_offsets":[0,8]}}', "is of type F4, 4-bit"),
        ('{"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}}', "unsupported dtype None"),
        (f'{{"__metadata__":{{"step":12}},{ENTRY}}}', "does not map strings to strings"),
        (f'{{"__metadata__":{{"a":"\\ud800"}},{ENTRY}}}', "surrogate"),
        (ENTRY.replace('"a"', '""', 1).join("{}"), "empty name"),
        (ENTRY.replace('"a"', '"a\\u0000b"', 1).join("{}"), "U+0000"),
        (ENTRY.replace('"a"', '"up_pr\\u043ej"', 1).join("{}"), "U+043E"),
        (ENTRY.replace('"a"', '"../../tmp/x"', 1).join("{}"), "which is a path"),
        (ENTRY.replace('"a"', '"/tmp/x"', 1).join("{}"), "which is a path"),
        (ENTRY.replace('"a"', f'"{"m" * 513}"', 1).join("{}"), "513 characters"),
        ('{"x":' + "[" * 100_000 + "]" * 100_000 + "}", "deeper than 64"),
        ('{"x":' + '{"a":' * 100_000, "deeper than 64"),
    ],
)
def test_a_header_that_parsers_could_read_differently_is_refused(tmp_path: Path, header: str, words: str) -> None:
    assert words in refusal(tmp_path, safetensors(header.encode(), DATA))


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(tmp_path, safetensors(b'{"a\xff":{}}', DATA))
    assert "does not begin" in refusal(tmp_path, safetensors(b"\xef\xbb\xbf{}"))
    assert "does not begin" in refusal(tmp_path, safetensors("{}".encode("utf-16")))


def two(first: list[int], second: list[int], data: int) -> bytes:
    header = {
        name: {"dtype": "U8", "shape": [offsets[1] - offsets[0]], "data_offsets": offsets}
        for name, offsets in (("a", first), ("b", second))
    }
    return safetensors(header, bytes(data))


def test_every_byte_of_the_file_belongs_to_one_tensor(tmp_path: Path) -> None:
    assert list(read(tmp_path, "x.safetensors", two([0, 4], [4, 8], 8)).tensors) == ["a", "b"]
    assert "overlaps" in refusal(tmp_path, two([0, 4], [2, 6], 6))
    assert "hole" in refusal(tmp_path, two([0, 4], [6, 8], 8))
    assert "hole" in refusal(tmp_path, two([2, 4], [4, 8], 8))
    assert "3 extra bytes follow" in refusal(tmp_path, two([0, 4], [4, 8], 11))
    assert "truncated" in refusal(tmp_path, two([0, 4], [4, 8], 7))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty (0 bytes)"),
        (b"\x02\0\0", "too small (3 bytes)"),
        (struct.pack("<Q", 0) + b"{}", "0 bytes, too few"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "limit is 100,000,000"),
        (struct.pack("<Q", 100_000_001) + b"{}", "limit is 100,000,000"),
        (struct.pack("<Q", 3) + b"{}", "truncated download?"),
        (struct.pack(">Q", 2) + b"{}", "limit is 100,000,000"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>Rate limited</body></html>", "HTML"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "gunzip"),
        (b"PK\x03\x04\x14\0\0\0\0\0", "zip archive"),
        (b"\x80\x02cos\nsystem\n", "a pickle"),
        (b"GGUF\x03\0\0\0", "GGUF"),
    ],
)
def test_what_is_not_safetensors_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_a_length_promised_by_a_tiny_file_is_not_allocated(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        assert "truncated" in refusal(tmp_path, struct.pack("<Q", 99_000_000) + b"{}")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_sparse_file_of_99_megabytes_without_a_brace_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 99_000_000))
        file.truncate(99_000_100)
    tracemalloc.start()
    try:
        assert "does not begin with '{'" in refusal_of(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def refusal_of(path: Path) -> str:
    from convert.checkpoint.files import list_folder
    from convert.checkpoint.shards import read_file

    with pytest.raises(ConversionError) as caught:
        read_file(list_folder(path.parent).find(path.name))
    return str(caught.value)


# against the reference -------------------------------------------------------------------------------------------
TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64",
}  # fmt: skip

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.\-]{0,30}", fullmatch=True)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(names, st.tuples(st.sampled_from(sorted(TORCH_NAMES)), shapes), min_size=1, max_size=6), st.data()
)
def test_what_the_library_saves_is_read_back_bit_for_bit(
    tmp_path: Path, wanted: dict[str, tuple[str, tuple[int, ...]]], data: st.DataObject
) -> None:
    import torch
    from safetensors.torch import save

    tensors = {}
    for name, (dtype, shape) in wanted.items():
        kind = getattr(torch, TORCH_NAMES[dtype])
        count = torch.empty(shape, dtype=kind).nbytes
        raw = bytearray(data.draw(st.binary(min_size=count, max_size=count)))
        tensors[name] = (torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)).reshape(shape)
    content = save(tensors, metadata={"format": "pt"})
    contents = read(tmp_path, "x.safetensors", content)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in contents.tensors.items()} == wanted
    for name, tensor in contents.tensors.items():
        expected = tensors[name].flatten().view(torch.uint8) if tensors[name].numel() else torch.empty(0)
        assert content[tensor.offset : tensor.offset + tensor.nbytes] == bytes(expected.to(torch.uint8).tolist())


VALID = safetensors(
    {
        "__metadata__": {"format": "pt"},
        "model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "lm_head.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]},
        "empty": {"dtype": "I8", "shape": [0, 3], "data_offsets": [20, 20]},
    },
    bytes(range(20)),
)
LENGTH = struct.unpack("<Q", VALID[:8])[0]

edits = st.lists(
    st.tuples(
        st.integers(0, LENGTH + 7), st.one_of(st.integers(0, 255), st.sampled_from(list(b'{}[]",:0129-.\\eE nt\t')))
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
@given(edits, st.booleans())
def test_whatever_the_library_refuses_is_refused(tmp_path: Path, changes: list[tuple[int, int]], insert: bool) -> None:
    from safetensors import SafetensorError, deserialize

    content = bytearray(VALID)
    for at, byte in changes:
        if insert and at >= 8:
            content.insert(at, byte)
            content[:8] = struct.pack("<Q", struct.unpack("<Q", content[:8])[0] + 1)
        else:
            content[at] = byte
    try:
        ours = read(tmp_path, "x.safetensors", bytes(content))
    except ConversionError:
        return
    try:
        theirs = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in deserialize(bytes(content))}
    except SafetensorError as error:
        pytest.fail(f"accepted what the library refuses ({error}): {bytes(content)!r}")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in ours.tensors.items()} == theirs


number_texts = st.sampled_from(
    ["0", "-0", "2", "8", "2.0", "2e0", "1e999", "-2", "02", "+2", "0x2", "true", "null", str(2**64), " 2 "]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(number_texts, max_size=3), st.lists(number_texts, max_size=3), number_texts)
def test_numbers_that_the_library_refuses_are_refused(
    tmp_path: Path, shape: list[str], offsets: list[str], extra: str
) -> None:
    from safetensors import SafetensorError, deserialize

    header = f'{{"a":{{"dtype":"F32","shape":[{",".join(shape)}],"data_offsets":[{",".join(offsets)}],"z":{extra}}}}}'
    content = safetensors(header.encode(), DATA)
    try:
        deserialize(content)
    except (SafetensorError, OverflowError):
        assert refusal(tmp_path, content).startswith("model.safetensors: the header is not valid")
    else:
        assert list(read(tmp_path, "model.safetensors", content).tensors) == ["a"]
