"""Every family x every kind of vocabulary: AutoTokenizer on OUT gives the ids that SRC's vocabulary has, or nothing is written.

The judge is the library itself on both folders, and for a vocabulary file of which it makes something else than the file's
own engine (or nothing, where code is needed), that engine with the vendor's special tokens.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from convert.auto_tokenizer import AutoTokenizers
from convert.checkpoint.files import list_folder
from convert.tokenizing import convert_files, handed, installed
from mappings import families
from surgery.errors import ConversionError
from surgery.tokenizer.adapt import DERIVED
from tests.oracle import transformers
from tests.shared import needs_shared
from tests.tokenizer.vendors import TOKENIZERS, rows, vendor_files
from tests.trained.corpus import ASKED
from tests.trained.documents import model_json
from tests.trained.kinds import KINDS, Kind
from tests.trained.pieces import Spelled, model
from tests.trained.truth import ids

#: model types by which the library knows the families whose vocabularies these are
OWN_TYPE = {"yi": "llama", "baichuan2": "baichuan", "chatglm2": "chatglm", "chatglm3": "chatglm", "glm4": "chatglm",
            "deepseek": "deepseek_v3"}  # fmt: skip
TARGETS = {family.model_type: family.name for family in families() if family.stored == "safetensors" and not family.partial}
SMALL = [kind for kind in KINDS if kind.recipe in (DERIVED, "carried")]  # the others have a vendor's size
LARGE = [kind for kind in KINDS if kind not in SMALL]
#: model types for which the library does three different things: its own class, the files' class, its class for every file
THREE = ("llama", "qwen2", "glm")


def some(of: Iterable[Any], *quick: str) -> list[Any]:
    """Each as a case, all but a few of them slow."""
    return [pytest.param(one, marks=() if str(one) in quick else pytest.mark.slow) for one in of]


def config(model_type: str) -> bytes:
    return json.dumps({"model_type": model_type}).encode()


def folder(files: dict[str, bytes], model_type: str, path: Path) -> Path:
    path.mkdir(parents=True)
    for name, content in {**files, "config.json": config(model_type)}.items():
        (path / name).write_bytes(content)
    return path


def built(path: Path) -> Any:
    """What a user gets; None where the library needs the repository's code."""
    try:
        return transformers().AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except ValueError as error:
        assert "custom code" in str(error)
        return None


def encoded(tokenizer: Any, text: str, framed: bool = False) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=framed)["input_ids"]
    return found


def asked(kind: Kind) -> list[str]:
    names = list(kind.specials)[:5]
    inside = [
        text
        for name in names
        for text in (name, f"{name}{name}", f"a{name}b", f"{name} b", f" {name}\n你", f"x  {name}灯塔")
    ]
    return [*inside, *(text for text in ASKED[::5] if not (kind.moved and any(map(unicodedata.combining, text))))]


@cache
def library() -> AutoTokenizers:
    found = installed()
    assert found is not None
    return found


def converted(files: dict[str, bytes], family: str, model_types: tuple[str, str], path: Path) -> dict[str, Any]:
    """The conversion of a folder's tokenizer into the folder of an output, in this process."""
    own, target = model_types
    source = folder(files, own, path / f"source-{target}")
    out = folder({}, target, path / f"out-{target}")
    task = {
        "files": {name: handed(list_folder(source).find(name)) for name in files},
        "family": family, "rows": 1 << 20, "how": "convert",
        "beyond": False, "target": TARGETS[target], "configs": [config(own).decode(), config(target).decode()], "out": str(out),
    }  # fmt: skip
    return convert_files(task, library())


def differing(kind: Kind, target: str, path: Path) -> Iterator[str]:
    """The texts to which AutoTokenizer gives other ids in OUT than they have in SRC; none where OUT is refused by name."""
    own = OWN_TYPE.get(kind.family, kind.family)
    try:
        report = converted(kind.files, kind.family, (own, target), path)
    except ConversionError as refused:
        assert TARGETS[target] in str(refused) and "would give other ids" in str(refused)
        assert [file.name for file in (path / f"out-{target}").iterdir()] == ["config.json"]
        assert target == "qwen2", "only there does the library not leave it to the files"
        return
    assert "AutoTokenizer" in report["ids"] and "equal" in report["ids"]
    theirs = built(path / f"source-{target}") if kind.recipe == "carried" else None
    ours = built(path / f"out-{target}")
    for text in asked(kind):
        for framed in (False, True):
            want = (
                encoded(theirs, text, framed) if theirs is not None else [*(kind.prefix if framed else ()), *ids(kind, text)]
            )
            if encoded(ours, text, framed) != want:
                yield text


@pytest.mark.parametrize("kind", some(SMALL, "llama-other-size", "qwen2-json", "unigram"), ids=str)
def test_every_family_gives_a_small_vocabularys_ids_or_is_refused_by_name(kind: Kind, tmp_path: Path) -> None:
    assert {target: list(differing(kind, target, tmp_path)) for target in TARGETS} == {target: [] for target in TARGETS}


@pytest.mark.parametrize(
    "kind",
    some(LARGE, "chinese-llama", "chatglm3", "qwen"),
    ids=str,
)
def test_a_vendors_vocabulary_keeps_its_ids_or_is_refused_by_name(kind: Kind, tmp_path: Path) -> None:
    assert {target: list(differing(kind, target, tmp_path)) for target in THREE} == {target: [] for target in THREE}


#: what a Llama's tokenizer_config.json may say beside its tokenizer.json: the library's class obeys it, the file does not know
SAID: dict[str, dict[str, Any]] = {
    "nothing more": {},
    "legacy": {"legacy": True},
    "no bos": {"add_bos_token": False},
    "an eos": {"add_bos_token": True, "add_eos_token": True},
    "no space in front": {"add_prefix_space": False},
    "another class": {"tokenizer_class": "PreTrainedTokenizerFast"},
}


@pytest.mark.parametrize("said", some(SAID, "nothing more", "no bos"))
def test_a_llamas_tokenizer_json_keeps_the_ids_that_the_library_gives_from_it(said: str, tmp_path: Path) -> None:
    """The library's Llama class cuts other text than the file says, and text behind a special token above all."""
    own = model(Spelled(runs=1))
    named = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **SAID[said]}
    files = {
        "tokenizer.json": model_json(own, front="<s>"), "tokenizer.model": own,
        "tokenizer_config.json": json.dumps(named).encode(),
    }  # fmt: skip
    behind = ("b", " b", "你好", "\nthe", *ASKED[:40:4])
    texts = [f"{one}{text}" for one in ("", "<s>", "<s><s>", "a<s>", "</s> ") for text in behind]
    for target in TARGETS:
        try:
            converted(files, "llama", ("llama", target), tmp_path)
        except ConversionError as refused:
            assert target == "qwen2" and "would give other ids" in str(refused)
            continue
        theirs, ours = (built(tmp_path / f"{side}-{target}") for side in ("source", "out"))
        for text in texts:
            for framed in (False, True):
                assert encoded(ours, text, framed) == encoded(theirs, text, framed), (target, text, framed)


@needs_shared
@pytest.mark.parametrize("target", ["llama", "mistral", "glm", "qwen2"])
def test_llama_2_with_both_its_files_keeps_what_the_library_gives_from_them(target: str, tmp_path: Path) -> None:
    vendor = TOKENIZERS / "llama2" / "vendor"
    files = {path.name: path.read_bytes() for path in vendor.iterdir() if path.name != "provenance.json"}
    try:
        converted(files, "llama", ("llama", target), tmp_path)
    except ConversionError as refused:
        assert target == "qwen2" and "would give other ids" in str(refused)
        return
    theirs, ours = (built(tmp_path / f"{side}-{target}") for side in ("source", "out"))
    texts = [row["text"] for row in rows("llama2", "golden")]
    for text in (*texts, *(f"<s>{text}" for text in texts), *(f"a</s> {text}" for text in texts[::3])):
        assert encoded(ours, text) == encoded(theirs, text), text


@needs_shared
@pytest.mark.parametrize("vendor", ["chinese_llama", "baichuan2", "qwen1"])
def test_vendors_files_have_their_own_ids_in_another_family_or_are_refused(vendor: str, tmp_path: Path) -> None:
    family = {"chinese_llama": "llama", "baichuan2": "baichuan", "qwen1": "qwen"}[vendor]
    refused = set()
    for target in THREE:
        try:
            converted(vendor_files(vendor), family, (family, target), tmp_path)
        except ConversionError as error:
            assert "would give other ids" in str(error)
            refused.add(target)
            continue
        ours = built(tmp_path / f"out-{target}")
        for row in rows(vendor, "golden"):
            assert encoded(ours, row["text"]) == row["ids_plain"], row["text"]
    assert refused == {"chinese_llama": {"qwen2"}, "baichuan2": {"qwen2"}, "qwen1": set()}[vendor]
