"""What is done to a vocabulary: each way writes the folder that a user would get, and says what a text should be there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import convert
from convert.checkpoint import open_checkpoint
from convert.edits.tokens import read_addition
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import Revised, extend_vocab, plan_vocabulary
from convert.edits.vocabulary_size import trim_vocab
from convert.prepare import plan_conversion
from tests.goldens import golden
from tests.tokenizer_table.vocabularies import Vocabulary, trained
from tests.trained.checkpoints import widened
from tests.trained.kinds import chinese_pieces, kind

WORDS = ("灯塔看守", "海岸线", "lighthousekeeper", "перелётный")
ATOMS = ("<|begin_of_tool|>", "<|end_of_tool|>")
#: text for what is added, beside the vocabulary's own
ADDED_TEXTS = (
    *WORDS, f"5{WORDS[0]}\n{WORDS[1]}", f"a {WORDS[2]} b", "我们今天没有语言模型。\n", f"{ATOMS[0]}user\nHi{ATOMS[1]}\n",
    f"灯{ATOMS[1]}塔 x",
)  # fmt: skip


@dataclass(frozen=True)
class Output:
    """A written folder. A text whose ids reach ``first`` has new tokens; ``renumbered`` maps old ids to new ones."""

    folder: Path
    first: int | None = None
    renumbered: Mapping[int, int] | None = None
    corpus: frozenset[str] = frozenset()  # what a trimmed vocabulary promises to cut as before


def source(vocabulary: Vocabulary, folder: Path) -> Path:
    """A small checkpoint with this vocabulary, laid out as its family's are."""
    return widened(golden(vocabulary.layout).checkpoint, vocabulary.rows, vocabulary.files, folder)


def _converted(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    _written(plan_conversion(open_checkpoint(own), "llama"), out)
    return Output(out)


def _pieces(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    model = out.with_suffix(".model")
    model.write_bytes(kind("unigram").files["tokenizer.model"] if "chinese" in vocabulary.name else chinese_pieces())
    return _revised(extend_vocab(convert.open(own), read_addition(model), init="mean"), out)


def _words(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    listed = out.with_suffix(".txt")
    listed.write_text("\n".join(WORDS), encoding="utf-8")
    return _revised(extend_vocab(convert.open(own), read_addition(listed), init="mean"), out)


def _specials(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    return _revised(extend_vocab(convert.open(own), read_addition(None, atoms=ATOMS, special=True), init="mean"), out)


def _trimmed(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    corpus = vocabulary.texts[: len(vocabulary.texts) // 2]
    return _revised(trim_vocab(convert.open(own), corpus), out, frozenset(corpus))


def _transplanted(vocabulary: Vocabulary, own: Path, out: Path) -> Output:
    base = source(trained(kind("llama-other-size")), out.with_suffix(".base"))
    made = _revised(transplant_tokenizer(convert.open(base), convert.open(own), k=1), out)
    shutil.rmtree(base)
    return Output(made.folder)


#: how an output is made of a checkpoint, by the name of the column
WAYS: Final[Mapping[str, Callable[[Vocabulary, Path, Path], Output]]] = {
    "converted": _converted, "pieces": _pieces, "words": _words, "specials": _specials, "trimmed": _trimmed,
    "transplanted": _transplanted,
}  # fmt: skip


def _revised(revised: Revised, out: Path, corpus: frozenset[str] = frozenset()) -> Output:
    _written(plan_vocabulary(revised), out)
    old, new = revised.shared
    moved = dict(zip(old, new, strict=True)) if revised.said["edit"] == "trim-vocab" else None
    return Output(out, revised.said.get("first"), moved, corpus)


def _written(plan: Any, out: Path) -> None:
    """The output, without its weights: nobody who reads text needs them."""
    convert.write(plan, out, verify="off")
    for path in out.glob("*.safetensors"):
        path.unlink()
