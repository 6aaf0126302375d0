"""The torch files we write, as torch, zipfile and our own reader see them."""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convert.planning import OutputFile
from convert.torch_out import Entry, Ordered, Zip, pickle_of, torch_file
from mappings.rows import Target
from surgery.errors import ConversionError
from surgery.layout import Leaf, row_major
from surgery.movement import Piece
from surgery.values import Moved

NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def target(name: str, source: str, shape: tuple[int, ...], dtype: str = "F32") -> Target:
    axes = tuple(f"a{i}" for i in range(len(shape)))
    strides = row_major(shape)
    moved = Moved(axes, shape, dtype, (Piece(source, 0, (0,) * len(shape), shape, strides),))
    return Target(name, shape, dtype, ((moved, Leaf(0, axes, shape, strides)),))


def written(file: OutputFile, payloads: list[bytes]) -> bytes:
    """The file with these payloads, put together as the writer does."""
    content, crcs = file.header, []
    for payload in payloads:
        crcs.append(zlib.crc32(payload))
        content += payload + file.frame.after(crcs)
    return content


SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)


@given(st.lists(st.tuples(SHAPES, st.sampled_from(sorted(NUMPY))), min_size=1, max_size=5))
def test_torch_loads_what_we_write_and_zipfile_finds_no_fault(tensors):
    import numpy as np

    arrays = [np.arange(int(np.prod(shape)), dtype=NUMPY[d]).reshape(shape) + i for i, (shape, d) in enumerate(tensors)]
    named = [(f"t.{i}", target(f"t.{i}", f"s{i}", shape, d)) for i, (shape, d) in enumerate(tensors)]
    file = torch_file("x.pth", named)
    content = written(file, [a.tobytes() for a in arrays])
    assert len(content) == file.size
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    loaded = torch.load(io.BytesIO(content), weights_only=True)
    assert list(loaded) == [name for name, _ in named]
    for i, array in enumerate(arrays):
        assert torch.equal(loaded[f"t.{i}"], torch.from_numpy(np.asarray(array)))


def test_storages_begin_at_multiples_of_64():
    file = torch_file("x.pth", [(n, target(n, n, (3,))) for n in "abc"])
    content = written(file, [b"\1" * 12] * 3)
    for info in zipfile.ZipFile(io.BytesIO(content)).infolist():
        name, extra = content[info.header_offset + 26 : info.header_offset + 30 : 2], info.header_offset + 30
        start = extra + name[0] + int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
        assert start % 64 == 0


def test_what_holds_the_same_shares_a_storage_and_stays_tied():
    file = torch_file("ckpt.pt", [("a", target("a", "s", (2,))), ("b", target("b", "s", (2,)))], wrapped="model", n=7)
    assert len(file.outputs) == 1
    loaded = torch.load(io.BytesIO(written(file, [b"\0" * 8])), weights_only=True)
    assert loaded["n"] == 7
    assert loaded["model"]["a"].data_ptr() == loaded["model"]["b"].data_ptr()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
        max_leaves=12,
    )
)
def test_plain_values_survive_the_pickle(value):
    import pickle

    assert pickle.loads(pickle_of(value)) == value
    assert all(op.proto <= 2 for op, _, _ in pickletools.genops(pickle_of(value)))


def test_a_state_dict_is_an_ordered_dict():
    import collections
    import pickle

    loaded = pickle.loads(pickle_of(Ordered(b=1, a=2)))
    assert type(loaded) is collections.OrderedDict
    assert list(loaded) == ["b", "a"]


def test_a_type_that_torch_files_do_not_get_is_refused():
    with pytest.raises(ConversionError, match="F8_E4M3"):
        torch_file("x.pth", [("a", target("a", "s", (2,), "F8_E4M3"))])


def test_records_beyond_four_gigabytes_use_zip64_fields():
    small = Entry("archive/version", 0, 2, zlib.crc32(b"3\n"))
    first = Entry("archive/data/0", len(small.local()) + 2, 5_000_000_000)
    second = Entry("archive/data/1", first.start + len(first.local()) + first.size + len(first.descriptor(0)), 8)
    start = second.start + len(second.local()) + second.size + len(second.descriptor(0))
    tail = sum(len(e.directory(0)) for e in (small, first, second)) + 98
    directory = Zip((small,), (first, second), start + tail).after([1, 2])[len(second.descriptor(2)) :]

    class Sparse(io.RawIOBase):
        """A file whose bytes are all before the directory but never read."""

        at = 0

        def seekable(self):
            return True

        def seek(self, offset, whence=0):
            self.at = offset + (0, self.at, start + len(directory))[whence]
            return self.at

        def tell(self):
            return self.at

        def read(self, count=-1):
            low = self.at - start
            assert low >= 0
            data = directory[low:] if count < 0 else directory[low : low + count]
            self.at += len(data)
            return data

    found = {i.filename: (i.file_size, i.header_offset, i.CRC) for i in zipfile.ZipFile(Sparse()).infolist()}
    assert found["archive/data/0"] == (5_000_000_000, first.start, 1)
    assert found["archive/data/1"] == (8, second.start, 2)
