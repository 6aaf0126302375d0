"""Links, pipes, devices and what else a folder may hold."""

from __future__ import annotations

import hashlib
import os
import shutil

from tests.corpus.case import refused, taken, unreadable, unsafe
from tests.corpus.files import laid_out
from tests.corpus.good import Good
from tests.corpus.pickles import archive, called, text, whole


def _shard_outside(good: Good) -> None:
    name = good.hit()
    bait = good.bait(tensors=list(good.of(name)))
    good.link(name, good.one_of("../outside/secret.safetensors", str(bait.resolve())))


def _secret_outside(good: Good) -> None:
    good.put("outside/id_rsa", b"PRIVATE " + good.marker, good.root)
    good.link(good.one_of("tokenizer.model", "generation_config.json"), "../outside/id_rsa")


def _config_outside(good: Good) -> None:
    path = good.put("outside/config.json", good.config(note=good.marker.hex()), good.root)
    good.link("config.json", good.one_of("../outside/config.json", str(path.resolve())))


def _loop(good: Good) -> None:
    name = good.hit()
    good.link(name, good.one_of(name, "loop"))
    if good.one_of(False, True):
        (good.folder / "loop").symlink_to(name)


def _dangling(good: Good) -> None:
    name = good.hit()
    good.link(name, "../../blobs/" + hashlib.sha256(name.encode()).hexdigest())


def _pipe(good: Good) -> None:
    os.mkfifo(good.remove(good.one_of(good.hit(), "tokenizer.model")))


def _junk(good: Good) -> None:
    script = f"#!/bin/sh\n{good.shell()}\n"
    for name in (".git/hooks/post-checkout", "install.sh"):
        good.put(name, script).chmod(0o755)
    good.put(".env", b"TOKEN=" + good.marker)
    good.put("optimizer.pt", whole(called("os", "system", text(good.shell()))))
    os.truncate(good.put("training_state.bin", b"x"), 300_000_000)


def _names(good: Good) -> None:
    for name in (b"a\nb.json", "safe\u202egnp.py".encode(), b"-rf", b"\xff\xfe.txt"):
        with open(os.path.join(os.fsencode(good.folder), name), "wb") as file:
            file.write(b"{}")


def _nothing(good: Good) -> None:
    shutil.rmtree(good.folder)
    good.folder.mkdir()
    if good.one_of(False, True):
        good.put("README.md", "# Weights to come")


def _file(good: Good) -> None:
    shutil.rmtree(good.folder)
    good.folder.write_bytes(laid_out(good.made()))


def _other_formats(good: Good) -> None:
    good.around()
    name, data = good.one_of(("consolidated.00.pth", archive(good.made("F16")).zipped()), ("model.gguf", b"GGUF\x03\0\0\0"))
    good.put(name, data)


CASES = (
    unsafe("fs_shard_symlink_outside", "a shard that is a link to a file elsewhere", _shard_outside, "link|outside"),
    unsafe("fs_tokenizer_symlink_outside", "a file beside the weights that is a link to a secret",
           _secret_outside, "link|outside"),
    unsafe("fs_config_symlink_outside", "a config that is a link to a file elsewhere", _config_outside, "link|outside"),
    refused("fs_symlink_loop", "a link to itself", _loop, "symbolic links"),
    refused("fs_dangling_symlink", "a link to nothing, as a cleared cache leaves it", _dangling, "dangling"),
    refused("fs_shard_devzero", "a file without an end",
            lambda good: good.link(good.hit(), good.one_of("/dev/zero", "/dev/urandom")), "regular file|outside"),
    refused("fs_fifo", "a pipe, which waits for somebody to write", _pipe, "regular file"),
    unreadable("fs_unreadable_shard", "a shard that this user may not read", lambda good: (good.folder / good.hit()).chmod(0),
               "permission"),
    taken("fs_extra_junk", "scripts, secrets, states of a training and a large file beside the weights", _junk),
    taken("fs_sidecar_bad_names", "names with line ends, other directions and bytes of no encoding", _names),
    refused("fs_no_weights", "everything but weights", lambda good: good.around(), "no weight"),
    refused("fs_empty_dir", "nothing", _nothing, "no weight"),
    refused("fs_input_is_file", "a file", _file, "not a directory"),
    refused("fs_only_other_formats", "weights of a format without its other files, or of none that is read", _other_formats,
            "no weight|missing"),
)  # fmt: skip
