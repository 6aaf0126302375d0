"""Good checkpoints as few programs write them: taken, with every weight."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tests.corpus.case import Change, taken, warned
from tests.corpus.files import Tensors, laid_out
from tests.corpus.good import EMBEDDING, HEAD, NORM, Good
from tests.corpus.pickles import archive, called, only, text, whole


def _laid(**layout: Callable[[Good], Any]) -> Change:
    return lambda good: good.write(**{name: made(good) for name, made in layout.items()})


def _shuffled(good: Good) -> None:
    tensors = good.made()
    names = list(tensors)
    good.chance.shuffle(names)
    good.write({name: tensors[name] for name in names}, shards=good.one_of(4, 5))


def _with_buffers(shape: Callable[[Good], tuple[int, ...]], every: bool) -> Change:
    """The buffers of old versions of transformers, which no output needs."""

    def change(good: Good) -> None:
        tensors = good.made()
        layers = range(good.layers if every else 1)
        names = [f"model.layers.{at}.self_attn.rotary_emb.inv_freq" for at in layers]
        good.write(tensors | {name: good.stored("F32", shape(good)) for name in names})
        good.kept = tensors

    return change


def _mixed(good: Good) -> None:
    good.write({name: good.stored(good.chance.choice(("F16", "BF16", "F32")), shape) for name, shape in good.shapes().items()})


def _tied(stored: bool) -> Change:
    def change(good: Good) -> None:
        tensors = good.made()
        head = {HEAD: tensors[EMBEDDING]}
        good.write({**tensors, **head} if stored else {name: each for name, each in tensors.items() if name != HEAD},
                   config=good.config(tie_word_embeddings=True))  # fmt: skip
        good.kept |= head

    return change


def _hub(good: Good) -> None:
    """As a cache of the Hub: links to contents that are named by their sums."""
    place = good.root / "hub" / good.one_of("models--acme--tiny", "models--b--t7")
    commit = hashlib.sha1(good.name.encode()).hexdigest()
    snapshot = place / "snapshots" / commit
    for folder in (snapshot, place / "blobs", place / "refs"):
        folder.mkdir(parents=True)
    (place / "refs/main").write_text(commit)
    for path in sorted(good.folder.iterdir()):
        data = path.read_bytes()
        kind = hashlib.sha256 if path.suffix in (".safetensors", ".model") else hashlib.sha1
        (place / "blobs" / kind(data).hexdigest()).write_bytes(data)
        (snapshot / path.name).symlink_to(f"../../blobs/{kind(data).hexdigest()}")
    shutil.rmtree(good.folder)
    good.input = snapshot


def _by_a_link(good: Good) -> None:
    real = good.root / good.one_of("real dir é", "模型 v1")
    good.folder.rename(real)
    good.folder.symlink_to(real.name)


def _linked(good: Good) -> None:
    (good.root / "pool").mkdir()
    for name in good.shards:
        os.link(good.folder / name, good.root / "pool" / name)


def _read_only(good: Good) -> None:
    for path in good.folder.iterdir():
        path.chmod(0o444)
    good.folder.chmod(0o555)


def _both(good: Good) -> None:
    good.put("pytorch_model.bin", only(whole(called("os", "system", text(good.shell())))))


def _escaped(good: Good) -> Callable[[Any], str]:
    end = good.one_of("weigh\\u0074", "\\u0077eight")
    return lambda said: json.dumps(said).replace("model.", "\\u006dodel.").replace("weight", end)


def _saved(of: Callable[[Good, dict[str, torch.Tensor]], Any] = lambda good, state: state, *, dtype: str | None = None,
           shards: tuple[int, int] = (1, 1), **options: Any) -> Change:  # fmt: skip
    """By torch itself."""

    def change(good: Good) -> None:
        def written(tensors: Tensors) -> bytes:
            file = io.BytesIO()
            torch.save(of(good, {name: stored.tensor() for name, stored in tensors.items()}), file, **options)
            return file.getvalue()

        good.torch(written, shards=good.one_of(*shards), tensors=good.made(dtype) if dtype else None)

    return change


def _views(good: Good, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All of them in one storage, and one whose columns lie together."""
    flat = torch.cat([tensor.reshape(-1) for tensor in state.values()])
    parts = torch.split(flat, [tensor.numel() for tensor in state.values()])
    seen = {name: part.view(state[name].shape) for name, part in zip(state, parts, strict=True)}
    up = "model.layers.0.mlp.up_proj.weight"
    return seen | {up: seen[up].t().contiguous().t()}


def _empty_shard(good: Good) -> None:
    good.put(good.one_of("model-00003-of-00003.safetensors", "model-empty.safetensors"), laid_out({}))


def _by_hand(good: Good) -> None:
    root = good.one_of("archive", "pytorch_model")
    good.torch(lambda tensors: replace(archive(tensors), byteorder=None, root=root).zipped())


def _wide_norm(good: Good) -> None:
    good.write(good.made() | {NORM: good.stored("F64", (good.hidden,))})


def _more_in_the_index(good: Good) -> None:
    backwards = dict(sorted(good.lies.items(), reverse=True))
    told = {"total_size": good.total, "total_parameters": 7, "mergekit_version": "0.1"}
    good.index({"weight_map": backwards, "metadata": told})


_NOTE = {"format": "pt", "note": "x" * 20_000}

CASES = (
    taken("ok_plain", "nothing"),
    taken("ok_plain_other_family", "nothing, in the other family", family="llama"),
    taken("ok_hf_cache_layout", "the layout of a cache of the Hub", _hub),
    taken("ok_input_dir_is_symlink", "a path that is a link, to a name with spaces and letters of other scripts", _by_a_link),
    taken("ok_hardlinks", "shards that have two names", _linked),
    taken("ok_readonly_input", "a folder that cannot be written to", _read_only),
    taken("ok_header_trailing_pad", "a header with many spaces behind it", _laid(align=lambda good: good.one_of(4096, 65536))),
    taken("ok_header_leading_pad", "a header with spaces before it", _laid(before=lambda good: good.one_of("    ", "\n\t  "))),
    taken("ok_header_unaligned", "a header of any length",
          _laid(align=lambda good: 1, metadata=lambda good: {"format": "p" * good.one_of(3, 6)})),
    taken("ok_header_pretty", "a header with line ends",
          _laid(spelled=lambda good: lambda said: json.dumps(said, indent=good.one_of(2, 1)))),
    taken("ok_header_escaped_names", "names with escapes", _laid(spelled=_escaped)),
    taken("ok_header_order", "a header in another order than its tensors",
          lambda good: good.single(good.one_of(sorted(good.shapes()), list(good.shapes())[::-1]))),
    taken("ok_no_metadata", "no metadata", _laid(metadata=lambda good: None)),
    taken("ok_metadata_extra", "metadata of nothing, or with a long note", _laid(metadata=lambda good: good.one_of({}, _NOTE))),
    taken("ok_single_file", "one file and no index", lambda good: good.single()),
    taken("ok_single_shard_index", "one shard with an index", _laid(shards=lambda good: 1)),
    taken("ok_index_no_metadata", "an index of names alone", lambda good: good.index({"weight_map": good.lies})),
    taken("ok_index_float_total", "a sum with a decimal point", lambda good: good.index(total=float(good.total))),
    taken("ok_index_extra_fields", "an index in another order, that says more", _more_in_the_index),
    taken("ok_shard_names", "shards of other names", _laid(names=lambda good: good.one_of(
        ["a.safetensors", "weights b.safetensors"], [f"part_{at}.safetensors" for at in range(3)]))),
    taken("ok_one_tensor_per_shard", "a file for each tensor", _laid(shards=lambda good: len(good.shapes()))),
    taken("ok_layer_split_across_shards", "parts of a layer in several files", _shuffled),
    taken("ok_uneven_shards", "a file of one tensor, and one of all others",
          _laid(cuts=lambda good: (good.one_of(1, len(good.shapes()) - 1),))),
    taken("ok_empty_shard", "a file without tensors", _empty_shard),
    taken("ok_inv_freq", "buffers that old versions saved",
          _with_buffers(lambda good: (good.hidden // good.heads // 2,), every=True)),
    taken("ok_empty_buffer", "a buffer without values", _with_buffers(lambda good: good.one_of((0,), (0, 4)), every=False)),
    taken("ok_mixed_dtypes", "tensors of several types", _mixed),
    taken("ok_f32", "another type than the config's", lambda good: good.write(good.made("F32"))),
    taken("ok_f64_norm", "a norm of 64 bits", _wide_norm),
    taken("ok_tied_absent", "a head that is the embedding, and not stored", _tied(stored=False)),
    taken("ok_tied_stored_twice", "a head that is the embedding, and stored", _tied(stored=True)),
    taken("ok_both_formats", "both formats: the pickle is not opened", _both),
    taken("ok_bin_zip", "torch's file", _saved()),
    taken("ok_bin_sharded", "torch's files", _saved(dtype="BF16", shards=(2, 3))),
    taken("ok_bin_handmade_zip", "torch's format by another program", _by_hand),
    taken("ok_bin_legacy", "torch's format before zip", _saved(_use_new_zipfile_serialization=False)),
    taken("ok_bin_parameter", "parameters instead of tensors",
          _saved(lambda good, state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()})),
    taken("ok_bin_shared_storage", "views into one storage", _saved(_views, dtype="F32")),
    warned("ok_bin_nested", "a state dict within a dict",
           _saved(lambda good, state: {good.one_of("state_dict", "model"): state, "epoch": 3}),
           "nested"),
)  # fmt: skip
