"""torch's files whose pickle asks for code, whose zip misleads, or whose tensors reach where nothing is."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace

import torch

from tests.corpus.case import Case, Change, refused, unsafe
from tests.corpus.files import TORCH, Tensors, laid_out
from tests.corpus.good import EMBEDDING, HEAD, NORM, Good
from tests.corpus.pickles import Archive, View, archive, called, named, number, only, row, strides, text, view, whole

_NOT_ALLOWED = "not allowed"


def _file(written: Callable[[Good, Tensors], bytes]) -> Change:
    return lambda good: good.torch(lambda tensors: written(good, tensors))


def _instead(data: Callable[[Good], bytes]) -> Change:
    """These bytes as the first file, alone in the first half and with a good one in the second."""

    def change(good: Good) -> None:
        good.torch(lambda tensors: data(good), shards=good.one_of(1, 2), others=lambda tensors: archive(tensors).zipped())

    return change


def _pickle(made: Callable[[Good], bytes]) -> Change:
    return _instead(lambda good: only(made(good)))


def _code(name: str, what: str, made: Callable[[Good], bytes]) -> Case:
    return unsafe(name, what, _pickle(made), _NOT_ALLOWED)


def _shelled(good: Good) -> bytes:
    return whole(called("os", "system", text(good.shell())))


def _zip(change: Callable[[Good, Archive], bytes]) -> Change:
    return _file(lambda good, tensors: change(good, archive(tensors)))


def _view(name: str, what: str, change: Callable[[Good, View], View], says: str) -> Case:
    """One tensor of which the pickle claims something else."""

    def changed(good: Good) -> None:
        chosen = good.chance.choice((NORM, HEAD, EMBEDDING))
        good.torch(lambda tensors: archive(tensors, lambda name, seen: change(good, seen) if name == chosen else seen).zipped())

    return refused(name, what, changed, says)


def _behind_good_items(good: Good, made: Archive) -> bytes:
    run = good.one_of(good.python(), f"__import__('os').system({good.shell()!r})")
    more = text("more") + called("builtins", good.one_of("exec", "eval"), text(run))
    return replace(made, items=made.items + more).zipped()


def _on_the_stack(good: Good) -> bytes:
    name = text("posix") + pickle.MEMOIZE + text("system") + pickle.MEMOIZE + pickle.STACK_GLOBAL
    return whole(name, row(text(good.shell())), pickle.REDUCE, protocol=4)


def _of_torch(good: Good) -> bytes:
    first = called("torch.jit.unsupported_tensor_ops", "execWrapper", text(good.python()), pickle.EMPTY_DICT, pickle.EMPTY_DICT)
    return whole(good.one_of(first, called("torch.utils.collect_env", "run", text(good.shell()))))


def _by_name(good: Good) -> bytes:
    caller = called("operator", "methodcaller", text("system"), text(good.shell()))
    return whole(caller, called("importlib", "import_module", text("os")), pickle.TUPLE1, pickle.REDUCE)


def _state_set(good: Good) -> bytes:
    made = named("types", "SimpleNamespace") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    return whole(made, pickle.EMPTY_DICT, pickle.MARK, text("x"), number(1), pickle.SETITEMS, pickle.BUILD)


def _old_calls(good: Good) -> bytes:
    shell = text(good.shell())
    first = pickle.MARK + shell + pickle.INST + b"os\nsystem\n"
    return whole(good.one_of(first, pickle.MARK + named("os", "system") + shell + pickle.OBJ))


def _wrong_sum(good: Good, made: Archive) -> bytes:
    right = struct.pack("<I", zlib.crc32(made.pickle))
    return made.zipped().replace(right, good.one_of(bytes(4), b"\xde\xad\xbe\xef"))


def _flagged(good: Good, made: Archive) -> bytes:
    data, flag = bytearray(made.zipped()), good.one_of(1, 0x40)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= flag
    return bytes(data)


def _doubled(good: Good) -> bytes:
    def get(at: int) -> bytes:
        return pickle.BINGET + bytes([at])

    lists = (pickle.MARK + get(at) + get(at) + pickle.LIST + pickle.BINPUT + bytes([at + 1]) for at in range(60))
    return whole(pickle.EMPTY_LIST, pickle.BINPUT + b"\0", *lists)


def _deep(good: Good) -> bytes:
    deep = good.one_of(pickle.TUPLE1 * 200_000, pickle.EMPTY_LIST + pickle.MARK)
    return whole(pickle.EMPTY_TUPLE, deep)


def _cut(good: Good, made: Archive) -> bytes:
    return made.zipped(made.pickle[: -good.one_of(1, 60)])


def _large(good: Good, made: Archive) -> bytes:
    grown = made.records | {"0": bytes(good.one_of(400_000_000, 250_000_000))}
    return replace(made, records=grown, compression=zipfile.ZIP_DEFLATED).zipped()


def _named_twice(good: Good, tensors: Tensors) -> bytes:
    made, (name, stored) = archive(tensors), next(iter(tensors.items()))
    items = made.items + text(name) + view("900", stored).instructions()
    return replace(made, items=items, records=made.records | {"900": good.stored(stored.dtype, stored.shape).data}).zipped()


def _record_twice(good: Good, made: Archive) -> bytes:
    return made.with_more(("archive/data/0", good.numbers.bytes(len(made.records["0"])))).zipped()


def _no_plain_tensor(good: Good, made: Archive) -> bytes:
    other = good.one_of(b"_rebuild_sparse_tensor", b"_rebuild_qtensor")
    return made.zipped(made.pickle.replace(b"_rebuild_tensor_v2", other, 1))


def _script(good: Good, made: Archive) -> bytes:
    constants, code = whole(pickle.EMPTY_TUPLE), b"def f():\n  pass\n"
    return made.with_more(("archive/constants.pkl", constants), ("archive/code/__torch__.py", code)).zipped()


def _tar(good: Good, tensors: Tensors) -> bytes:
    """As torch wrote before 0.1.10: four pickles with raw numbers behind them, in a tar."""
    kinds = {"F32": (torch.FloatStorage, torch.FloatTensor), "F16": (torch.HalfStorage, torch.HalfTensor)}
    storages, views, items = io.BytesIO(), io.BytesIO(), b""
    for file in (storages, views):
        pickle.dump(len(tensors), file, 2)
    for at, (name, stored) in enumerate(tensors.items()):
        storage, tensor = kinds[stored.dtype]
        pickle.dump((str(at), "cpu", storage), storages, 2)
        storages.write(struct.pack("<q", len(stored.data) // TORCH[stored.dtype].itemsize) + stored.data)
        pickle.dump((str(1000 + at), str(at), tensor), views, 2)
        places = (*stored.shape, *strides(stored.shape), 0)
        views.write(struct.pack(f"<ii{len(places)}q", len(stored.shape), 0, *places))
        items += text(name) + text(str(1000 + at)) + pickle.BINPERSID
    pickle.dump([], storages, 2)
    state = whole(pickle.EMPTY_DICT, pickle.MARK, items, pickle.SETITEMS)
    system = pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:") as tar:
        inside = {"sys_info": system, "pickle": state, "storages": storages.getvalue(), "tensors": views.getvalue()}
        for name, data in inside.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return written.getvalue()


CASES = (
    _code("bin_os_system", "a call of the shell", _shelled),
    unsafe("bin_exec_after_state", "code behind good tensors", _zip(_behind_good_items), _NOT_ALLOWED),
    _code("bin_stack_global", "a name that is put together on the stack", _on_the_stack),
    _code("bin_torch_gadget", "a function of torch that runs code", _of_torch),
    _code("bin_functools_partial", "a method called by its name, of a module that is imported by its", _by_name),
    _code("bin_build_setstate", "an object whose state is set", _state_set),
    _code("bin_inst_opcode", "the calls of old protocols", _old_calls),
    _code("bin_ext_opcode", "what extensions register",
          lambda good: whole(good.one_of(pickle.EXT1 + b"\1", pickle.EXT2 + b"\1\1"))),
    unsafe("bin_legacy_exec", "a call of the shell, in the format before zip", _instead(_shelled), _NOT_ALLOWED),
    unsafe("bin_two_data_pkl", "two pickles, of which scanners may see the other one",
           _zip(lambda good, made: made.with_more((good.one_of("archive", "more") + "/data.pkl", _shelled(good))).zipped()),
           "data.pkl"),
    refused("bin_zip_bad_crc", "a sum that is wrong, at which scanners stop and readers do not", _zip(_wrong_sum), "CRC"),
    refused("bin_zip_flag_bits", "a flag of encryption, at which scanners stop", _zip(_flagged), "flagged"),
    refused("bin_zip_name_mismatch", "a name that differs between an entry and the directory",
            _zip(lambda good, made: made.zipped().replace(
                b"archive/data.pkl", good.one_of(b"archive/dbta.pkl", b"brchive/data.pkl"), 1)), "mismatch"),
    refused("bin_zip_bomb", "records that grow a thousandfold", _zip(_large), "compressed"),
    refused("bin_zip_truncated", "no directory at the end",
            _zip(lambda good, made: made.zipped()[: -good.one_of(30, 900)]), "zip"),
    refused("bin_zip_prefix", "something in front of the zip",
            _zip(lambda good, made: good.one_of(b"#!/bin/sh\nexit 0\n", b"\x80\x02}.") + made.zipped())),
    _view("bin_storage_numel_lies", "more elements than the record has",
          lambda good, seen: replace(seen, count=seen.count * good.one_of(2, 1000)), "storage"),
    _view("bin_storage_numel_absurd", "more elements than memory has",
          lambda good, seen: replace(seen, count=good.one_of(10**15, 2**62)), "storage"),
    _view("bin_size_exceeds_storage", "a tensor larger than its record",
          lambda good, seen: replace(seen, size=(seen.size[0] * 50, *seen.size[1:])), "storage"),
    _view("bin_offset_out_of_bounds", "a place behind the record, or before it",
          lambda good, seen: replace(seen, offset=good.one_of(seen.count, -8)), "storage|offset"),
    _view("bin_negative_stride", "negative steps or sizes", lambda good, seen: good.one_of(
        replace(seen, stride=(-1,) * len(seen.stride)), replace(seen, size=tuple(-size for size in seen.size))), "negative"),
    _view("bin_expand_bomb", "ten milliard elements of one number",
          lambda good, seen: replace(seen, size=(10**5, 10**5), stride=(0, 0)), "shape|storage"),
    _view("bin_storage_key_path", "a record that is a path",
          lambda good, seen: replace(seen, key=good.one_of("../data.pkl", "/etc/hostname")), "key"),
    _view("bin_persid_unknown", "another kind of record",
          lambda good, seen: replace(seen, kind=good.one_of("module", "file")), "persistent"),
    refused("bin_memo_bomb", "sixty doublings of a list", _pickle(_doubled), "pickle"),
    refused("bin_deep_nesting", "thousands of tuples in each other, or lists without an end", _pickle(_deep), "pickle"),
    refused("bin_long_opcode_bomb", "a length of a milliard and more",
            _pickle(lambda good: whole(good.one_of(
                pickle.LONG4 + struct.pack("<i", 2**31 - 1), pickle.BINUNICODE8 + struct.pack("<Q", 2**60)), protocol=4)),
            "pickle"),
    refused("bin_memo_index_bomb", "a place of the memo far out",
            _pickle(lambda good: whole(
                pickle.EMPTY_DICT, pickle.LONG_BINPUT + struct.pack("<I", good.one_of(2**31 - 1, 2**30)))), "memo"),
    refused("bin_pickle_truncated", "a pickle without its end", _zip(_cut), "pickle"),
    refused("bin_not_a_dict", "a list or a number",
            _pickle(lambda good: whole(good.one_of(pickle.EMPTY_LIST, pickle.BININT1 + b"\7"))), "dict"),
    refused("bin_torchscript", "a program of TorchScript", _zip(_script), "TorchScript"),
    refused("bin_is_safetensors", "safetensors under this name", _file(lambda good, tensors: laid_out(tensors)), "safetensors"),
    refused("bin_big_endian", "numbers of another order of bytes",
            _zip(lambda good, made: replace(made, byteorder=good.one_of(b"big", b"middle")).zipped()), "byteorder"),
    refused("bin_dup_storage_entry", "a record twice", _zip(_record_twice), "duplicate"),
    refused("bin_sparse_or_quantized", "a tensor that is sparse or of codes", _zip(_no_plain_tensor), "sparse|quant"),
    refused("bin_dup_key_pickle", "a name twice, with other values", _file(_named_twice), "duplicate"),
    refused("bin_tar_legacy", "the format of 2016, which torch refuses as well", _file(_tar), "tar"),
)  # fmt: skip

