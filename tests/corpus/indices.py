"""An index that leads elsewhere, contradicts its shards, or is none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from tests.corpus.case import Change, refused, unsafe, warned
from tests.corpus.files import laid_out
from tests.corpus.good import INDEX, Good, shard


def _named(chosen: Callable[[Good, str], str]) -> Change:
    """Another name for one shard, in the index alone."""
    return lambda good: _rename(good, good.hit(), chosen)


def _rename(good: Good, old: str, chosen: Callable[[Good, str], str]) -> None:
    new = chosen(good, old)
    good.lies = {name: new if lies == old else lies for name, lies in good.lies.items()}
    good.index()


def _elsewhere(chosen: Callable[[Good], str]) -> Change:
    """A good shard outside, and none at its place."""

    def change(good: Good) -> None:
        old = good.hit()
        good.bait(tensors=list(good.of(old)))
        (good.folder / "sub").mkdir()
        good.remove(old)
        _rename(good, old, lambda good, old: chosen(good))

    return change


def _said(made: Callable[[Good], Any]) -> Change:
    return lambda good: good.index(made(good))


def _map(change: Callable[[Good, dict[str, str]], object]) -> Change:
    def changed(good: Good) -> None:
        change(good, good.lies)
        good.index()

    return changed


def _absent(good: Good) -> None:
    if good.one_of(True, False):
        _rename(good, good.hit(), lambda good, old: "model-00099-of-00002.safetensors")
    else:
        good.remove(good.hit())


def _unfinished(good: Good) -> None:
    path = good.folder / good.hit()
    rest = path.with_name(path.name + good.one_of(".incomplete", ".part"))
    path.rename(rest)
    os.truncate(rest, 777)


def _folder(good: Good) -> None:
    good.remove(good.hit()).mkdir()


def _wrong(good: Good, lies: dict[str, str]) -> None:
    name = good.matrix()
    lies[name] = good.other(lies[name])


def _twice(good: Good) -> str:
    name = good.matrix()
    said = json.dumps({"metadata": {}, "weight_map": good.lies})
    more = f'{said[:-2]}, "{name}": "{good.other(good.lies[name])}"}}}}'
    return good.one_of(more, said.replace('"weight_map"', '"weight_map": {}, "weight_map"', 1))


def _left_over(good: Good) -> None:
    count = good.one_of(3, 4)
    some = dict(list(good.made().items())[:2])
    good.put(shard(count - 1, count), laid_out(some))


CASES = (
    unsafe("idx_traversal", "a shard's name that climbs out of the folder",
           _elsewhere(lambda good: good.one_of("", "sub/../") + "../outside/secret.safetensors"), "outside"),
    unsafe("idx_absolute", "a shard's name that is a path from the root",
           _elsewhere(lambda good: str(good.root.resolve() / "outside/secret.safetensors")), "outside"),
    unsafe("idx_backslash_or_drive", "a path as Windows writes it",
           _named(lambda good, old: good.one_of("..\\outside\\secret.safetensors", "\\\\example.org\\share\\m.safetensors")),
           "path"),
    unsafe("idx_url", "an address on a network",
           _named(lambda good, old: good.one_of("https://127.0.0.1:9/model.safetensors", "file:///etc/hostname")), "path"),
    refused("idx_nul_in_path", "NUL in a shard's name", _named(lambda good, old: "model\0-00001.safetensors")),
    refused("idx_dot_names", "the folder itself, or another file", _named(lambda good, old: good.one_of(".", "config.json"))),
    refused("idx_long_name", "a name longer than a file may have", _named(lambda good, old: "m" * 5000 + ".safetensors")),
    refused("idx_shard_missing", "a shard that is not there", _absent, "missing"),
    refused("idx_shard_incomplete_download", "a shard whose download has not ended", _unfinished, "missing"),
    refused("idx_shard_is_dir", "a folder with a shard's name", _folder, "directory"),
    refused("idx_wrong_shard", "a tensor said to lie in another shard", _map(_wrong), "index"),
    refused("idx_phantom_tensor", "a tensor that no shard has",
            _map(lambda good, lies: lies.update({"model.layers.0.mlp.phantom.weight": good.shards[0]})), "missing"),
    refused("idx_unlisted_tensor", "a tensor that the index does not list, which some loaders would skip",
            _map(lambda good, lies: lies.pop(good.matrix())), "not listed"),
    warned("idx_total_size_wrong", "another sum of bytes",
           lambda good: good.index(total=good.one_of(12345, 2 * good.total)), "total_size"),
    warned("idx_total_size_absurd", "a sum that nothing has",
           lambda good: good.index(total=good.one_of(10**30, -1)), "total_size"),
    refused("idx_not_json", "an index that is cut or empty",
            lambda good: os.truncate(good.folder / INDEX, good.one_of(60, 0)), "index"),
    refused("idx_not_object", "JSON, and no object", _said(lambda good: good.one_of("[]", "7")), "index"),
    refused("idx_weight_map_type", "a list of pairs, or lists for names",
            _said(lambda good: {"weight_map": good.one_of(
                list(good.lies.items()), {name: [lies] for name, lies in good.lies.items()})}),
            "weight_map"),
    refused("idx_weight_map_empty", "a map of nothing, or none",
            _said(lambda good: good.one_of({"weight_map": {}}, {"metadata": {}})), "weight_map"),
    refused("idx_dup_keys", "a tensor, or the map, twice", _said(_twice), "duplicate"),
    refused("idx_deep", "thousands of levels", _said(lambda good: '{"weight_map":' + good.one_of("[", '{"a":') * 200_000)),
    refused("idx_and_single_file", "shards with an index, and a single file of other weights",
            lambda good: good.put("model.safetensors", laid_out(good.made())), "ambiguous"),
    warned("idx_stale_extra_shard", "a shard of another time", _left_over, "leftover"),
    refused("idx_case_mismatch", "a name with other capital letters than the file's",
            _named(lambda good, old: good.one_of(old.title(), old.upper())), "missing"),
)  # fmt: skip
