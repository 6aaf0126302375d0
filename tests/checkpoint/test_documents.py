"""Strict JSON, and which documents travel with a checkpoint."""

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.checkpoint import find_documents, is_document, open_checkpoint, read_bytes, read_json
from convert.checkpoint.documents import NotStrict, is_legal, parse_json
from convert.checkpoint.files import list_folder
from surgery.errors import ConversionError, UnsafeInput
from tests.goldens import golden

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(plain, st.booleans())
def test_what_json_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "duplicate key 'b'"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e400}', "too large"),
        (b'{"total_size": ' + b"1" * 41 + b"}", "'total_size' is an integer of 41 digits"),
        (b"[" + b"1" * 41 + b"]", "a value is an integer of 41 digits"),
        (b'{"a": 1,}', "not JSON"),
        (b"", "not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b'{"a": "\\udfff"}', "surrogate"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b'{"a":' * 200_000, "deeper than 64"),
    ],
)
def test_what_parsers_disagree_about_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(NotStrict) as caught:
        parse_json(data)
    assert words in str(caught.value)


def test_the_very_large_integer_of_tokenizer_configs_is_read() -> None:
    assert parse_json(b'{"model_max_length": 1000000000000000019884624838656}') == {"model_max_length": int(1e30)}


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    assert parse_json(json.dumps(["[" * 500, '\\"[' * 500, "\U0001f600"]).encode()) == [
        "[" * 500,
        '\\"[' * 500,
        "\U0001f600",
    ]
    assert parse_json(b"[" * 64 + b"]" * 64)


def test_a_huge_config_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(10**9)
    tracemalloc.start()
    try:
        with pytest.raises(ConversionError, match=r"config\.json has 1,000,000,000 bytes"):
            read_json(list_folder(tmp_path).find("config.json"))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"[]", b"null", b"7", b'"x"', b"true"])
def test_a_config_must_be_an_object(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(ConversionError, match=r"config\.json holds a JSON .* where an object is needed"):
        read_json(list_folder(tmp_path).find("config.json"))


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "encoder.json", "vocab.bpe", "qwen.tiktoken", "ice_text.model", "generation_config.json",
        "chat_template.jinja",
        "chat_template.json", "LICENSE", "LICENSE.txt", "license.md", "NOTICE", "USE_POLICY.md", "README.md",
        "Community License for Baichuan2 Model.pdf", "preprocessor_config.json", "baichuan-7B 模型许可协议.pdf",
        "Baichuan2 模型社区许可协议.pdf", "《MiniCPM模型商用许可协议》.md", "TERMS_OF_USE.md", "Gemma_Terms_of_Use.md",
        "MODEL_LICENSE", "LICENSE-CODE", "LICENSE-MODEL", "Tongyi Qianwen LICENSE AGREEMENT",
        "BAAI-Aquila-Model-License -Agreement.pdf",
        "ACCEPTABLE_USE_POLICY.txt", "acceptable_use.md", "EULA.txt", "Responsible-Use-Guide.pdf",
        "COPYRIGHT", "LICENSE.MIT", "Prohibited Use Policy.pdf", "Skywork 模型社区许可协议.pdf",
    ],
)  # fmt: skip
def test_documents_are_carried(name: str) -> None:
    assert is_document(name)


@pytest.mark.parametrize(
    "name",
    [
        "modeling_baichuan.py", "tokenization_qwen.py", "license.py", "notice.so", "install.sh", ".env",
        "optimizer.pt", "training_args.bin", "license.safetensors", "config.json", "policy.safetensors.index.json", "licence.png",
        "determs.md", "model.safetensors.index.json",
        "a\nb.json", "-rf", "tokenizer.model.incomplete", "trainer_state.json", "tokenizer.json\n", "x.model\n",
    ],
)  # fmt: skip
def test_code_secrets_and_other_files_are_not_carried(name: str) -> None:
    assert not is_document(name)


def test_documents_are_found_but_not_read(tmp_path: Path) -> None:
    for name in ("tokenizer.model", "README.md", "modeling.py", "model.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    found = find_documents(list_folder(tmp_path))
    assert sorted(found) == ["README.md", "tokenizer.model"]
    assert read_bytes(found["README.md"]) == b"README.md"
    with pytest.raises(ConversionError, match=r"refused above 8"):
        read_bytes(found["README.md"], limit=8)


def test_a_document_that_links_outside_is_unsafe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"PRIVATE")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tokenizer.model").symlink_to("../secret")
    with pytest.raises(UnsafeInput, match=r"tokenizer\.model is a link to a place outside"):
        find_documents(list_folder(tmp_path / "in"))


def test_folders_of_licences_are_named_and_stop_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(golden("llama-gqa").checkpoint, source)
    for name in ("LICENSES/MIT.txt", "docs/LICENSE-MODEL", "docs/usage.md", "license/terms.md"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("Terms.\n")
    opened = open_checkpoint(source)
    (told,) = [line for line in opened.warnings if "not carried over" in line]
    assert all(name in told for name in ("LICENSES/MIT.txt", "docs/LICENSE-MODEL", "license/terms.md"))
    assert "usage.md" not in told and not any("/" in name for name in opened.documents)


@pytest.mark.parametrize(
    "name",
    [
        "模型授權.pdf", "版权.txt", "著作権.txt", "使用规范.pdf", "ToS.md", "라이선스.txt", "Licença.txt", "Lizenz.txt",
        "Лицензия.txt",
    ],
)  # fmt: skip
def test_licences_are_known_in_the_languages_of_those_who_publish(name: str) -> None:
    assert is_legal(name) and is_document(name)


@pytest.mark.parametrize("name", ["tosca.txt", "protos.json", "photos.md", "tokenizer.json", "config.json", "atoms.txt"])
def test_words_that_only_look_like_it_are_none(name: str) -> None:
    assert not is_legal(name)
