"""A merge with published scores is the published script's, whatever kinds of pieces the added model has.

The script's way is written here again, with protobuf alone: walk the added model, take each piece that the base does not
spell, append it with score 0 and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import convert
from convert.edits.tokens import read_addition
from convert.edits.vocabulary import extend_vocab
from surgery.tokenizer.pieces import merge_sentencepiece
from tests.goldens import golden
from tests.shared import needs_shared
from tests.tokenizer.vendors import TOKENIZERS
from tests.trained.checkpoints import size_of, widened
from tests.trained.kinds import chinese_pieces, kind
from tests.trained.pieces import NORMAL, Spelled, form, model
from tests.vocabulary.test_extend import run

LLAMA = Spelled(runs=1)
UNUSED = 5  # ModelProto.SentencePiece.Type


def appended(base: bytes, addition: bytes) -> bytes:
    """What the script writes."""
    whole, other = form.ModelProto(), form.ModelProto()
    whole.ParseFromString(base)
    other.ParseFromString(addition)
    spelled = {piece.piece for piece in whole.pieces}
    for piece in other.pieces:
        if piece.piece not in spelled:
            new = form.ModelProto().SentencePiece()
            new.piece, new.score = piece.piece, 0
            whole.pieces.append(new)
    return bytes(whole.SerializeToString())


def every_kind() -> bytes:
    """Trained pieces with user-defined ones (also control characters), a control piece, unused ones, and other names for unk."""
    spelled = Spelled({"unk_piece": "[UNK]", "pad_id": 3, "pad_piece": "[PAD]"}, user=("\n", "\t", "灯塔站", "<one>", "<two>"),
                      controls=("<two>",), corpus="chinese", pieces=700)  # fmt: skip
    made = form.ModelProto.FromString(model(spelled))
    normal = [piece for piece in made.pieces if piece.type == NORMAL]
    for piece in normal[-3:]:
        piece.type = UNUSED
    made.pieces.add(piece="a\ufffdb", score=-3.0)
    made.pieces.add(piece="two words", score=-4.0)  # with a space of its own, which the trainer writes as ▁
    return bytes(made.SerializeToString())


def without_bytes() -> bytes:
    """A base with no byte pieces, so that an addition's are new to it."""
    return model(Spelled({"byte_fallback": False}, corpus="english", pieces=500))


PAIRS = {
    "every kind into Llama's": (lambda: model(LLAMA), every_kind),
    "every kind and bytes into one without": (without_bytes, every_kind),
    "Baichuan 1 into Llama": (lambda: model(LLAMA), lambda: kind("baichuan1").files["tokenizer.model"]),
    "Yi into Mistral": (lambda: kind("mistral").files["tokenizer.model"], lambda: kind("yi").files["tokenizer.model"]),
    "Unigram into BPE": (lambda: model(LLAMA), chinese_pieces),
    "a model into itself": (lambda: model(LLAMA), lambda: model(LLAMA)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_published_scores_give_the_scripts_bytes_for_any_pair(pair: str, tmp_path: Path) -> None:
    base, addition = (make() for make in PAIRS[pair])
    (tmp_path / "base.model").write_bytes(base)
    (tmp_path / "more.model").write_bytes(addition)
    words = ("merge-tokenizer", tmp_path / "base.model", tmp_path / "out.model", "--add", tmp_path / "more.model")
    done = run(*words, "--scores", "published", "--json")
    assert done.exit_code == 0, done.output
    wanted = appended(base, addition)
    assert (tmp_path / "out.model").read_bytes() == wanted
    assert merge_sentencepiece(base, addition, "published").model == wanted
    sizes = [len(form.ModelProto.FromString(data).pieces) for data in (base, wanted)]
    told = json.loads(done.stdout)
    assert (told["added"], told["pieces"], told["skipped"]) == (sizes[1] - sizes[0], sizes[1], 0)


def test_an_extension_with_published_scores_writes_the_scripts_model_too(tmp_path: Path) -> None:
    own = kind("llama")
    source = widened(golden("llama-mha").checkpoint, size_of(own), own.files, tmp_path / "base")
    (tmp_path / "more.model").write_bytes(every_kind())
    revised = extend_vocab(convert.open(source), read_addition(tmp_path / "more.model"), scores="published")
    assert revised.files is not None
    assert revised.files["tokenizer.model"] == appended(own.files["tokenizer.model"], every_kind())


@pytest.mark.parametrize("command", ["merge", "extend"])
def test_what_the_default_leaves_out_is_listed_with_its_reason_in_the_users_script(command: str, tmp_path: Path) -> None:
    (tmp_path / "base.model").write_bytes(model(LLAMA))
    (tmp_path / "more.model").write_bytes(every_kind())
    more = ("--add", tmp_path / "more.model")
    if command == "merge":
        done = run("merge-tokenizer", tmp_path / "base.model", tmp_path / "out.model", *more)
    else:
        own = kind("llama-other-size")
        source = widened(golden("llama-mha").checkpoint, size_of(own), own.files, tmp_path / "base")
        done = run("extend-vocab", source, tmp_path / "out", *more, "--no-effect", "--verify", "off")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    for piece, reason in {
        "'灯塔站'": "user-defined", "'<one>'": "user-defined", "'\\n'": "user-defined", "'<two>'": "control",
        "'[PAD]'": "control", "'[UNK]'": "unknown", "'a\ufffdb'": "replacement character",
    }.items():  # fmt: skip
        assert any(piece in line and reason in line for line in lines), (piece, done.output)
    if command == "merge":
        merged = {piece.piece for piece in form.ModelProto.FromString((tmp_path / "out.model").read_bytes()).pieces}
        assert not merged & {"灯塔站", "<one>", "<two>", "[UNK]", "[PAD]"}
        assert not any("<s>" in line for line in lines), "both have it: it is not left out"


@needs_shared
@pytest.mark.parametrize(
    ("base", "addition", "pieces"),
    [("mistral", "baichuan1", 75456), ("llama2", "internlm2", None), ("yi", "baichuan2", None)],
)
def test_vendors_models_merge_as_the_script_merges_them(base: str, addition: str, pieces: int | None, tmp_path: Path) -> None:
    paths = [TOKENIZERS / name / "vendor" / "tokenizer.model" for name in (base, addition)]
    done = run("merge-tokenizer", paths[0], tmp_path / "out.model", "--add", paths[1], "--scores", "published", "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.model").read_bytes() == appended(*(path.read_bytes() for path in paths))
    assert pieces is None or json.loads(done.stdout)["pieces"] == pieces
