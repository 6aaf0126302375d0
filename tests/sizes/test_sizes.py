"""No count that a file states is believed before it is compared with what is there: whatever it says, all ends, and soon."""

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from convert.common_tokens import vocabularies
from convert.new_rows import made_rows
from mappings import families
from mappings.config import read_facts, recognise
from surgery.errors import ConversionError
from surgery.tokenizer.bounds import MOST_IDS
from surgery.tokenizer.sources import read, spelled_ids
from tests.vocabulary.test_extend import byte_level_model, small_json

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
#: families whose configs count different things
FAMILIES = (
    "llama-gqa", "gemma2", "qwen2-sliding-window-on", "deepseek-v3", "llama4", "mixtral", "qwen2-moe", "gpt2", "chatglm2",
    "meta-llama2-gqa", "phi3", "granite", "minicpm-2b", "internlm2-7b", "stablelm", "baichuan-13b",
)  # fmt: skip


def swept(folder: Path, readers: str, documents: str) -> list[str]:
    """What the sweep of a folder complains of."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sizes.sweep", str(folder), readers, documents],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_no_count_of_a_config_makes_a_plan_large() -> None:
    assert swept(GOLDEN / "gemma2" / "checkpoint", "plan", "config.json") == []


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if (GOLDEN / name).is_dir()])
def test_no_count_of_a_config_or_an_index_makes_any_command_large_or_slow(family: str) -> None:
    documents = "config.json,params.json,model.safetensors.index.json"
    assert swept(GOLDEN / family / "checkpoint", "plan,inspect,validate,diff,verify", documents) == []


@pytest.mark.slow
def test_no_count_of_a_tokenizer_or_of_generation_makes_any_command_large_or_slow(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "made", tied=False)
    settings = {"eos_token_id": 700, "max_length": 20, "num_beams": 1, "suppress_tokens": [1, 2], "forced_eos_token_id": 3}
    (tmp_path / "made" / "generation_config.json").write_text(json.dumps(settings))
    decoder = {"700": {"content": "<|end|>", "special": True}}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, "added_tokens_decoder": decoder}
    (tmp_path / "made" / "tokenizer_config.json").write_text(json.dumps(said))
    tokenizer = {**small_json(), "truncation": _TRUNCATION, "padding": _PADDING}
    tokenizer["model"] = {**tokenizer["model"], "vocab": dict(tokenizer["model"]["vocab"])}
    (tmp_path / "made" / "tokenizer.json").write_text(json.dumps(tokenizer))
    documents = "generation_config.json,tokenizer_config.json"
    assert swept(tmp_path / "made", "vocabulary,claims,validate", documents) == []


_TRUNCATION = {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
_PADDING = {
    "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "!",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("document", ["adapter/adapter_config.json", "base/config.json"])
def test_no_count_of_an_adapter_or_its_base_makes_a_merge_large_or_slow(document: str) -> None:
    assert swept(GOLDEN / "lora-qv-only" / "checkpoint", "adapter", document) == []


@pytest.mark.slow
def test_no_count_of_a_manifest_makes_verification_large_or_slow(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "made", tied=False)
    edit = {"edit": "extend-vocab", "first": 600, "tokens": 101, "rows": 701, "init": "copy:a", "seed": 0, "k": 8, "pad_to": 1}
    told = {"weightsmith": 1, "options": {"vocabulary": edit, "max_shard_size": 10**9}, "tensors": 3}
    (tmp_path / "made" / "weightsmith.json").write_text(json.dumps(told))
    assert swept(tmp_path / "made", "claims,validate", "weightsmith.json,config.json") == []


@pytest.mark.parametrize("size", [10_001, 10**9, 10**18])
def test_layers_beyond_measure_are_refused_by_every_family_before_a_list_of_them_is_made(size: int) -> None:
    known = families()
    for name in FAMILIES:
        path = next((GOLDEN / name / "checkpoint" / one for one in ("config.json", "params.json")
                     if (GOLDEN / name / "checkpoint" / one).is_file()), None)  # fmt: skip
        config: dict[str, Any] = json.loads(path.read_text()) if path is not None else {}
        keys = [key for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") if key in config]
        for key in keys:
            (family, *_) = recognise(known, config)
            with pytest.raises(ConversionError, match=rf"{key} is {size}, and no model has more than 10,000 layers"):
                read_facts(family, {**config, key: size})


@pytest.mark.parametrize("place", [MOST_IDS, 10**9, 10**18, -1, 1.0, True])
def test_ids_that_no_embedding_has_a_row_for_are_refused_where_they_are_read(place: Any) -> None:
    value = small_json()
    vocabulary = {**value["model"]["vocab"], "new": place}
    with pytest.raises(ConversionError, match="which is not a row number"):
        spelled_ids({**value, "model": {**value["model"], "vocab": vocabulary}})
    with pytest.raises(ConversionError, match="which is not a row number"):
        spelled_ids({**value, "added_tokens": [{"content": "new", "id": place}]})
    if isinstance(place, int) and not isinstance(place, bool):
        with pytest.raises(ConversionError, match=r"row number|no negative|base64"):
            read({"x.tiktoken": b"".join(b"%s %d\n" % (b64encode(bytes([n])), n) for n in range(255))
                  + b"/w== %d\n" % place})  # fmt: skip


def test_rows_that_a_config_states_and_no_tensor_has_are_not_counted_on(tmp_path: Path) -> None:
    from convert.checkpoint import open_checkpoint

    byte_level_model(tmp_path / "made", tied=False)
    path = tmp_path / "made" / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "vocab_size": 10**9}))
    one = open_checkpoint(tmp_path / "made")
    both = vocabularies(one, one)
    assert both is not None and both.one.rows is None and both.pairs() is None


def test_new_rows_that_a_manifest_states_and_no_output_has_are_not_made(tmp_path: Path) -> None:
    from convert.checkpoint import open_checkpoint

    byte_level_model(tmp_path / "made", tied=False)
    one = open_checkpoint(tmp_path / "made")
    both = vocabularies(one, one)
    assert both is not None
    told = {"edit": "extend-vocab", "first": 1, "tokens": 10**9, "rows": 10**9, "init": "copy:a", "seed": 0}
    assert made_rows(both, told, one.config) == ()
    assert made_rows(both, {**told, "first": 600, "tokens": 101, "rows": 701}, one.config) != ()
