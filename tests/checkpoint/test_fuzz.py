"""Damage at random: the readers answer with a ConversionError or with tensors inside the file, never otherwise."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.checkpoint.stored import Contents
from surgery.errors import ConversionError

from .test_safetensors import VALID
from .test_torch_file import legacy
from .written import number, pickle_of, read, tensor, text, torch_zip

settings_for_files = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=300
)
PICKLED = pickle_of(
    model=pickle_of(w=tensor(), v=tensor((2, 2), (1, 2)))[2:-1], step=number(7), words=b"](" + text("x") + b"\x88Ne"
)
ORIGINALS = {"x.safetensors": VALID, "zip.bin": torch_zip(PICKLED), "legacy.bin": legacy()}

flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)
cuts = st.floats(0, 1)


def judge(directory: Path, name: str, content: bytes) -> None:
    """Read with the memory watched; accept a refusal, or windows that lie in the file."""
    tracemalloc.start()
    try:
        contents = read(directory, name, content)
    except ConversionError as error:
        assert str(error).isprintable()
        contents = Contents({})
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20_000_000
    for stored in contents.tensors.values():
        assert 0 <= stored.offset <= stored.offset + stored.nbytes <= len(content) or not stored.contiguous


@pytest.mark.parametrize("name", sorted(ORIGINALS))
@settings_for_files
@given(changes=flips)
def test_flipped_bytes_never_escape_the_readers(tmp_path: Path, name: str, changes: list[tuple[float, int]]) -> None:
    content = bytearray(ORIGINALS[name])
    for place, byte in changes:
        content[int(place * len(content))] = byte
    judge(tmp_path, name, bytes(content))


@pytest.mark.parametrize("name", sorted(ORIGINALS))
@settings_for_files
@given(start=cuts, stop=cuts, again=st.booleans())
def test_cut_and_repeated_pieces_never_escape_the_readers(
    tmp_path: Path, name: str, start: float, stop: float, again: bool
) -> None:
    content = ORIGINALS[name]
    low, high = sorted((int(start * len(content)), int(stop * len(content))))
    judge(tmp_path, name, content[:high] + content[low:] if again else content[:low] + content[high:])


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    for length in range(len(ORIGINALS[name])):
        with pytest.raises(ConversionError):
            read(tmp_path, name, ORIGINALS[name][:length])


pieces = st.sampled_from(
    [bytes([code]) for code in range(256)]
    + [text("model"), number(3), number(2**40), tensor(), pickle_of(w=tensor())[2:-1], b"ccollections\nOrderedDict\n",
       b"ctorch\nFloatStorage\n", b"ctorch\nSize\n", b"q\x00", b"h\x00", b")R", b"cos\nsystem\n", b"(", b"t", b"u",
       b"e", b"a", b"]", b"}"]
)  # fmt: skip


@settings(settings_for_files, max_examples=1500)
@given(program=st.lists(pieces, max_size=40))
def test_any_program_for_the_pickle_machine_ends(tmp_path: Path, program: list[bytes]) -> None:
    judge(tmp_path, "x.bin", torch_zip(b"\x80\x02" + b"".join(program) + b"."))
    judge(tmp_path, "x.bin", b"\x80\x02" + b"".join(program) + b".")
