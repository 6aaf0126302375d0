"""Every count that a document states, made absurd, put to what reads it: in one process whose memory is bounded.

    python -m tests.sizes.sweep tests/golden/llama-gqa/checkpoint plan,validate config.json

prints one JSON line for each place that ended in anything but a result or a refusal, or took longer than it may.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from surgery.apart.confined import limit_memory
from surgery.errors import ConversionError

SIZES = (10**9, 10**18, -1)
MEMORY = 1_500_000_000  # bytes beyond what the libraries map
SECONDS = 20  # a busy machine needs some; what is made of a billion takes minutes

Place = tuple[Any, ...]


def counts(value: Any, path: Place = ()) -> Iterator[Place]:
    """Where a table holds whole numbers; of lists, the first two items."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, one in list(inner)[:60]:
        yield from counts(one, (*path, key))


def put(value: Any, place: Place, size: int) -> Any:
    """The value with a size at a place."""
    if not place:
        return size
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = put(value[place[0]], place[1:], size)
    return changed


def planned(folder: Path) -> None:
    from convert.checkpoint import open_checkpoint
    from convert.prepare import plan_conversion

    plan_conversion(open_checkpoint(folder), "llama", tokenizer="carry").summary()


def inspected(folder: Path) -> None:
    from convert.checkpoint import open_checkpoint
    from convert.inspection import inspect, inspection_text

    inspection_text(inspect(open_checkpoint(folder), None))


def validated(folder: Path) -> None:
    from convert.validate.check import validate

    validate(folder)


def differing(folder: Path) -> None:
    from convert.checkpoint import open_checkpoint
    from convert.diff import diff, diff_text

    one = open_checkpoint(folder)
    diff_text(diff(one, one, values=False))


def verified(folder: Path) -> None:
    from convert.checkpoint import open_checkpoint
    from convert.verification.run import verify

    one = open_checkpoint(folder)
    verify(one, one, exactness="byte", mode="quick", prompts=[[1, 2, 3]])


def revised(folder: Path) -> None:
    """What the commands on vocabularies do before anything is written; the folder is also the other model."""
    from convert.checkpoint import open_checkpoint
    from convert.edits.tokens import read_addition
    from convert.edits.transplant import transplant_tokenizer
    from convert.edits.vocabulary import extend_vocab
    from convert.edits.vocabulary_size import pad_vocab, trim_vocab, unpad_vocab
    from convert.prepare import open_artefact

    artefact = open_artefact(open_checkpoint(folder))
    for edit in (
        lambda: extend_vocab(artefact, read_addition(None, atoms=("<|new|>",))),
        lambda: trim_vocab(artefact, ["the lighthouse"]),
        lambda: pad_vocab(artefact, multiple=64),
        lambda: unpad_vocab(artefact),
        lambda: transplant_tokenizer(artefact, artefact),
    ):
        with suppress(ConversionError):
            edit()


def claimed(folder: Path) -> None:
    """What verify asks manifest and tokenizers."""
    from convert.checkpoint import open_checkpoint
    from convert.claims import compared_tokens, remade_plan

    one = open_checkpoint(folder)
    compared_tokens(one, one)
    remade_plan(one, one)


def adapted(folder: Path) -> None:
    """An adapter beside its base."""
    from convert.checkpoint import open_checkpoint
    from convert.edits.lora import merge_lora
    from convert.prepare import open_artefact, plan_artefact

    plan_artefact(merge_lora(open_artefact(open_checkpoint(folder / "base")), folder / "adapter"), tokenizer="carry").summary()


READERS: dict[str, Callable[[Path], None]] = {
    "plan": planned, "inspect": inspected, "validate": validated, "diff": differing, "verify": verified,
    "vocabulary": revised, "claims": claimed, "adapter": adapted,
}  # fmt: skip


class Late(BaseException):
    """A reader took longer than it may."""


def late(number: int, frame: FrameType | None) -> None:
    raise Late


def sweep(folder: Path, documents: tuple[str, ...], readers: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """What went wrong, for every count of every document."""
    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy"
        shutil.copytree(folder, copy)
        for name in documents:
            if not (copy / name).is_file():
                continue
            original = (copy / name).read_text()
            value = json.loads(original)
            for place in counts(value):
                for size in SIZES:
                    (copy / name).write_text(json.dumps(put(value, place, size)))
                    for reader in readers:
                        said = looked(READERS[reader], copy)
                        if said:
                            yield {"document": name, "place": list(place), "size": size, "reader": reader, "said": said}
            (copy / name).write_text(original)


def looked(reader: Callable[[Path], None], folder: Path) -> str:
    """What was wrong with how a reader ended; nothing where it gave a result or refused."""
    begun = time.monotonic()
    signal.alarm(SECONDS)
    try:
        reader(folder)
    except ConversionError:
        pass
    except Late:
        return "too long: " + traceback.format_exc(limit=-2).replace("\n", " | ")[:600]
    except BaseException as error:
        return f"{type(error).__name__}: {error} | " + traceback.format_exc(limit=-3).replace("\n", " | ")[:900]
    finally:
        signal.alarm(0)
    took = time.monotonic() - begun
    return f"took {took:.0f} seconds" if took > SECONDS else ""


def main() -> None:
    """Sweep a folder: its path, the readers and the documents, each between commas."""
    folder, readers, documents = Path(sys.argv[1]), *(tuple(words.split(",")) for words in sys.argv[2:4])
    for reader in readers:  # what they import, and make once, is nobody's size
        said = looked(READERS[reader], folder)
        if said:
            print(json.dumps({"document": "as it is", "reader": reader, "said": said}))
    limit_memory(MEMORY)
    for found in sweep(folder, documents, readers):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
