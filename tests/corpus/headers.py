"""safetensors files that are damaged, cut, something else, or whose header says what cannot be."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.corpus.case import Change, refused, taken, warned
from tests.corpus.files import compact, length, parted
from tests.corpus.good import Good
from tests.corpus.pickles import called, only, text, whole, zipped

Entry = dict[str, Any]


def _bytes(change: Callable[[Good, bytes], bytes]) -> Change:
    return lambda good: good.file(lambda data: change(good, data))


def _text(change: Callable[[Good, str, str], str | bytes]) -> Change:
    return lambda good: good.text(lambda said, name: change(good, said, name))


def _header(change: Callable[[Good, dict[str, Any], str], object]) -> Change:
    return lambda good: good.header(lambda header, name: change(good, header, name))


def _entry(change: Callable[[Good, Entry], Entry]) -> Change:
    """Values of one tensor's entry."""
    return _header(lambda good, header, name: header[name].update(change(good, header[name])))


def _renamed(change: Callable[[Good, str], str]) -> Change:
    return _header(lambda good, header, name: header.update({change(good, name): header.pop(name)}))


def _promised(first: int, second: int) -> Change:
    return _bytes(lambda good, data: struct.pack("<Q", good.one_of(first, second)) + data[8:])


def _again(said: str, name: str, entry: Entry, spelled: str | None = None) -> str:
    """The header with one more entry at its end."""
    return f'{said.rstrip()[:-1]},"{spelled or name}":{compact(entry)}}}'


def _sparse(good: Good) -> None:
    path = good.file(lambda data: struct.pack("<Q", good.one_of(120_000_000, 101_000_000)) + b"{}")
    os.truncate(path, good.one_of(120_000_100, 101_000_200))


def _at_an_edge(good: Good, data: bytes) -> bytes:
    header, body = parted(data)
    begins = sorted(entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__")
    return data[: len(data) - len(body) + begins[good.one_of(-1, -2)]]


def _twice(good: Good, said: str, name: str) -> str:
    entries = json.loads(said)
    begin, end = entries[name]["data_offsets"]
    other = next(each for each in entries if each not in (name, "__metadata__"))
    elsewhere = good.one_of(entries[other]["data_offsets"], [0, end - begin])
    return _again(said, name, entries[name] | {"data_offsets": elsewhere})


def _overlapping(good: Good, entry: Entry) -> Entry:
    begin, end = entry["data_offsets"]
    by = good.one_of(2, 4) if begin == 0 else -good.one_of(2, 4)
    return {"data_offsets": [begin + by, end + by]}


def _hole(good: Good) -> None:
    hole: list[int] = []

    def moved(header: dict[str, Any], name: str) -> None:
        at = header[name]["data_offsets"][good.one_of(0, 1)]
        hole.append(at)
        for entry in (entry for key, entry in header.items() if key != "__metadata__"):
            if entry["data_offsets"][0] >= at:
                entry["data_offsets"] = [place + 16 for place in entry["data_offsets"]]

    good.header(moved, lambda body: body[: hole[0]] + good.marker[:16] + body[hole[0] :])


def _past_the_end(good: Good, entry: Entry) -> Entry:
    begin, end = entry["data_offsets"]
    far = good.one_of(10**12, 2**63)
    return {"data_offsets": [far, far + end - begin]}


def _no_integers(good: Good, said: str, name: str) -> str:
    begin, end = json.loads(said)[name]["data_offsets"]
    return said.replace(f"[{begin},{end}]", good.one_of(f"[{begin},{end}.0]", f'["{begin}","{end}"]'), 1)


def _wrapped(good: Good, entry: Entry) -> Entry:
    """Two sizes whose product is right in 64 bits alone."""
    rows, columns = entry["shape"]
    for size in good.one_of((3, 7, 11, 13), (5, 9, 17, 19)):
        other = rows * columns * pow(size, -1, 2**64) % 2**64
        if other < 2**63 and size * other != rows * columns:
            return {"shape": [size, other]}
    raise AssertionError("no size wraps")


def _true_for_one(good: Good, said: str, name: str) -> str:
    shape = compact(json.loads(said)[name]["shape"])
    return said.replace(f'"shape":{shape}', f'"shape":{good.one_of(f"[true,{shape[1:]}", f"{shape[:-1]},true]")}', 1)


def _nested(good: Good, said: str, name: str) -> str:
    opened, closed = good.one_of(("[", "]"), ('{"a":', "}"))
    return f'{{"x":{opened * 100_000}1{closed * 100_000},{said[1:]}'


def _flipped(good: Good, said: str, name: str) -> str:
    at = said.index('"shape"', said.index(name)) + len('"shape":[')
    return said[:at] + chr(ord(said[at]) ^ good.one_of(8, 4)) + said[at + 1 :]


def _lfs(good: Good, data: bytes) -> bytes:
    said = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n"
    return said.encode()


def _page(good: Good, data: bytes) -> bytes:
    return f"<!DOCTYPE html><html><head><title>{good.one_of('429', 'Sign in')}</title></head></html>\n".encode()


def _of_torch(good: Good, data: bytes) -> bytes:
    return only(whole(called("os", "system", text(good.shell()))))


def _split(good: Good, name: str) -> str:
    at = good.one_of(-7, 5)
    return f"{name[:at]}\0{name[at:]}"


def _relabelled(good: Good) -> None:
    def change(header: dict[str, Any], name: str) -> None:
        header[name]["dtype"] = {"F16": "BF16", "BF16": "F16"}[header[name]["dtype"]]
        good.kept[name] = replace(good.kept[name], dtype=header[name]["dtype"])  # an output has the same bytes under this type

    good.header(change)


_F32, _ONE = '"dtype":"F32"', '"shape":[1]'
_EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}

CASES = (
    refused("st_empty_file", "0 bytes: an interrupted download", _bytes(lambda good, data: b""), "empty"),
    refused("st_short_prefix", "fewer bytes than the header's length has",
            _bytes(lambda good, data: data[: good.one_of(7, 3)]), "too small"),
    refused("st_header_len_zero", "a header of 0 bytes", _promised(0, 0)),
    refused("st_header_len_huge", "a length near 2^63 and 2^64", _promised(2**64 - 1, 2**63 - 9), "header"),
    refused("st_header_len_over_limit", "a length over the format's limit", _promised(100_000_001, 2_000_000_000), "header"),
    refused("st_header_len_past_eof", "a header that is longer than the file",
            _bytes(lambda good, data: struct.pack("<Q", len(data) - 8 + good.one_of(1, 64)) + data[8:]), "header|truncated"),
    refused("st_header_len_bigendian", "the length's bytes the other way round",
            _bytes(lambda good, data: data[7::-1] + data[8:])),
    refused("st_header_over_limit_sparse", "a header that is there, of more than the limit", _sparse, "header"),
    refused("st_truncated_in_header", "cut within the header",
            _bytes(lambda good, data: data[: 8 + int(length(data) * good.one_of(0.5, 0.93))]), "truncated|header"),
    refused("st_truncated_in_data", "cut within a tensor", _bytes(lambda good, data: data[: -good.one_of(1, 333)]), "truncated"),
    refused("st_truncated_at_tensor_edge", "cut behind a tensor, so that those that are left are whole",
            _bytes(_at_an_edge), "truncated"),
    refused("st_trailing_bytes", "bytes behind the last tensor, as of another format",
            _bytes(lambda good, data: data + good.one_of(zipped((("a", b"junk"),)), bytes(8))), "extra"),
    refused("st_not_json", "no JSON", _text(lambda good, said, name: good.one_of(said.rstrip()[:-1], said.replace('"', "'")))),
    refused("st_not_utf8", "no UTF-8",
            _text(lambda good, said, name: said.encode().replace(b"layers", good.one_of(b"lay\xff\xfes", b"lay\xc0\xafs"), 1))),
    refused("st_bom_or_utf16", "a mark of encoding, or another encoding, which Python's json would take",
            _text(lambda good, said, name: good.one_of(b"\xef\xbb\xbf" + said.encode(), said.encode("utf-16-le")))),
    refused("st_header_not_object", "JSON, and no object",
            _text(lambda good, said, name: good.one_of(f"[{said}]", f'"{"x" * 40}"'))),
    refused("st_json_then_garbage", "something behind the object",
            _text(lambda good, said, name: said + good.one_of("\0" * 4, "{}"))),
    refused("st_deep_nesting", "a hundred thousand levels", _text(_nested)),
    refused("st_dup_key", "a name twice, with other bytes", _text(_twice), "duplicate"),
    refused("st_dup_key_identical", "the same entry twice",
            _text(lambda good, said, name: _again(said, name, json.loads(said)[name])), "duplicate"),
    refused("st_dup_key_escaped", "the same name twice, once with an escape",
            _text(lambda good, said, name: _again(said, name, json.loads(said)[name], f"\\u{ord(name[0]):04x}{name[1:]}")),
            "duplicate"),
    refused("st_dup_metadata", "two tables of metadata",
            _text(lambda good, said, name: '{"__metadata__":{"a":"b"},' + said[1:]), "duplicate"),
    refused("st_dup_field", "a field of an entry twice",
            _text(lambda good, said, name: said.replace(
                f'"{name}":{{', f'"{name}":{{{good.one_of(_F32, _ONE)},', 1)), "duplicate"),
    refused("st_metadata_not_strings", "metadata with tables or numbers",
            _header(lambda good, header, name: header.update(
                __metadata__=good.one_of({"format": {"a": 1}}, {"format": "pt", "step": 12})))),
    refused("st_metadata_is_tensor", "a tensor with the metadata's name", _renamed(lambda good, name: "__metadata__")),
    refused("st_offsets_overlap", "two tensors share bytes", _entry(_overlapping), "overlap|hole"),
    refused("st_hole", "bytes that belong to no tensor", _hole, "hole"),
    refused("st_offsets_reversed", "an end before its begin",
            _entry(lambda good, entry: {"data_offsets": entry["data_offsets"][::-1]})),
    refused("st_offsets_negative", "a negative place, which a slice would count from the end",
            _entry(lambda good, entry: {"data_offsets": good.one_of(
                [entry["data_offsets"][0] - entry["data_offsets"][1], 0], [entry["data_offsets"][0], -1])})),
    refused("st_offsets_past_eof", "places behind the file's end", _entry(_past_the_end), "offset|size"),
    refused("st_offsets_not_int", "places that are floats or strings", _text(_no_integers), "offsets"),
    refused("st_offsets_three", "three places",
            _entry(lambda good, entry: {"data_offsets": [*entry["data_offsets"], good.one_of(0, entry["data_offsets"][1])]})),
    refused("st_shape_size_mismatch", "a shape of other bytes",
            _entry(lambda good, entry: {"shape": [entry["shape"][0] + good.one_of(1, -1), *entry["shape"][1:]]}), "shape"),
    refused("st_shape_overflow", "a shape of more elements than 64 bits count",
            _entry(lambda good, entry: {"shape": good.one_of([2, 2**63], [2**40, 2**40])}), "shape"),
    refused("st_shape_wraps_to_size", "a shape that is right modulo 2^64", _entry(_wrapped), "shape"),
    refused("st_shape_negative", "two negative sizes with the right product",
            _entry(lambda good, entry: {"shape": [-size for size in entry["shape"]]}), "shape"),
    refused("st_shape_bool", "a size that is true", _text(_true_for_one), "shape"),
    refused("st_shape_nan", "a size that is none, as Python's json reads it",
            _entry(lambda good, entry: {"shape": [*entry["shape"], good.one_of(float("nan"), float("inf"))]})),
    refused("st_shape_bigint", "a size of thousands of digits",
            _text(lambda good, said, name: said.replace('"shape":[', f'"shape":[{"9" * good.one_of(5000, 200_000)},', 1))),
    refused("st_rank_absurd", "thousands of dimensions of one",
            _entry(lambda good, entry: {"shape": entry["shape"] + [1] * good.one_of(10_000, 100)}), "shape"),
    refused("st_empty_with_huge_dim", "no bytes, and a size of 2^63",
            _header(lambda good, header, name: header.update({
                good.one_of("model.layers.0.self_attn.rotary_emb.inv_freq", "model.extra"):
                _EMPTY | {"shape": good.one_of([0, 2**63], [2**62, 4, 0])}})), "shape"),
    refused("st_dtype_unknown", "a type that does not exist",
            _entry(lambda good, entry: {"dtype": good.one_of("Q4_K", "F7")}), "dtype"),
    refused("st_dtype_case", "a type as another program spells it",
            _entry(lambda good, entry: {"dtype": good.one_of(entry["dtype"].lower(), "torch.bfloat16")}), "dtype"),
    refused("st_dtype_not_string", "a type that is no text",
            _entry(lambda good, entry: {"dtype": good.one_of(None, ["F16"])}), "dtype"),
    refused("st_missing_field", "an entry without one of its fields",
            _header(lambda good, header, name: header[name].pop(good.one_of("dtype", "data_offsets")))),
    refused("st_entry_null", "an entry that is null or a text",
            _header(lambda good, header, name: header.update({name: good.one_of(None, "BF16")}))),
    refused("st_entry_as_list", "an entry as a list, which one reader takes and others do not",
            _header(lambda good, header, name: header.update({name: list(header[name].values())}))),
    warned("st_extra_field", "a field that the format does not have",
           _entry(lambda good, entry: good.one_of({"strides": [1, entry["shape"][0]]}, {"quantization": {"scale": 0.1}})),
           "strides|quantization"),
    taken("st_metadata_null", "metadata that are null", _header(lambda good, header, name: header.update(__metadata__=None))),
    refused("st_name_empty", "a tensor without a name", _renamed(lambda good, name: "")),
    refused("st_name_control", "a name that writes to the terminal",
            _renamed(lambda good, name: good.one_of("\x1b[2J\x1b[31mALL OK\x1b[0m\r\n", "x\x1b]0;title\x07\nverified: yes\n"))),
    refused("st_name_nul", "NUL within a name", _renamed(_split)),
    refused("st_name_path", "a name that is a path",
            _renamed(lambda good, name: good.one_of("../../../../tmp/out", f"/tmp/out/{name}"))),
    refused("st_name_surrogate", "half of a surrogate pair, which nothing can write",
            _text(lambda good, said, name: said.replace(f'"{name}"', f'"{name}\\u{good.one_of("d800", "dfff")}"', 1))),
    refused("st_name_confusable", "a letter that looks like another",
            _renamed(lambda good, name: name.replace(*good.one_of(("o", "\u043e"), ("e", "\u0435")), 1)), "unexpected"),
    refused("st_name_zero_width", "a character that is not seen",
            _renamed(lambda good, name: name + good.one_of("\u200b", "\u2060")), "unexpected"),
    refused("st_name_long", "a name of a megabyte",
            _renamed(lambda good, name: "model." + "a" * good.one_of(1_000_000, 400_000))),
    refused("st_many_tensors", "thousands of tensors that nobody expects",
            _header(lambda good, header, name: header.update(
                {f"model.layers.{at}.zz": _EMPTY for at in range(good.one_of(20_000, 40_000))}))),
    refused("file_lfs_pointer", "the pointer of git-lfs instead of the file", _bytes(_lfs), "lfs"),
    refused("file_html_page", "a web page instead of the file", _bytes(_page), "HTML"),
    refused("file_zip_named_safetensors", "a pickle that runs code, with this name: not read by what it holds",
            _bytes(_of_torch), "zip"),
    refused("file_gzipped", "a compressed file", _bytes(lambda good, data: gzip.compress(data, mtime=0)), "gzip"),
    refused("bitflip_header", "one bit that is another", _text(_flipped)),
    taken("st_dtype_relabelled", "values of another type of the same width: the rest of the file fits them as well",
          _relabelled),
)  # fmt: skip
