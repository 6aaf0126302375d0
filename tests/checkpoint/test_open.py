"""From a path or a Hub id to a checkpoint."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from convert.checkpoint import Missing, open_adapter, open_checkpoint, refuse_quantised
from convert.checkpoint.hub import Repository, cache_directory, files_wanted, find_snapshot, parse_identifier
from surgery.errors import ConversionError, UnsafeInput, UsageError
from tests.goldens import Golden, golden, goldens

from .written import checkpoint, floats, model, pickle_of, tensor, text, torch_zip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = model(a=floats(1, 2))


def test_a_directory_is_opened_without_reading_weights(tmp_path: Path) -> None:
    files = {"tokenizer__model": b"x", "modeling_llama__py": b"raise SystemExit(9)", "model__safetensors": WEIGHTS}
    opened = open_checkpoint(checkpoint(tmp_path / "m", config__json={"auto_map": {"AutoModel": "x.Y"}}, **files))
    assert opened.path == (tmp_path / "m").resolve()
    assert opened.config == {"auto_map": {"AutoModel": "x.Y"}}
    assert list(opened.documents) == ["tokenizer.model"]
    assert opened.warnings == ("remote code is not run and not copied (auto_map in config.json, modeling_llama.py).",)
    assert (opened.config_name, opened.repository) == ("config.json", None)


def test_what_nobody_knows_is_named_and_left_behind(tmp_path: Path) -> None:
    """A licence may be called like none; code, weights of other kinds, hidden files and folders are not named."""
    files = {"model__safetensors": WEIGHTS, "LLAMA3__txt": b"terms", "x__gguf": b"w", "m__py": b"", "MODEL_LICENSE": b"terms"}
    directory = checkpoint(tmp_path / "m", **files)
    (directory / "figures").mkdir()
    (directory / ".gitattributes").write_text("")
    (directory / "words.docx").write_text("words")
    opened = open_checkpoint(directory)
    assert list(opened.documents) == ["MODEL_LICENSE"]
    (told,) = [warning for warning in opened.warnings if "not carried over" in warning]
    assert told.startswith("LLAMA3.txt, words.docx are not carried over: no weights, and not known as part of the tokenizer")


def test_a_directory_may_be_reached_through_a_link(tmp_path: Path) -> None:
    checkpoint(tmp_path / "模型 v1", model__safetensors=WEIGHTS)
    (tmp_path / "link").symlink_to("模型 v1")
    assert list(open_checkpoint(tmp_path / "link").tensors) == ["a"]


def test_a_checkpoint_needs_a_config(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", model__safetensors=WEIGHTS)
    (directory / "config.json").unlink()
    with pytest.raises(Missing, match=r"config\.json is missing"):
        open_checkpoint(directory)


def test_a_config_that_links_outside_is_unsafe(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", model__safetensors=WEIGHTS)
    (directory / "config.json").rename(tmp_path / "secret.json")
    (directory / "config.json").symlink_to("../secret.json")
    with pytest.raises(UnsafeInput):
        open_checkpoint(directory)


@pytest.mark.parametrize("other", ["model.gguf", "tf_model.h5", "flax_model.msgpack", "model.fp16.safetensors", "a.pt"])
def test_formats_that_are_not_supported_are_named(tmp_path: Path, other: str) -> None:
    directory = checkpoint(tmp_path / "m", **{other: b"x"})
    with pytest.raises(Missing, match=rf"no weight files found.*It has {other}, in a format or under a name"):
        open_checkpoint(directory)


def test_an_empty_directory_and_a_plain_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Missing, match="no weight files found"):
        open_checkpoint(tmp_path / "empty")
    (tmp_path / "file").write_bytes(WEIGHTS)
    with pytest.raises(ConversionError, match="is a file, not a directory"):
        open_checkpoint(tmp_path / "file")
    with pytest.raises(UsageError, match="does not exist here and is no Hub id"):
        open_checkpoint(tmp_path / "absent")


SINGLE = torch_zip(pickle_of(model=pickle_of(w=tensor())[2:-1], model_args=b"}" + text("n_layer") + b"K\x03s"))


def test_a_single_torch_file_is_a_checkpoint_with_its_plain_values_as_config(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", ckpt__pt=SINGLE)
    (directory / "config.json").unlink()
    by_file = open_checkpoint(directory / "ckpt.pt")
    by_directory = open_checkpoint(directory)
    assert by_file == by_directory
    assert (by_file.config, by_file.config_name) == ({"model_args": {"n_layer": 3}}, "ckpt.pt")
    assert list(by_file.tensors) == ["w"]
    (directory / "other.pt").write_bytes(SINGLE)
    with pytest.raises(Missing, match=r"It has ckpt\.pt, other\.pt"):
        open_checkpoint(directory)


def test_a_checkpoint_of_nanogpt_is_read() -> None:
    opened = open_checkpoint(golden("nanogpt").checkpoint)
    assert opened.config["model_args"] == {
        "n_layer": 3, "n_head": 4, "n_embd": 64, "block_size": 64, "bias": True, "vocab_size": 282, "dropout": 0.0,
    }  # fmt: skip
    assert opened.tensors["transformer.wte.weight"].shape == (282, 64)


@pytest.mark.parametrize("case", goldens(), ids=str)
def test_every_published_layout_opens_and_is_not_taken_for_quantised(case: Golden) -> None:
    directory = case.checkpoint
    parts = [directory / part for part in ("base", "delta") if (directory / part).is_dir()] or [directory]
    for part in parts:
        opened = open_checkpoint(part)
        refuse_quantised(opened)
        assert opened.tensors
        assert sum(tensor.nbytes for tensor in opened.tensors.values()) <= sum(f.size for f in opened.files.values())
    if (directory / "adapter").is_dir():
        adapter = open_adapter(directory / "adapter")
        assert adapter.config["peft_type"] == "LORA"
        assert any("lora_A" in name for name in adapter.tensors)


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", adapter_config__json={}, adapter_model__safetensors=WEIGHTS)
    assert open_adapter(directory).config_name == "adapter_config.json"
    with pytest.raises(Missing, match=r"It has adapter_model\.safetensors"):
        open_checkpoint(directory)
    with pytest.raises(Missing, match=r"no weight files found.*adapter_model\.safetensors"):
        open_adapter(checkpoint(tmp_path / "model", model__safetensors=WEIGHTS))


# quantised -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"bits": 4}}, "unnamed"),
        ({"quantization_config": 4}, "quantization_config 4"),
        ({"text_config": {"quantization_config": {"quant_method": "mxfp4"}}}, "mxfp4"),
        ({"quantization_bit": 4}, "quantization_bit 4"),
    ],
)
def test_a_quantised_config_is_refused_by_name(tmp_path: Path, config: dict[str, object], words: str) -> None:
    opened = open_checkpoint(checkpoint(tmp_path / "m", config__json=config, model__safetensors=WEIGHTS))
    with pytest.raises(ConversionError, match=rf"is quantised: .*{words}.*Convert the original checkpoint"):
        refuse_quantised(opened)


@pytest.mark.parametrize("suffix", ["qweight", "qzeros", "scales", "weight.absmax", "weight_packed", "SCB"])
def test_quantised_tensors_are_recognised_by_their_names(tmp_path: Path, suffix: str) -> None:
    name = f"model.layers.0.mlp.up_proj.{suffix}"
    opened = open_checkpoint(checkpoint(tmp_path / "m", model__safetensors=model(**{name: floats(1)})))
    with pytest.raises(ConversionError, match=rf"tensors such as '{name}' are written by"):
        refuse_quantised(opened)


def test_fp8_and_plain_weights_are_not_refused(tmp_path: Path) -> None:
    configs: list[dict[str, object]] = [{"quantization_config": {"quant_method": "fp8"}}, {"quantization_bit": 0}, {}]
    for number, config in enumerate(configs):
        weights = model(**{"up.weight": floats(1), "up.weight_scale_inv": floats(2)})
        directory = checkpoint(tmp_path / str(number), config__json=config, model__safetensors=weights)
        refuse_quantised(open_checkpoint(directory))


# the Hub ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("01-ai/Yi-6B", Repository("01-ai/Yi-6B")),
        ("acme/tiny@v1.0", Repository("acme/tiny", "v1.0")),
        ("acme/tiny@refs/pr/7", Repository("acme/tiny", "refs/pr/7")),
        ("tiny", None),
        ("a/b/c", None),
        ("../tiny", None),
        ("./tiny", None),
        ("/abs/tiny", None),
        ("acme/..", None),
        ("acme/tiny@../../x", None),
        ("acme/ti--ny", None),
        ("acme/tiny ", None),
        ("acme\\tiny/x", None),
        ("acmé/tiny", None),
    ],
)
def test_hub_ids_are_told_from_paths(identifier: str, expected: Repository | None) -> None:
    assert parse_identifier(identifier) == expected


def test_two_different_revisions_are_a_usage_error() -> None:
    assert parse_identifier("acme/tiny", "v1") == Repository("acme/tiny", "v1")
    assert parse_identifier("acme/tiny@v1", "v1") == Repository("acme/tiny", "v1")
    for revision in ("../../x", "/etc/passwd", "a b", ""):
        with pytest.raises(UsageError, match="no name of a revision"):
            parse_identifier("acme/tiny", revision)
    with pytest.raises(UsageError, match="names a revision"):
        parse_identifier("acme/tiny@v1", "v2")


def test_the_cache_lies_where_the_library_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_directory() == tmp_path / "x" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert cache_directory() == tmp_path / "cache"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache that holds acme/tiny at COMMIT, and a current directory without anything."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    repository = tmp_path / "hub" / "models--acme--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    checkpoint(snapshot, config__json=b"{}")
    blobs.mkdir()
    (blobs / ("ab" * 32)).write_bytes(WEIGHTS)
    (snapshot / "model.safetensors").symlink_to("../../blobs/" + "ab" * 32)
    return snapshot


def test_a_cached_repository_is_opened_without_the_network(cache: Path) -> None:
    for name in ("acme/tiny", "acme/tiny@main", f"acme/tiny@{COMMIT}"):
        opened = open_checkpoint(name)
        assert (opened.path, opened.repository) == (cache.resolve(), f"acme/tiny@{COMMIT}")
        assert opened.files["model.safetensors"].sha256 == "ab" * 32
        assert opened.warnings == ()
    assert open_checkpoint("acme/tiny", revision="main").repository == f"acme/tiny@{COMMIT}"
    assert open_checkpoint(cache).repository == f"acme/tiny@{COMMIT}"


def test_a_ref_that_is_no_commit_is_not_followed(cache: Path) -> None:
    (cache.parent.parent / "refs" / "main").write_text("../../../outside")
    assert find_snapshot(Repository("acme/tiny")) is None


def test_a_local_directory_wins_over_the_hub_and_says_so(cache: Path) -> None:
    checkpoint(Path("acme/tiny"), model__safetensors=WEIGHTS)
    opened = open_checkpoint("acme/tiny")
    assert opened.path == Path("acme/tiny").resolve()
    assert opened.warnings == (
        "'acme/tiny' exists here and was used; a Hub repository of that name was not looked for.",
    )
    assert open_checkpoint(Path("acme/tiny")).warnings == ()
    with pytest.raises(UsageError, match="has no revision"):
        open_checkpoint("acme/tiny", revision="main")


def pretend_hub(monkeypatch: pytest.MonkeyPatch, snapshot: Path, files: list[str]) -> list[tuple[object, ...]]:
    """A huggingface_hub that serves one repository and records what it was asked for."""
    asked: list[tuple[object, ...]] = []

    class HfApi:
        def model_info(self, name: str, revision: str | None) -> SimpleNamespace:
            asked.append((name, revision))
            return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=file) for file in files])

    def snapshot_download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        (snapshot / "model.safetensors").unlink(missing_ok=True)
        (snapshot / "model.safetensors").write_bytes(WEIGHTS)
        return str(snapshot)

    module = ModuleType("huggingface_hub")
    module.HfApi, module.snapshot_download = HfApi, snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_an_incomplete_copy_is_fetched_again_at_a_fixed_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache.parent.parent / "blobs" / ("ab" * 32)).unlink()
    asked = pretend_hub(monkeypatch, cache, ["config.json", "model.safetensors", "modeling_x.py", "pytorch_model.bin"])
    assert list(open_checkpoint("acme/tiny").tensors) == ["a"]
    assert asked == [("acme/tiny", None), ("acme/tiny", COMMIT, ["config.json", "model.safetensors"])]


def test_a_damaged_copy_is_not_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache.parent.parent / "blobs" / ("ab" * 32)).write_bytes(WEIGHTS[:-1])
    asked = pretend_hub(monkeypatch, cache, ["config.json", "model.safetensors"])
    with pytest.raises(ConversionError, match="truncated"):
        open_checkpoint("acme/tiny")
    assert asked == []


def test_offline_is_one_paragraph_that_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(Missing) as caught:
        open_checkpoint("acme/absent@v2")
    message = str(caught.value)
    assert message.startswith("acme/absent@v2 is no directory here and could not be fetched from the Hub (")
    assert "It is not in the local Hub cache." in message
    assert "\n" not in message
    (cache / "model.safetensors").unlink()
    with pytest.raises(Missing, match="The local copy is incomplete: no weight files found"):
        open_checkpoint("acme/tiny")


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "consolidated.safetensors", "x.gguf", "LICENSE"],
            ["LICENSE", "config.json", "model.safetensors"],
        ),
        (
            ["config.json", "pytorch_model.bin", "training_args.bin", "modeling.py", "tokenizer.model", "sub/x.json"],
            ["config.json", "pytorch_model.bin", "tokenizer.model"],
        ),
        (
            ["config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors", "c.bin"],
            ["a.safetensors", "b.safetensors", "config.json", "model.safetensors.index.json"],
        ),
        (["params.json", "consolidated.00.pth", "checklist.chk"], ["consolidated.00.pth", "params.json"]),
        (["adapter_config.json", "adapter_model.safetensors"], ["adapter_config.json", "adapter_model.safetensors"]),
    ],
)  # fmt: skip
def test_only_what_a_conversion_needs_is_fetched(files: list[str], wanted: list[str]) -> None:
    assert files_wanted(files) == wanted


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", model__safetensors=WEIGHTS)
    heavy = ("torch", "numpy", "click", "huggingface_hub", "transformers", "safetensors", "pickle", "zipfile")
    program = (
        "import sys; from convert.checkpoint import *\n"
        f"c = open_checkpoint({str(directory)!r})\n"
        "with open_sources(c) as s: read_tensor(s, c.tensors['a'])\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
