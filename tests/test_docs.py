"""Every command that README.md and docs name runs as it is written there, on small stand-ins for what it names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from convert.cli.main import COMMANDS, cli
from convert.cli.running import run
from convert.cli.surgery import COMMANDS as EDITS
from convert.cli.surgery import cli as surgery
from tests.goldens import golden
from tests.trained.checkpoints import size_of, widened
from tests.trained.corpus import chinese
from tests.trained.kinds import kind
from tests.validate.repository import good
from tests.vocabulary.test_commands import TEMPLATE, with_template

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))
#: runs as one piece, in tests/edits/test_docs.py: each of its commands needs the one before
_STORY = re.compile(r"### A language for a tied model.*?(?=^## )", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"[a-z0-9_]+-to-[a-z0-9_]+")
#: inline code, and lines of blocks, with or without a prompt
_PROGRAM = "(?:weightsmith|convert|surgery)"
_CODE = re.compile(rf"`({_PROGRAM} [^`\n]+)`|^(?:    )?(?:\$ )?({_PROGRAM} .+)$", re.MULTILINE)


def _commands(text: str) -> Iterator[str]:
    """The commands of a page that say what they work on."""
    for found in _CODE.finditer(_STORY.sub("", text)):
        line = (found[1] or found[2]).partition("#")[0].replace("\\|", "|").strip()
        words = shlex.split(line)
        known = EDITS if words[0] == "surgery" else COMMANDS
        if len(words) > 2 and (words[1] in known or _PAIR.fullmatch(words[1])):
            yield line


NAMED = sorted({command for page in PAGES for command in _commands(page.read_text(encoding="utf-8"))})


def _written(command: str) -> list[str]:
    """The words to run: the first of alternatives, and what is in brackets, where a number of ours fits it."""
    whole = re.sub(r"\[([^]]*)\]", lambda found: "" if found[1].endswith(" X") else f" {found[1]} ", command.replace("...", ""))
    _, name, *_ = words = [word.partition("|")[0] for word in shlex.split(whole)]
    return [_VALUES.get(name, {}).get(word, word) for word in words]


_VALUES = {
    "repeat-kv": {"N": "6"}, "train-pieces": {"N": "400", "CORPUS": "corpus.txt"}, "merge-lora": {"W": "0.5"},
    "explain": {"FROM": "qwen", "TO": "llama"},
}  # fmt: skip


def _golden(name: str, *part: str) -> Callable[[Path], object]:
    return lambda at: shutil.copytree(golden(name).checkpoint.joinpath(*part), at)


def _with_pieces(at: Path) -> None:
    pieces = kind("llama-other-size")
    widened(golden("llama-gqa").checkpoint, size_of(pieces), pieces.files, at)


def _with_merges(at: Path) -> None:
    merges = kind("qwen2-json")
    rows = max(json.loads(merges.files["tokenizer.json"])["model"]["vocab"].values()) + 64
    widened(golden("llama-gqa").checkpoint, rows, merges.files, at)


def _untied(at: Path) -> None:
    """Two matrices that are the same."""
    assert run(surgery, "surgery", ["untie", str(golden("llama-tied").checkpoint), str(at)]) == 0


def _padded(at: Path) -> None:
    _with_pieces(at.with_name("unpadded"))
    words = ["pad-vocab", str(at.with_name("unpadded")), str(at), "--multiple-of", "512", "--verify", "off"]
    assert run(surgery, "surgery", words) == 0


def _with_buffers(at: Path) -> None:
    _with_pieces(at)
    file, config = at / "model.safetensors", json.loads((at / "config.json").read_text())
    width, base = config["hidden_size"] // config["num_attention_heads"], config["rope_theta"]
    buffer = 1 / base ** (torch.arange(0, width, 2).float() / width)
    save_file(load_file(file) | {"model.layers.0.self_attn.rotary_emb.inv_freq": buffer}, file, {"format": "pt"})


def _changed(at: Path) -> None:
    shutil.copytree(golden("llama-mha").checkpoint, at)
    for file in at.glob("*.safetensors"):
        save_file({name: tensor + 0.01 for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def _converted(source: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(at: Path) -> None:
        source(at.with_name("before"))
        words = ["run", str(at.with_name("before")), str(at), "--to", "llama", "--verify", "off"]
        assert run(cli, "weightsmith", words) == 0

    return make


def _repository(at: Path) -> None:
    good().write(at)


def _recipe(at: Path) -> None:
    _, text = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "surgery.md").read_text(encoding="utf-8"), re.DOTALL)
    at.write_text(text)
    _golden("lora-qv-only", "base")(at.with_name("base"))
    _golden("lora-qv-only", "adapter")(at.with_name("adapter"))


def _corpus(at: Path) -> None:
    at.write_text("\n".join(chinese(400)), encoding="utf-8")


def _file(name: str, of: str) -> Callable[[Path], object]:
    def make(at: Path) -> None:
        at.parent.mkdir(exist_ok=True)
        at.write_bytes(kind(of).files[name])

    return make


def _pieces(at: Path) -> None:
    """A small SentencePiece model."""
    _corpus(at.with_name("text.txt"))
    assert run(surgery, "surgery", ["train-pieces", str(at.with_name("text.txt")), str(at), "--size", "300"]) == 0


def _ranks(at: Path) -> None:
    """A tiktoken file: bytes, and what leads to a few Chinese words."""
    tokens = [bytes([byte]) for byte in range(256)]
    for word in ("灯笼", "鲸鱼"):
        whole = word.encode()
        tokens += dict.fromkeys([whole[:2], whole[:3], whole[3:5], whole[3:], whole])
    at.write_bytes(b"".join(b64encode(token) + b" %d\n" % rank for rank, token in enumerate(dict.fromkeys(tokens))))


def _at_ten_thousand(at: Path) -> None:
    """With the base of rope that Baichuan's code has."""
    shutil.copytree(golden("llama-gqa").checkpoint, at)
    config = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(json.dumps(config | {"rope_theta": 10000.0}))


def _chat(at: Path) -> None:
    with_template(at, TEMPLATE)


_BAICHUAN, _PIECES = _golden("baichuan2-7b"), _file("tokenizer.model", "llama")
#: subcommand -> the words that stand for files, each with what is put in its place
_STAND_INS: Mapping[str, Mapping[str, Callable[[Path], object]]] = {
    "tie": {"SRC": _untied},
    "untie": {"SRC": _golden("llama-tied")},
    "drop-buffers": {"SRC": _with_buffers},
    "merge-lora": {"BASE": _golden("lora-qv-only", "base"), "DIR": _golden("lora-qv-only", "adapter")},
    "apply-delta": {
        "BASE": _golden("delta-vicuna-pad-zero", "base"), "DIR": _golden("delta-vicuna-pad-zero", "delta"),
    },
    "make-delta": {"BASE": _golden("llama-mha"), "TARGET": _changed},
    "extend-vocab": {
        "BASE": _with_pieces, "FILE": _pieces, "chinese_sp.model": _pieces, "SmolLM2-135M-Instruct": _with_merges,
        "qwen.tiktoken": _ranks,
    },
    "trim-vocab": {"SRC": _with_pieces, "FILE": _corpus, "SmolLM2-135M-Instruct": _with_merges, "corpus.txt": _corpus},
    "transplant-tokenizer": {"SRC": _with_pieces, "MODEL": _with_merges},
    "merge-tokenizer": {
        "BASE.model": _PIECES, "llama/tokenizer.model": _PIECES, "FILE": _pieces, "chinese_sp.model": _pieces,
    },
    "train-pieces": {"corpus.txt": _corpus},
    "unpad-vocab": {"SRC": _padded},
    "run": {"recipe.toml": _recipe, "Yi-6B": _golden("yi-6b"), "SRC": _golden("llama-gqa")},
    "verify": {
        "OUT": _converted(_BAICHUAN), "SRC": _BAICHUAN, "Baichuan2-7B-Base": _BAICHUAN, "out": _converted(_BAICHUAN),
    },
    "card": {"SRC": _with_pieces, "OUT": _converted(_with_pieces)},
    "chat-check": {"SRC": _chat, "OUT": _chat},
    "llama-to-baichuan": {"SRC": _at_ten_thousand},
    "baichuan-to-llama": {"SRC": _BAICHUAN, "Baichuan2-7B-Base": _BAICHUAN},
    "validate": {"DIR": _repository},
    "plan": {"Qwen-7B": _golden("qwen-7b")},
    "diff": {"A": _golden("llama-gqa"), "B": _golden("llama-mha")},
}  # fmt: skip
_ELSE: Mapping[str, Callable[[Path], object]] = {"SRC": _golden("llama-gqa")}


@pytest.mark.parametrize("command", NAMED)
def test_a_command_runs_as_it_is_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = _written(command)
    monkeypatch.chdir(tmp_path)
    for word, make in _STAND_INS.get(words[0], _ELSE).items():
        if word in words and not Path(word).exists():
            make(tmp_path / word)
    status = run(surgery if program == "surgery" else cli, program, words)
    assert status == 0, capsys.readouterr().err


def test_the_pages_name_every_edit() -> None:
    assert {command.split()[1] for command in NAMED if command.startswith("surgery")} >= set(EDITS)
