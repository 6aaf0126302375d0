"""Whatever torch.save writes of plain tensors is read back bit for bit, in both of its formats."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.checkpoint import Sources, read_rows, read_tensor
from convert.checkpoint.files import list_folder
from convert.checkpoint.shards import read_file
from surgery.errors import ConversionError

torch = pytest.importorskip("torch")

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "C64": torch.complex64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}  # fmt: skip


def bytes_of(tensor: Any) -> bytes:
    """Row-major bytes by way of the storage, so that no dtype needs support for arithmetic."""
    flat = tensor.contiguous().clone()
    return bytes(flat.untyped_storage())[: flat.numel() * flat.element_size()]


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A tensor of any dtype, sometimes transposed, sliced, a scalar, or of size zero."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = torch.empty(shape, dtype=dtype).nbytes
    raw = bytearray(draw(st.binary(min_size=count, max_size=count)))
    if dtype is torch.bool:
        raw = bytearray(byte & 1 for byte in raw)  # torch may normalise others when it copies
    flat = torch.frombuffer(raw, dtype=torch.uint8).clone() if raw else torch.empty(0, dtype=torch.uint8)
    tensor = flat.view(dtype).reshape(shape)
    if len(shape) > 1 and draw(st.booleans()):
        tensor = tensor.transpose(0, draw(st.integers(1, len(shape) - 1)))
    if len(shape) > 0 and draw(st.booleans()):
        start = draw(st.integers(0, tensor.shape[-1]))
        tensor = tensor[..., start :: draw(st.integers(1, 2))]
    return tensor


any_form = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def check(directory: Path, state: dict[str, Any], saved: bytes) -> None:
    (directory / "x.bin").write_bytes(saved)
    source = list_folder(directory).find("x.bin")
    contents = read_file(source)
    names = {dtype: name for name, dtype in DTYPES.items()}
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in contents.tensors.items()} == {
        name: (names[tensor.dtype], tuple(tensor.shape)) for name, tensor in state.items()
    }
    with Sources({"x.bin": source}) as sources:
        for name, tensor in contents.tensors.items():
            assert read_tensor(sources, tensor) == bytes_of(state[name])
            if tensor.shape:
                half = tensor.shape[0] // 2
                assert read_rows(sources, tensor, 0, half) == bytes_of(state[name][:half])
                assert read_rows(sources, tensor, half, tensor.shape[0]) == bytes_of(state[name][half:])


def save(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


names = st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True).filter(lambda name: name not in ("model", "module"))


@any_form
@given(st.dictionaries(names, tensors(), min_size=1, max_size=4), st.booleans(), st.sampled_from([2, 3, 4, 5]))
def test_any_state_dict_is_read_bit_for_bit(tmp_path: Path, state: dict[str, Any], in_zip: bool, protocol: int) -> None:
    check(tmp_path, state, save(state, _use_new_zipfile_serialization=in_zip, pickle_protocol=protocol))


@pytest.mark.parametrize("in_zip", [True, False])
def test_views_of_one_storage_are_read(tmp_path: Path, in_zip: bool) -> None:
    big = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "all": big,
        "tied": big,
        "row": big[1],
        "column": big[:, 2],
        "t": big.t(),
        "block": big[1:3, 2:5],
        "one": big[3, 5],
    }
    check(tmp_path, state, save(state, _use_new_zipfile_serialization=in_zip))


@pytest.mark.parametrize("in_zip", [True, False])
def test_parameters_and_the_metadata_of_modules_are_read(tmp_path: Path, in_zip: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)).to(torch.bfloat16)
    state = module.state_dict()  # an OrderedDict with the attribute _metadata
    check(tmp_path, state, save(state, _use_new_zipfile_serialization=in_zip))
    state["0.weight"].note = "an attribute"
    check(tmp_path, state, save(state, _use_new_zipfile_serialization=in_zip))
    parameters = dict(module.named_parameters())
    parameters["0.weight"].note = "an attribute"
    check(tmp_path, parameters, save(parameters, _use_new_zipfile_serialization=in_zip))


@pytest.mark.parametrize("in_zip", [True, False])
def test_a_training_checkpoint_gives_its_model_and_its_plain_values(tmp_path: Path, in_zip: bool) -> None:
    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2)).sum().backward()
    optimizer.step()
    value = {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "model_args": {"n_layer": 12, "dropout": 0.0, "bias": False, "names": ["a", None]},
        "best_val_loss": torch.tensor(1.5),
        "iter_num": 2000,
    }
    check(tmp_path, module.state_dict(), save(value, _use_new_zipfile_serialization=in_zip))
    contents = read_file(list_folder(tmp_path).find("x.bin"))
    assert contents.metadata == {
        "model_args": {"n_layer": 12, "dropout": 0.0, "bias": False, "names": ["a", None]},
        "iter_num": 2000,
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2, 3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.ones(3, dtype=torch.complex64).conj(),
        lambda: torch.ones(1).expand(1000),
        lambda: torch.ones(3, dtype=torch.complex128),
        lambda: torch.empty(2, device="meta"),
    ],
    ids=["sparse", "quantised", "conjugated", "expanded", "complex128", "meta"],
)
@pytest.mark.filterwarnings("ignore")  # torch announces that quantised tensors will go
def test_tensors_that_are_not_plain_bytes_are_refused(tmp_path: Path, make: Callable[[], Any]) -> None:
    (tmp_path / "x.bin").write_bytes(save({"w": make()}))
    with pytest.raises(ConversionError) as caught:
        read_file(list_folder(tmp_path).find("x.bin"))
    assert caught.value.status == 3


def test_a_whole_module_is_refused_as_code(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(save(torch.nn.Linear(2, 2)))
    with pytest.raises(ConversionError, match=r"torch\.nn\.modules\.linear\.Linear") as caught:
        read_file(list_folder(tmp_path).find("x.bin"))
    assert caught.value.status == 4


def test_a_file_beyond_four_gigabytes_is_read_at_the_right_places(tmp_path: Path) -> None:
    """A zip64 archive whose storages are holes, so that neither disk nor time is spent."""
    import time

    rows = (1 << 30) + 3
    with torch.serialization.skip_data():
        torch.save({"a": torch.empty(rows, dtype=torch.float32), "b": torch.empty(5)}, tmp_path / "x.bin")
    source = list_folder(tmp_path).find("x.bin")
    assert source.size > 2**32
    started = time.process_time()
    tensors = read_file(source).tensors
    assert time.process_time() - started < 1.0
    with open(tmp_path / "x.bin", "r+b") as file:
        file.seek(tensors["b"].offset)
        file.write(bytes_of(torch.arange(5, dtype=torch.float32)))
    loaded = torch.load(tmp_path / "x.bin", mmap=True, weights_only=True)
    assert torch.equal(loaded["b"], torch.arange(5, dtype=torch.float32))
    assert (tensors["a"].shape, tensors["b"].shape) == ((rows,), (5,))
