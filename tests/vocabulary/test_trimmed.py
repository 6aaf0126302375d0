"""trim-vocab keeps its promise on every kind of vocabulary: whole documents, framing, decoded text and prompts are as before.

The ids are those of the vocabularies' own engines; text back and prompts are those of AutoTokenizer on the files before.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as form

import convert
from convert.edits.corpus import Corpus
from convert.edits.vocabulary import Revised, plan_vocabulary
from convert.edits.vocabulary_size import trim_vocab
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.export import TokenizerFiles, export
from tests.goldens import golden
from tests.tokenizer.small import byte_level, sentencepiece_model
from tests.tokenizer.vendors import auto_tokenizer
from tests.trained.checkpoints import widened
from tests.trained.corpus import ASKED, lines
from tests.trained.kinds import KINDS, Kind, kind
from tests.trained.prompts import WITHOUT
from tests.trained.truth import ids
from tests.vocabulary.models import llama
from tests.vocabulary.test_extend import run
from tests.vocabulary.test_kinds import SMALL, auto_tokenizer_of, model_of, rows_of

#: but those that only sentencepiece runs, which are refused, and OpenAI's own two files, which lie beside no checkpoint
TRIMMED = KINDS
CODE = "def f(x):\n    if x:\n\n        return [\r\n\t\t1,\r\n\t]\r\n\r\n\r\n# end  \n"
LINES = [line for line in lines(40) if line.isascii()]
#: line ends of both kinds, runs of them, tabs and indentation: what reading by lines would lose
DOCUMENTS = ("\n".join(LINES), "\r\n".join(LINES[:9]) + "\r\n", "\n\n    ".join(LINES[9:15]), CODE, CODE * 3)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def written(own: Kind) -> TokenizerFiles:
    recipe = recipe_for(own.family, own.files)
    return export(recipe, own.files, chat_template=template_for(recipe, own.files))


def trimmed(base: Path, out: Path, corpus: Any) -> Revised:
    revised = trim_vocab(convert.open(base), corpus)
    convert.write(plan_vocabulary(revised), out, verify="off")
    return revised


def said_by(own: Kind) -> list[dict[str, str]]:
    """A conversation in the corpus' first words, with a system turn where the format has one."""
    one, two, three = (line.strip() for line in LINES[:3])
    turns = [{"role": role, "content": text} for role, text in (("user", one), ("assistant", two), ("user", three))]
    return turns if own.chat in WITHOUT else [{"role": "system", "content": three}, *turns]


@pytest.mark.parametrize("own", [pytest.param(one, marks=() if one in SMALL else pytest.mark.slow) for one in TRIMMED], ids=str)
def test_documents_framing_decoding_and_prompts_are_as_before_under_new_ids(own: Kind, tmp_path: Path) -> None:
    made = written(own)
    before = auto_tokenizer(made, tmp_path / "before")
    llama(tmp_path / "base", rows=made.facts.max_id + 1, tied=False, files=own.files)
    kept = list(trimmed(tmp_path / "base", tmp_path / "out", DOCUMENTS).shared[0])
    after = auto_tokenizer_of(tmp_path / "out")
    for text in DOCUMENTS:
        new = after(text, add_special_tokens=False)["input_ids"]
        assert [kept[token] for token in new] == ids(own, text), text
        framed = after(text)["input_ids"]
        assert [kept[token] for token in framed] == before(text)["input_ids"]
        for skipped in (True, False):
            assert after.decode(framed, skip_special_tokens=skipped) == before.decode(
                before(text)["input_ids"], skip_special_tokens=skipped
            )
        cut = [one([text, LINES[0]], truncation=True, max_length=7)["input_ids"] for one in (before, after)]
        assert [[kept[token] for token in row] for row in cut[1]] == cut[0]
    assert sorted(after.get_vocab().values()) == list(range(len(kept)))
    assert {name: kept[place] for name, place in after.get_added_vocab().items()} == before.get_added_vocab()
    assert after.special_tokens_map == before.special_tokens_map
    if before.chat_template is not None:
        for asked in (True, False):
            prompts = [
                one.apply_chat_template(said_by(own), add_generation_prompt=asked, return_dict=False) for one in (before, after)
            ]
            assert [kept[token] for token in prompts[1]] == prompts[0]


@pytest.mark.parametrize("own", SMALL, ids=str)
def test_text_that_the_corpus_lacks_comes_back_as_it_did(own: Kind, tmp_path: Path) -> None:
    """Bytes where there are bytes, else characters: what was not unknown is not unknown now."""
    before = auto_tokenizer(written(own), tmp_path / "before")
    model_of(own, tmp_path / "base")
    trimmed(tmp_path / "base", tmp_path / "out", DOCUMENTS)
    after = auto_tokenizer_of(tmp_path / "out")
    for text in ASKED:
        want, got = (one.decode(one(text, add_special_tokens=False)["input_ids"]) for one in (before, after))
        assert got == want, text


@pytest.mark.parametrize("vocabulary", ["qwen2-json", "gpt2-json"])
@pytest.mark.parametrize("name", ["qwen2", "mistral", "phi3", "gemma1-2b"])
def test_a_model_of_any_type_is_loaded_with_the_tokens_that_it_was_loaded_with(
    name: str, vocabulary: str, tmp_path: Path
) -> None:
    own = kind(vocabulary)
    widened(golden(name).checkpoint, rows_of(own), own.files, tmp_path / "base")
    kept = trimmed(tmp_path / "base", tmp_path / "out", DOCUMENTS).shared[0]
    before, after = (auto_tokenizer_of(tmp_path / folder) for folder in ("base", "out"))
    for text in DOCUMENTS:
        assert [kept[token] for token in after(text)["input_ids"]] == before(text)["input_ids"]


def test_a_vocabulary_that_the_class_of_the_models_type_cuts_otherwise_is_refused(tmp_path: Path) -> None:
    own = kind("gemma")
    widened(golden("qwen2").checkpoint, rows_of(own), own.files, tmp_path / "base")
    with pytest.raises(ConversionError, match=r"takes Qwen2Tokenizer for a model of this type.*Nothing was written"):
        trim_vocab(convert.open(tmp_path / "base"), DOCUMENTS)


def test_a_tokenizer_that_a_class_reads_otherwise_is_trimmed_as_its_users_have_it(tmp_path: Path) -> None:
    """LlamaTokenizer lays a normaliser of its own over this vendor's tokenizer.json."""
    own, texts = kind("minicpm3-json"), ["        count += line[buffer]", " a\n b"]
    model_of(own, tmp_path / "base")
    revised = trimmed(tmp_path / "base", tmp_path / "out", texts)
    before, after = (auto_tokenizer_of(tmp_path / folder) for folder in ("base", "out"))
    assert [before(text, add_special_tokens=False)["input_ids"] for text in texts] != [ids(own, text) for text in texts]
    for text in texts:
        assert [revised.shared[0][token] for token in after(text)["input_ids"]] == before(text)["input_ids"]
    assert any("otherwise than the source's files say (LlamaTokenizer)" in line for line in revised.lines)


def test_a_unigram_vocabulary_without_bytes_keeps_its_characters(tmp_path: Path) -> None:
    files = {"tokenizer.model": sentencepiece_model(model_type="unigram", byte_fallback=False, character_coverage=1.0)}
    tokenizer_json = dict(export(recipe_for("llama", files), files))["tokenizer.json"]
    count = len(json.loads(tokenizer_json)["model"]["vocab"])
    llama(tmp_path / "base", rows=count, files={"tokenizer.json": tokenizer_json, "tokenizer_config.json": b"{}"})
    trimmed(tmp_path / "base", tmp_path / "out", ["The old lighthouse"])
    after = auto_tokenizer_of(tmp_path / "out")
    assert len(after.get_vocab()) < count
    for text in ("中文的一", "Привет"):
        found = after.convert_ids_to_tokens(after(text, add_special_tokens=False)["input_ids"])
        assert "".join(found).replace("▁", "") == text


def test_a_chat_template_of_ones_own_keeps_its_words(tmp_path: Path) -> None:
    value = byte_level()
    rows = 701 + 2
    marks = ("<|im_start|>", "<|im_end|>")
    value["added_tokens"] += [{**value["added_tokens"][0], "content": text, "id": 701 + at} for at, text in enumerate(marks)]
    # words that no corpus here has, in the template and in a branch that no conversation takes
    template = CHATML.replace("assistant\\n", "system\\nprint(total)\\n") + "{% if never %}enumerate(values){% endif %}"
    files = {"tokenizer.json": json.dumps(value).encode(), "chat_template.jinja": template.encode()}
    files["tokenizer_config.json"] = json.dumps({"eos_token": "<|im_end|>"}).encode()
    llama(tmp_path / "base", rows=rows, files=files)
    before = auto_tokenizer_of(tmp_path / "base")
    revised = trimmed(tmp_path / "base", tmp_path / "out", ["xyz"])
    after, kept = auto_tokenizer_of(tmp_path / "out"), revised.shared[0]
    turns = [{"role": "system", "content": "xyz"}, {"role": "user", "content": "xyz"}]
    prompts = [one.apply_chat_template(turns, add_generation_prompt=True, return_dict=False) for one in (before, after)]
    assert [kept[token] for token in prompts[1]] == prompts[0]
    branch = [one("enumerate(values)")["input_ids"] for one in (before, after)]
    assert [kept[token] for token in branch[1]] == branch[0]
    told = next(line for line in revised.lines if "chat template" in line)
    numbers = told.rpartition(": ")[2].split(" -> ")
    assert numbers[0] == numbers[1] and int(numbers[0]) > 100


def test_padding_and_truncation_keep_their_token_and_cut_no_corpus(tmp_path: Path) -> None:
    value = byte_level()
    value["padding"] = {
        "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 400, "pad_type_id": 0,
        "pad_token": next(token for token, place in value["model"]["vocab"].items() if place == 400),
    }  # fmt: skip
    value["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    llama(tmp_path / "base", rows=701, files={"tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": b"{}"})
    text = "print(total / len(values))"
    revised = trimmed(tmp_path / "base", tmp_path / "out", [text])
    kept = revised.shared[0]
    before, after = (auto_tokenizer_of(tmp_path / name) for name in ("base", "out"))
    assert [kept[token] for token in after(text)["input_ids"]] == before(text)["input_ids"]
    assert kept[after.pad_token_id] == 400 == before.pad_token_id and len(after) == len(kept)
    from tokenizers import Tokenizer

    one, other = (Tokenizer.from_file(str(tmp_path / name / "tokenizer.json")) for name in ("base", "out"))
    batch = [[each.ids for each in side.encode_batch(["print", text])] for side in (one, other)]
    assert [[kept[token] for token in row] for row in batch[1]] == batch[0] and batch[0][0][0] == 400


def test_a_pad_token_that_the_vocabulary_lacks_is_left_out_and_said(tmp_path: Path) -> None:
    """A library that loads the file would give it an id behind the last row."""
    value = byte_level()
    value["padding"] = {
        "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    llama(tmp_path / "base", rows=701, files={"tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": b"{}"})
    revised = trimmed(tmp_path / "base", tmp_path / "out", ["a"])
    assert len(auto_tokenizer_of(tmp_path / "out")) == len(revised.shared[0])
    assert any("padding with '[PAD]' is left out" in line for line in revised.lines)


def test_tokens_that_tokenizer_config_names_keep_their_ids(tmp_path: Path) -> None:
    value = byte_level()
    names = {place: token for token, place in value["model"]["vocab"].items()}
    config = {
        "pad_token": names[500], "additional_special_tokens": [names[501]], "eos_token": "<|end|>",
        "added_tokens_decoder": {"700": {"content": "<|end|>", "special": True}, "500": {"content": names[500], "special": True}},
    }  # fmt: skip
    files = {"tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": json.dumps(config).encode()}
    llama(tmp_path / "base", rows=701, files={**files, "added_tokens.json": b'{"<|end|>": 700}'})
    kept = trimmed(tmp_path / "base", tmp_path / "out", ["a"]).shared[0]
    after = auto_tokenizer_of(tmp_path / "out")
    assert {500, 501, 700} <= set(kept) and kept[after.pad_token_id] == 500 and len(after) == len(kept)
    assert not (tmp_path / "out/added_tokens.json").exists()


@pytest.mark.parametrize("sizes", [(1 << 20, 1 << 12), (300, 60), (61, 60)])
def test_a_corpus_is_read_whole_or_in_blocks_that_overlap(tmp_path: Path, sizes: tuple[int, int]) -> None:
    text = "\r\n".join(lines(60)) + "\n\n\n x"
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode())
    blocks = list(Corpus((path, path), *sizes))
    assert blocks[: len(blocks) // 2] == blocks[len(blocks) // 2 :]
    half = blocks[: len(blocks) // 2]
    assert max(map(len, half)) <= sum(sizes)
    if len(text) <= sizes[0]:
        assert half == [text]
    joined, end = half[0], 0
    for block in half[1:]:
        size = next(size for size in range(min(len(block), sizes[1]), 0, -1) if joined.endswith(block[:size]))
        joined, end = joined + block[size:], min(end, size)
    assert joined == text


def test_a_corpus_in_blocks_keeps_the_tokens_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes("\n\n".join(line for line in lines(400) if line.isascii()).encode())
    own = kind("llama-other-size")
    model_of(own, tmp_path / "base")
    kept = set(trim_vocab(convert.open(tmp_path / "base"), Corpus((path,), 2000, 200)).shared[0])
    assert set(ids(own, path.read_bytes().decode())) <= kept


def test_a_corpus_that_is_read_once_is_kept(tmp_path: Path) -> None:
    own = kind("qwen2-json")
    model_of(own, tmp_path / "base")
    one, other = (trim_vocab(convert.open(tmp_path / "base"), texts) for texts in (DOCUMENTS, iter(DOCUMENTS)))
    assert one.shared[0] == other.shared[0] and one.lines == other.lines


def test_the_command_reads_line_ends_and_says_what_it_compared(tmp_path: Path) -> None:
    own = kind("qwen2-json")
    model_of(own, tmp_path / "base")
    (tmp_path / "base/generation_config.json").write_text(json.dumps(
        {"max_new_tokens": 450, "bad_words_ids": [[400, 401], [3]], "eos_token_id": [402], "house_ids": [4]}
    ))  # fmt: skip
    (tmp_path / "corpus.txt").write_bytes(CODE.encode())
    done = run("trim-vocab", tmp_path / "base", tmp_path / "out", "--corpus", tmp_path / "corpus.txt", "--verify", "off")
    assert done.exit_code == 0, (done.output, done.exception)
    before = auto_tokenizer(written(own), tmp_path / "before")
    after = auto_tokenizer_of(tmp_path / "out")
    assert after.convert_ids_to_tokens(after(CODE)["input_ids"]) == before.convert_ids_to_tokens(before(CODE)["input_ids"])
    settings = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert settings["max_new_tokens"] == 450 and len(settings["bad_words_ids"]) == 1 and settings["house_ids"] == [4]
    assert after.convert_ids_to_tokens(settings["eos_token_id"]) == before.convert_ids_to_tokens([402])
    assert "of bad_words_ids, [400, 401] is left out" in done.output and "house_ids = [4] stays as it is" in done.output
    assert "compared: 1 texts of the corpus" in done.output


def test_a_corpus_without_text_is_refused(tmp_path: Path) -> None:
    model_of(kind("llama-other-size"), tmp_path / "base")
    with pytest.raises(ConversionError, match="has no text"):
        trim_vocab(convert.open(tmp_path / "base"), ["", ""])


def test_a_tokenizer_that_came_out_otherwise_would_be_found() -> None:
    from surgery.tokenizer.kept import same, whole
    from surgery.tokenizer.trim import kept_ids, trim

    value = byte_level()
    before = whole(value)
    made = trim(value, kept_ids(value, before.encode("print(total)").ids))
    lame = {**made.tokenizer_json, "model": {**made.tokenizer_json["model"], "merges": []}}
    with pytest.raises(ConversionError, match="cuts text 1 of the corpus otherwise, from token 0 on"):
        same(before, whole(lame), made.kept, ["print(total)"])
    mute = {**made.tokenizer_json, "decoder": None}
    with pytest.raises(ConversionError, match="decodes text 1 of the corpus"):
        same(before, whole(mute), made.kept, ["print(total)"])


def test_tied_pieces_are_cut_out_as_sentencepiece_joins_the_fewer_ones(tmp_path: Path) -> None:
    """Text that the corpus does not have comes apart into no more tokens than the pieces that stayed allow."""
    own = kind("chinese-llama")
    signs = [chr(0x2F00 + place) for place in range(64)]
    pairs = [one + other for one, other in pairwise(signs)]  # each begins with what the one before ends with
    chained = form.ModelProto.FromString(own.files["tokenizer.model"])
    for piece, text in zip(chained.pieces[-len(signs + pairs) :], signs + pairs, strict=True):  # the last stand for no text
        piece.piece, piece.score = text, -9e4 if text in signs else 0.0
    files = {**own.files, "tokenizer.model": chained.SerializeToString()}
    base = widened(golden("llama-mha").checkpoint, rows_of(own), files, tmp_path / "base")
    trimmed(base, tmp_path / "out", [f"{pair} a" for pair in pairs[::2]])
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "out/tokenizer.model"))
    tokenizer = auto_tokenizer_of(tmp_path / "out")
    for gone, stays in zip(pairs[1::2], pairs[2::2], strict=True):
        text = f"a{gone}{stays[1:]}"
        assert pieces.id_to_piece(tokenizer(text, add_special_tokens=False)["input_ids"])[-1] == stays
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == pieces.encode(text)
