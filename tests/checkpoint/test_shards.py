"""Which files make up a checkpoint, and what the index has to agree with."""

import os
from pathlib import Path

import pytest

from convert.checkpoint import Missing, open_checkpoint
from surgery.errors import ConversionError, UnsafeInput

from .written import checkpoint, floats, model, pickle_of, safetensors, tensor, torch_zip

A, B = floats(1, 2), floats(3)
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def sharded(directory: Path, weight_map: object = None, total: object = 12, **files: bytes | dict[str, object]) -> Path:
    """Two shards and an index; keyword files are added or replace them."""
    weight_map = {"a": FIRST, "b": SECOND} if weight_map is None else weight_map
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return checkpoint(directory, **{FIRST: model(a=A), SECOND: model(b=B), INDEX: index, **files})


def refusal(directory: Path, kind: type[ConversionError] = ConversionError) -> str:
    with pytest.raises(ConversionError) as caught:
        open_checkpoint(directory)
    assert type(caught.value) is kind, caught.value
    return str(caught.value)


def test_the_shards_of_an_index_are_read(tmp_path: Path) -> None:
    opened = open_checkpoint(sharded(tmp_path / "m"))
    assert {name: (tensor.file, tensor.shape) for name, tensor in opened.tensors.items()} == {
        "a": (FIRST, (2,)),
        "b": (SECOND, (1,)),
    }
    assert list(opened.files) == [FIRST, SECOND]
    assert opened.warnings == ()


def test_shards_may_have_any_plain_name(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "weights one.safetensors", "b": "weights one.safetensors"}}
    files = {"weights one.safetensors": model(a=A, b=B), INDEX: index}
    assert list(open_checkpoint(checkpoint(tmp_path / "m", **files)).tensors) == ["a", "b"]


def test_numbered_shards_without_an_index_must_be_complete(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m")
    (directory / INDEX).unlink()
    opened = open_checkpoint(directory)
    assert list(opened.tensors) == ["a", "b"]
    assert opened.warnings == (f"{INDEX} is missing; the shards are taken by their numbers.",)
    (directory / SECOND).rename(directory / (SECOND + ".incomplete"))
    assert f"1 shard is missing: {SECOND} not found" in refusal(directory, Missing)
    assert f"unfinished download lies there ({SECOND}.incomplete)" in refusal(directory, Missing)


@pytest.mark.parametrize("stray", ["model-00003-of-00002.safetensors", "model-00000-of-00002.safetensors"])
def test_a_shard_outside_the_numbering_is_refused(tmp_path: Path, stray: str) -> None:
    directory = checkpoint(tmp_path / "m", **{FIRST: model(a=A), SECOND: model(b=B), stray: model(c=B)})
    assert "does not fit the numbering" in refusal(directory)


def test_shards_of_two_checkpoints_are_ambiguous(tmp_path: Path) -> None:
    other = "model-00001-of-00003.safetensors"
    directory = checkpoint(tmp_path / "m", **{FIRST: model(a=A), SECOND: model(b=B), other: model(a=A)})
    assert "ambiguous which belong together" in refusal(directory)


def test_a_name_that_claims_absurdly_many_shards_is_refused(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", **{"model-00001-of-999999.safetensors": model(a=A)})
    assert "claims 999,999 shards" in refusal(directory)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside/secret.safetensors", UnsafeInput),
        ("sub/../../outside/secret.safetensors", UnsafeInput),
        ("/etc/hostname", UnsafeInput),
        ("..\\outside\\secret.safetensors", UnsafeInput),
        ("C:model.safetensors", UnsafeInput),
        ("https://example.org/model.safetensors", UnsafeInput),
        ("..", UnsafeInput),
        (".", ConversionError),
        ("", ConversionError),
        ("config.json", ConversionError),
        (".hidden.safetensors", ConversionError),
        ("model\0.safetensors", ConversionError),
        ("model\n.safetensors", ConversionError),
        ("m" * 5000 + ".safetensors", ConversionError),
        ("\u00e9" * 125 + ".safetensors", ConversionError),
    ],
)
def test_an_index_may_name_only_plain_files_beside_it(
    tmp_path: Path, name: str, kind: type[ConversionError], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal(sharded(tmp_path / "m", {"a": name, "b": SECOND}), kind)
    assert "names the file" in message
    assert message.isprintable()
    assert len(message) < 1000


def test_missing_shards_are_listed(tmp_path: Path) -> None:
    names = {f"t{number}": f"model-{number:05d}-of-00009.safetensors" for number in range(1, 10)}
    message = refusal(sharded(tmp_path / "m", names), Missing)
    assert "9 shards are missing: model-00001-of-00009.safetensors, " in message
    assert "and 4 more not found" in message


def test_a_name_that_differs_in_case_is_missing(tmp_path: Path) -> None:
    assert "Model-00001-of" in refusal(sharded(tmp_path / "m", {"a": FIRST.replace("m", "M", 1), "b": SECOND}), Missing)


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": FIRST, "b": SECOND, "ghost": FIRST}, "1 listed in the index but missing, not in any shard: 'ghost'"),
        ({"a": SECOND, "b": FIRST}, "2 not in the shard that weight_map names: 'a', 'b'"),
        ({"a": FIRST}, "leftover"),
        ([], "no weight_map"),
        ({}, "no weight_map"),
        ({"a": [FIRST]}, "gives 'a' no file name"),
    ],
)
def test_the_index_and_the_shards_must_agree(tmp_path: Path, weight_map: object, words: str) -> None:
    directory = sharded(tmp_path / "m", weight_map)
    if words == "leftover":
        assert open_checkpoint(directory).warnings == (
            f"{INDEX} does not mention {SECOND}: leftover files, unused.",
            f"{INDEX}: total_size is 12, but the tensors have 8 bytes; ignored.",
        )
    else:
        assert words in refusal(directory)


def test_a_tensor_that_the_index_does_not_list_is_refused(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m", **{FIRST: model(a=A, extra=B)})
    assert "1 in a shard but not listed (unexpected or unlisted" in refusal(directory)


def test_40000_unlisted_tensors_make_a_short_message(tmp_path: Path) -> None:
    empty = {f"z{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(40_000)}
    message = refusal(sharded(tmp_path / "m", {"b": SECOND, "z0": FIRST}, **{FIRST: safetensors(empty)}))
    assert "39999 in a shard but not listed" in message
    assert len(message) < 1000


@pytest.mark.parametrize("total", [11, -1, "12", 1e30, None, [12]])
def test_a_wrong_total_size_is_ignored_with_a_warning(tmp_path: Path, total: object) -> None:
    opened = open_checkpoint(sharded(tmp_path / "m", total=total))
    expected = () if total is None else (f"{INDEX}: total_size is {total!r}, but the tensors have 12 bytes; ignored.",)
    assert opened.warnings == expected


def test_a_total_size_written_as_a_float_is_right(tmp_path: Path) -> None:
    assert open_checkpoint(sharded(tmp_path / "m", total=12.0)).warnings == ()


def test_the_same_tensor_in_two_shards_is_a_warning_only_if_identical(tmp_path: Path) -> None:
    same = open_checkpoint(sharded(tmp_path / "same", total=12, **{SECOND: model(b=B, a=A)}))
    assert same.tensors["a"].file == FIRST
    assert same.warnings == ("1 duplicate tensor(s) lie in two shards with identical bytes: 'a'.",)
    other = sharded(tmp_path / "other", **{SECOND: model(b=B, a=floats(1, 9))})
    assert "duplicate tensor 'a': both" in refusal(other)
    reshaped = sharded(tmp_path / "reshaped", **{SECOND: model(b=B, a=floats(1))})
    assert "duplicate tensor 'a': both" in refusal(reshaped)


def test_a_single_file_beside_an_index_of_others_is_ambiguous(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m", model__safetensors=model(a=A, b=B))
    assert "both model.safetensors and model.safetensors.index.json" in refusal(directory)


def test_an_index_may_name_the_single_file(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors"}}
    opened = open_checkpoint(checkpoint(tmp_path / "m", **{"model__safetensors": model(a=A), INDEX: index}))
    assert (list(opened.files), opened.warnings) == (["model.safetensors"], ())


EVIL = torch_zip(b"\x80\x02cos\nsystem\n(X\x01\0\0\0xtR.")


def test_safetensors_are_preferred_and_the_pickle_is_not_opened(tmp_path: Path) -> None:
    opened = open_checkpoint(sharded(tmp_path / "m", pytorch_model__bin=EVIL))
    assert list(opened.files) == [FIRST, SECOND]
    assert opened.warnings == (f"pytorch_model.bin ignored; the .safetensors files beside are used ({FIRST}).",)


def test_an_index_of_bin_files_wins_over_loose_safetensors_shards(tmp_path: Path) -> None:
    part = "pytorch_model-00001-of-00001.bin"
    index = {"weight_map": {"w": part}}
    files = {FIRST: model(a=A), part: torch_zip(pickle_of(w=tensor())), "pytorch_model.bin.index.json": index}
    opened = open_checkpoint(checkpoint(tmp_path / "m", **files))
    assert list(opened.files) == [part]
    assert opened.warnings == (f"{FIRST} ignored; the .bin files beside are used ({part}).",)


def test_a_bin_index_may_not_name_safetensors(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors"}}
    directory = checkpoint(tmp_path / "m", **{"pytorch_model.bin.index.json": index})
    assert "no name of a shard (.bin" in refusal(directory)


def test_an_empty_leftover_shard_is_a_warning(tmp_path: Path) -> None:
    opened = open_checkpoint(sharded(tmp_path / "m", **{"model-00003-of-00003.safetensors": safetensors(b"{}")}))
    assert opened.warnings == (f"{INDEX} does not mention model-00003-of-00003.safetensors: leftover files, unused.",)


# Meta ------------------------------------------------------------------------------------------------------------
def test_metas_shards_are_kept_apart_by_their_numbers(tmp_path: Path) -> None:
    shard = torch_zip(pickle_of(w=tensor()))
    files = {"consolidated.00.pth": shard, "consolidated.01.pth": shard, "params.json": {"dim": 4}}
    directory = checkpoint(tmp_path / "m", **files)
    (directory / "config.json").unlink()
    opened = open_checkpoint(directory)
    assert {name: tensor.file for name, tensor in opened.tensors.items()} == {
        "0/w": "consolidated.00.pth",
        "1/w": "consolidated.01.pth",
    }
    assert all(name == tensor.name for name, tensor in opened.tensors.items())
    assert (opened.config, opened.config_name) == ({"dim": 4}, "params.json")
    os.unlink(directory / "consolidated.00.pth")
    assert "1 shard is missing: consolidated.00.pth" in refusal(directory, Missing)


def test_metas_shards_need_params_json(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", **{"consolidated.00.pth": torch_zip(pickle_of(w=tensor()))})
    assert "params.json is missing" in refusal(directory, Missing)
