"""Give a model words of another language: train pieces on your text, add them, write the model, measure what changed.

    python examples/extend_vocabulary.py BASE CORPUS OUT --size 4000

BASE is a checkpoint with its tokenizer, CORPUS a UTF-8 text file, OUT the directory to write. This is what Chinese-LLaMA
did (then it trained on; the new rows begin as the mean of what their words were cut into, which is a beginning, no more).
The commands `surgery train-pieces` and `surgery extend-vocab` do the same; a script can put its own steps in between.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import convert
from convert.edits.effect import effect
from convert.edits.pieces import train
from convert.edits.tokens import read_addition, read_lines
from convert.edits.vocabulary import extend_vocab, plan_vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=4000, help="pieces to train")
    parser.add_argument("--filter", default="cjk", help="of those, only: cjk, regex:PATTERN or file:WORDS")
    asked = parser.parse_args()

    pieces = asked.out.with_name(f"{asked.out.name}-pieces.model")
    count = train([asked.corpus], pieces, asked.size)
    print(f"{count} pieces trained, in {pieces}")

    addition = read_addition(pieces, condition=asked.filter)
    sample = "\n".join(line for line, _ in zip(read_lines([asked.corpus]), range(50), strict=False))
    revised = extend_vocab(convert.open(asked.base), addition, measure={"your text": sample})
    print("\n".join(revised.lines))  # nothing is written yet

    done = convert.write(plan_vocabulary(revised), asked.out)  # proves first that old tokens keep their logits
    assert done.verdict is not None
    print(f"verified: {done.verdict.passed}; written: {done.out}")

    assert revised.fresh is not None
    print("\n".join(effect(asked.base, asked.out, revised.fresh, revised.texts).lines))


if __name__ == "__main__":
    main()
