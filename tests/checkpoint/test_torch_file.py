"""The closed reader of torch files, on pickles and archives written out by hand."""

import struct
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from convert.checkpoint.stored import Stored
from surgery.errors import ConversionError, UnsafeInput

from .written import floats, number, numbers, pickle_of, read, safetensors, storage, tensor, text, torch_zip

#: what code would do if it ran: create the file that the tests look for.
PAYLOAD = "touch canary"


def refusal(directory: Path, content: bytes, kind: type[ConversionError] = ConversionError) -> str:
    with pytest.raises(ConversionError) as caught:
        read(directory, "pytorch_model.bin", content)
    assert type(caught.value) is kind, caught.value
    assert str(caught.value).startswith("pytorch_model.bin: ")
    return str(caught.value)


def test_a_tensor_becomes_a_window_on_the_bytes_of_its_storage(tmp_path: Path) -> None:
    content = torch_zip(pickle_of(w=tensor((2, 2), (1, 2)), tail=tensor((1,), (1,), offset=3)))
    tensors = read(tmp_path, "x.bin", content).tensors
    start = content.index(floats(1, 2, 3, 4))
    assert tensors == {
        "w": Stored("w", "x.bin", "F32", (2, 2), (1, 2), start),
        "tail": Stored("tail", "x.bin", "F32", (1,), (1,), start + 12),
    }


def test_an_empty_tensor_may_begin_anywhere(tmp_path: Path) -> None:
    content = torch_zip(pickle_of(w=tensor((0, 3), (3, 1), offset=5)))
    start = content.index(floats(1, 2, 3, 4))
    assert read(tmp_path, "x.bin", content).tensors["w"] == Stored("w", "x.bin", "F32", (0, 3), (3, 1), start)


def test_a_parameter_reads_as_its_tensor(tmp_path: Path) -> None:
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor() + b"\x88}tR"
    assert read(tmp_path, "x.bin", torch_zip(pickle_of(w=parameter))).tensors["w"].shape == (4,)


def test_an_untyped_storage_takes_the_dtype_beside_it(tmp_path: Path) -> None:
    untyped = storage("torch.storage\nUntypedStorage", numel=16)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    half = tensor((15,), (1,), 1, untyped, "_rebuild_tensor_v3", hooks + b"ctorch\nfloat8_e4m3fn\n")
    content = torch_zip(pickle_of(w=half))
    assert read(tmp_path, "x.bin", content).tensors["w"] == Stored(
        "w", "x.bin", "F8_E4M3", (15,), (1,), content.index(floats(1, 2, 3, 4)) + 1
    )


def test_values_beside_a_nested_state_dict_are_metadata(tmp_path: Path) -> None:
    state = pickle_of(w=tensor())[2:-1]
    settings = b"}(" + text("n_layer") + b"K\x03" + text("bias") + b"\x88u"
    optimizer = b"}(" + number(0) + tensor() + b"u"
    content = torch_zip(pickle_of(model=state, optimizer=optimizer, model_args=settings, iter_num=number(10)))
    contents = read(tmp_path, "ckpt.pt", content)
    assert list(contents.tensors) == ["w"]
    assert contents.metadata == {"model_args": {"n_layer": 3, "bias": True}, "iter_num": 10}
    assert contents.warnings == (
        "ckpt.pt: the state dict is nested under model, and 'optimizer' beside it is ignored.",
    )


def test_two_nested_state_dicts_are_ambiguous(tmp_path: Path) -> None:
    state = pickle_of(w=tensor())[2:-1]
    assert "which one is the model" in refusal(tmp_path, torch_zip(pickle_of(model=state, state_dict=state)))


CALL = b"(" + text(PAYLOAD) + b"tR"


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02cos\nsystem\n" + CALL + b".",
        b"\x80\x02cposix\nsystem\n" + CALL + b".",
        b"\x80\x04" + text("os") + text("system") + b"\x93" + CALL + b".",
        b"\x80\x02cbuiltins\neval\n" + CALL + b".",
        b"\x80\x02ctorch.jit.unsupported_tensor_ops\nexecWrapper\n" + CALL + b".",
        b"\x80\x02ctorch\nload\n" + CALL + b".",
        b"\x80\x02ctorch._utils\n_import_dotted_name\n" + CALL + b".",
        b"\x80\x02cfunctools\npartial\n" + CALL + b".",
        b"\x80\x02(" + text(PAYLOAD) + b"ios\nsystem\n.",
        b"\x80\x02(" + text(PAYLOAD) + b"o.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02)\x81.",
        b"\x80\x02]}b.",
        b"\x80\x02cargparse\nNamespace\n)R.",
        pickle_of(w=tensor(), z=b"cos\nsystem\n" + CALL),
    ],
)
def test_a_pickle_that_asks_for_code_is_unsafe_and_does_not_run(
    tmp_path: Path, pickled: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (torch_zip(pickled), pickled):  # in an archive, and bare, where the legacy format begins
        assert "nothing was executed" in refusal(tmp_path, content, UnsafeInput)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x02]", "truncated"),
        (b"\x80\x02].", "no state dict"),
        (b"\x80\x02K\x07.", "no state dict"),
        (b"\x80\x02}.", "no state dict"),
        (b"\x80\x09}.", "unknown protocol"),
        (b"\x80\x02.", "empty stack"),
        (b"\x80\x02}}.", "left over"),
        (b"\x80\x02}u.", "mark is missing"),
        (b"\x80\x02h\x01.", "memo entry that was never made"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "absurd memo index"),
        (b"\x80\x02X\xff\xff\xff\xff", "string of 4,294,967,295 bytes"),
        (b"\x80\x02\x8a\xff", "integer of 255 bytes"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f", "opcode 0x8b"),
        (b"\x80\x02X\x02\0\0\0\xff\xfe.", "not UTF-8"),
        (b"\x80\x02" + b"c" + b"x" * 300 + b"\n", "unterminated"),
        (b"\x80\x02](K\x01K\x02u.", "not a dict"),
        (b"\x80\x02}K\x01a.", "not a list"),
        (b"\x80\x02}]]s.", "neither a string nor an integer"),
        (b"\x80\x02}}R.", "not a known constructor"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "called like a function"),
        (b"\x80\x02}(" + text("a") + b"K\x01" + text("a") + b"K\x02u.", "duplicate key 'a'"),
        (pickle_of(a=b"K\x01"), "'a' is not a tensor"),
        (b"\x80\x02}(K\x05" + tensor() + b"u.", "5 is not a tensor"),
        (b"\x80\x02}(" + text("\u043e") + tensor() + b"u.", "U+043E"),
        (b"\x80\x02)" + b"\x85" * 200_000 + b".", "no state dict"),
        (pickle_of(w=tensor(store=storage(word="module"))), "persistent id"),
        (pickle_of(w=tensor(store=storage(key="../data.pkl"))), "impossible key"),
        (pickle_of(w=tensor(store=storage(key="1"))), "storage 1 is missing"),
        (pickle_of(w=tensor(store=storage(numel=8))), "size of 16 bytes, but the pickle claims 32"),
        (pickle_of(w=tensor(store=storage(numel=10**15))), "pickle claims"),
        (pickle_of(w=tensor(store=storage(numel=-4))), "impossible key, size"),
        (pickle_of(w=tensor((5,))), "outside its storage"),
        (pickle_of(w=tensor((4,), (2,))), "outside its storage"),
        (pickle_of(w=tensor((4,), (1,), offset=1)), "outside its storage"),
        (pickle_of(w=tensor((1,), (1,), offset=-1)), "negative"),
        (pickle_of(w=tensor((4,), (-1,))), "negative"),
        (pickle_of(w=tensor((-4,), (1,))), "negative"),
        (pickle_of(w=tensor((10**5, 10**5), (0, 0))), "larger than it"),
        (pickle_of(w=tensor((0, 2**62), (1, 1))), "impossible shape"),
        (pickle_of(w=tensor((1,) * 9, (1,) * 9)), "rank is absurd"),
        (pickle_of(w=tensor((4,), ())), "do not match"),
        (pickle_of(w=tensor(rest=b"\x89}" + b"}" + text("conj") + b"\x88s")), "conjugated or negated"),
        (pickle_of(w=tensor(function="_rebuild_sparse_tensor")), "a sparse tensor"),
        (pickle_of(w=tensor(function="_rebuild_qtensor")), "a quantised tensor"),
        (pickle_of(w=tensor(store=storage("torch\nQUInt8Storage"))), "QUInt8Storage"),
        (pickle_of(a=tensor(), b=tensor((8,), (1,), store=storage("torch\nHalfStorage", numel=8))), "in two ways"),
    ],
)
def test_a_damaged_pickle_is_refused(tmp_path: Path, pickled: bytes, words: str) -> None:
    assert words in refusal(tmp_path, torch_zip(pickled))


def test_lists_that_double_do_not_take_exponential_time(tmp_path: Path) -> None:
    state = pickle_of(w=tensor())[2:-1]
    contents = read(tmp_path, "x.pt", torch_zip(nested_bomb(state)))
    assert list(contents.tensors) == ["w"]
    assert contents.metadata == {}


def test_wide_lists_that_share_parts_do_not_take_memory(tmp_path: Path) -> None:
    """A list of 100,000 times the same list of 100,000 numbers: small in the file, 10^10 values when walked."""
    inner, outer = b"](" + b"K\x01" * 90_000 + b"eq\x00", b"](" + b"h\x00" * 90_000 + b"e"
    state = pickle_of(w=tensor())[2:-1]
    content = torch_zip(pickle_of(model=state, inner=inner, outer=outer))
    tracemalloc.start()
    try:
        contents = read(tmp_path, "x.pt", content)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert list(contents.metadata) == ["inner"]


def nested_bomb(state: bytes) -> bytes:
    """{"model": state, "bomb": a list that holds the same list twice, sixty deep}."""
    inner = b"]q\x00"
    for level in range(60):
        inner = b"](" + inner + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
    return b"\x80\x02}(" + text("model") + state + text("bomb") + inner + b"u."


ARCHIVE = torch_zip(pickle_of(w=tensor()))


def edited(at: bytes, offset: int, new: bytes, last: bool = False) -> bytes:
    """The archive with ``new`` written ``offset`` bytes behind the first (or last) occurrence of ``at``."""
    place = (ARCHIVE.rindex(at) if last else ARCHIVE.index(at)) + offset
    return ARCHIVE[:place] + new + ARCHIVE[place + len(new) :]


def rezipped(method: int = zipfile.ZIP_STORED, twice: str = "", root: str = "archive") -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(f"{root}/data.pkl", pickle_of(w=tensor()))
        archive.writestr(f"{root}/data/0", floats(1, 2, 3, 4))
        if twice:
            archive.writestr(twice, b"\x80\x02cos\nsystem\n" + CALL + b".")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/bin/sh\n" + ARCHIVE, "neither the zip nor the legacy format"),
        (ARCHIVE + b"\0\0", "bytes follow"),
        (ARCHIVE[:-30], "no directory at its end"),
        (ARCHIVE[:40], "no directory at its end"),
        (edited(b"PK\x03\x04", 6, b"\x01"), "encrypted"),
        (edited(b"PK\x01\x02", 8, b"\x41"), "encrypted"),
        (edited(b"PK\x03\x04", 8, b"\x08"), "compressed"),
        (edited(b"PK\x01\x02", 16, b"\0\0\0\0"), "CRC of its record data.pkl is wrong"),
        (edited(b"archive/data.pkl", 9, b"dbta"), "differ about a name"),
        (edited(b"archive/data.pkl", 9, b"dbta", last=True), "differ about a name"),
        (edited(b"PK\x01\x02", 24, b"\xff\xff\0\0"), "compressed"),
        (edited(b"PK\x01\x02", 42, b"\x01"), "no header where the directory says"),
        (edited(b"PK\x01\x02", 42, b"\xff\xff\xff\xff"), "zip64 field of an entry is missing"),
        (edited(b"PK\x05\x06", 10, b"\x09"), "entry of the zip directory is damaged"),
        (edited(b"PK\x05\x06", 10, b"\x01"), "longer or shorter"),
        (edited(b"PK\x05\x06", 16, b"\0"), "does not end where it should"),
        (rezipped(zipfile.ZIP_DEFLATED), "compressed"),
        (torch_zip(pickle_of(w=tensor()), constants__pkl=b""), "unexpected entry"),
        (torch_zip(pickle_of(w=tensor()), **{"code/__torch__.py": b""}), "TorchScript"),
        (torch_zip(pickle_of(w=tensor()), **{"data/../x": b""}), "unexpected entry"),
        (torch_zip(pickle_of(w=tensor()) + b"}."), "bytes follow the end of the pickle"),
        (rezipped(twice="archive/data/0/x"), "unexpected entry"),
        (ARCHIVE.replace(b"little", b"\0\0\0big"), "CRC of its record byteorder"),
        (safetensors(b"{}", bytes(4)), "safetensors file under another name"),
        (b"", "empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"model/\0".ljust(257, b"\0") + b"ustar\0" + bytes(300), "tar format"),
    ],
    # not by the bytes, which hold the time at which the archive was made
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_archive_on_which_readers_could_disagree_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_two_pickles_in_one_archive_are_unsafe(tmp_path: Path) -> None:
    assert "two data.pkl" in refusal(tmp_path, rezipped(twice="evil/data.pkl"), UnsafeInput)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = rezipped(twice="archive/data.pkl")
    assert "duplicate zip entry" in refusal(tmp_path, twice, UnsafeInput)


def test_a_big_endian_archive_is_refused(tmp_path: Path) -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickle_of(w=tensor()))
        archive.writestr("a/byteorder", b"big")
    assert "byteorder is b'big'" in refusal(tmp_path, stream.getvalue())


# legacy ----------------------------------------------------------------------------------------------------------
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}" + text("little_endian") + b"\x88s."
LEGACY_STORAGE = storage()[:-2] + b"NtQ"  # with the view metadata that the legacy format adds
KEYS = b"\x80\x02](" + text("0") + b"e."


def legacy(
    magic: bytes = MAGIC,
    version: bytes = VERSION,
    system: bytes = SYSTEM,
    keys: bytes = KEYS,
    numel: int = 4,
    tail: bytes = b"",
) -> bytes:
    value = pickle_of(w=tensor(store=LEGACY_STORAGE, rest=b"\x89ccollections\nOrderedDict\n)R"))
    return magic + version + system + value + keys + struct.pack("<q", numel) + floats(1, 2, 3, 4) + tail


def test_a_legacy_file_is_read(tmp_path: Path) -> None:
    content = legacy()
    start = content.index(floats(1, 2, 3, 4))
    assert read(tmp_path, "x.bin", content).tensors == {"w": Stored("w", "x.bin", "F32", (4,), (1,), start)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (legacy(magic=b"\x80\x02K\x01."), "a bare pickle"),
        (legacy(version=b"\x80\x02K\x01."), "unknown version"),
        (legacy(system=b"\x80\x02}."), "little-endian"),
        (legacy(keys=b"\x80\x02]."), "does not fit the tensors"),
        (legacy(keys=b"\x80\x02](" + text("0") + text("0") + b"e."), "does not fit the tensors"),
        (legacy(keys=b"\x80\x02](" + text("7") + b"e."), "does not fit the tensors"),
        (legacy(keys=b"\x80\x02](" + b"]" * 10_000 + b"a" * 9_999 + b"e."), "does not fit the tensors"),
        (legacy(numel=5), "size of 5 elements, but 4 were promised"),
        (legacy(numel=-1), "size of -1 elements"),
        (legacy(tail=b"\0"), "extra bytes follow"),
        (legacy()[:-1], "truncated download?"),
        (legacy()[:-20], "truncated"),
        (MAGIC, "truncated"),
    ],
)
def test_a_damaged_legacy_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_numbers_are_assembled_as_pickle_does() -> None:
    """The tests' own assembler, checked against CPython, so that no test passes because of a malformed pickle."""
    import pickletools

    assembled = b"\x80\x02" + numbers((1, -1, 2**40)) + b"."
    assert [value for _, value, _ in pickletools.genops(assembled) if type(value) is int] == [2, 1, -1, 2**40]
