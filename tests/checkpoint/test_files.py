"""Opening and reading: only regular files, only inside the checkpoint, and only while they stay the same."""

import errno
import os
import socket
from pathlib import Path

import pytest

from convert.checkpoint import Missing, fingerprint, open_checkpoint, open_sources
from convert.checkpoint.files import OpenFile, Sources, list_folder, opened
from surgery.errors import ConversionError, LimitExceeded, StorageFailed, UnsafeInput

from .written import checkpoint, floats, model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(bytes(range(100)))
    return tmp_path / "in"


def test_links_inside_the_directory_are_followed(folder: Path) -> None:
    (folder / "y").symlink_to("x")
    found = list_folder(folder).find("y")
    assert (found.name, found.path, found.size, found.sha256) == ("y", folder.resolve() / "x", 100, None)


@pytest.mark.parametrize("absolute", [False, True])
def test_links_that_leave_the_directory_are_unsafe(folder: Path, absolute: bool) -> None:
    (folder.parent / "secret").write_bytes(b"PRIVATE")
    (folder / "y").symlink_to(folder.parent / "secret" if absolute else "../secret")
    with pytest.raises(UnsafeInput, match="outside the checkpoint"):
        list_folder(folder).find("y")


def test_a_link_through_a_subdirectory_is_unsafe(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "z").write_bytes(b"")
    (folder / "y").symlink_to("sub/z")
    with pytest.raises(UnsafeInput):
        list_folder(folder).find("y")


def snapshot(tmp_path: Path, name: str, target: str) -> Path:
    repository = tmp_path / "models--acme--tiny"
    commit = repository / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (commit / name).symlink_to(target)
    return commit


def test_a_snapshot_may_link_to_the_blobs_of_its_repository(tmp_path: Path) -> None:
    digest = "ab" * 32
    commit = snapshot(tmp_path, "x", f"../../blobs/{digest}")
    (commit.parent.parent / "blobs" / digest).write_bytes(b"abc")
    found = list_folder(commit)
    assert found.find("x").sha256 == digest
    assert found.repository == "acme/tiny@" + "0" * 40


def test_a_git_blob_has_no_sha256(tmp_path: Path) -> None:
    commit = snapshot(tmp_path, "x", "../../blobs/" + "ab" * 20)
    (commit.parent.parent / "blobs" / ("ab" * 20)).write_bytes(b"abc")
    assert list_folder(commit).find("x").sha256 is None


def test_a_snapshot_may_not_link_to_other_files_of_its_repository(tmp_path: Path) -> None:
    commit = snapshot(tmp_path, "x", "../../blobs/secrets")
    (commit.parent.parent / "blobs" / "secrets").write_bytes(b"abc")
    with pytest.raises(UnsafeInput):
        list_folder(commit).find("x")


def test_a_directory_that_is_no_snapshot_may_not_use_blobs(folder: Path) -> None:
    (folder.parent / "blobs").mkdir()
    (folder.parent / "blobs" / ("ab" * 32)).write_bytes(b"abc")
    (folder / "y").symlink_to("../blobs/" + "ab" * 32)
    with pytest.raises(UnsafeInput):
        list_folder(folder).find("y")


def test_a_dangling_link_names_the_unfinished_download(tmp_path: Path) -> None:
    commit = snapshot(tmp_path, "x", "../../blobs/" + "ab" * 32)
    (commit.parent.parent / "blobs" / ("ab" * 32 + ".incomplete")).write_bytes(b"a")
    with pytest.raises(Missing, match=r"x is a dangling link.*unfinished download.*\.incomplete"):
        list_folder(commit).find("x")


def test_what_is_not_a_regular_file_is_refused_without_opening_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "directory").mkdir()
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket may be no longer than 107 bytes
        listener.bind("socket")
        os.chdir(here)
        for name, kind in (
            ("pipe", r"FIFO \(named pipe\)"),
            ("directory", "a directory"),
            ("zero", "a character device"),
            ("socket", "a socket"),
            ("loop", "Too many levels of symbolic links"),
        ):
            with pytest.raises(ConversionError, match=kind):
                list_folder(folder).find(name)


def test_an_absent_file_is_missing(folder: Path) -> None:
    (folder / "model.safetensors.part").write_bytes(b"")
    with pytest.raises(Missing, match=r"model\.safetensors is missing.*unfinished download.*model\.safetensors\.part"):
        list_folder(folder).find("model.safetensors")


def test_reading_gives_exactly_the_bytes_asked_for(folder: Path) -> None:
    with opened(list_folder(folder).find("x")) as file:
        assert file.read(10, 5) == bytes([10, 11, 12, 13, 14])
        assert file.read(100, 0) == b""
        with pytest.raises(ConversionError, match="x: truncated: it has 100 bytes but 101 are needed"):
            file.read(99, 2)
        with pytest.raises(ConversionError, match="truncated"):
            file.read(-1, 2)


def test_a_file_replaced_between_finding_and_opening_is_refused(folder: Path) -> None:
    found = list_folder(folder).find("x")
    (folder / "new").write_bytes(bytes(100))
    (folder / "new").rename(folder / "x")
    with pytest.raises(ConversionError, match="source changed"):
        OpenFile(found)


def test_a_link_put_in_place_of_the_file_is_not_followed(folder: Path) -> None:
    found = list_folder(folder).find("x")
    (folder / "x").rename(folder / "other")
    (folder / "x").symlink_to("other")
    with pytest.raises(ConversionError, match="source changed"):
        OpenFile(found)


def test_sources_stay_open_on_the_planned_file_and_notice_its_change(folder: Path) -> None:
    found = list_folder(folder).find("x")
    with Sources({"x": found}) as sources:
        sources.unchanged()
        buffer = bytearray(3)
        sources.read_into("x", 1, memoryview(buffer))
        assert buffer == b"\x01\x02\x03"
        times = os.stat(found.path)
        with open(found.path, "r+b") as file:
            file.write(b"\xff")
        os.utime(found.path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the change time still tells
        with pytest.raises(ConversionError, match="source changed"):
            sources.unchanged()


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_signal(folder: Path) -> None:
    with Sources({"x": list_folder(folder).find("x")}) as sources:
        os.truncate(folder / "x", 50)
        with pytest.raises(ConversionError, match="x: truncated: the file ends before offset 50"):
            sources.read_into("x", 40, memoryview(bytearray(20)))


def test_a_failing_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Sources({"x": list_folder(folder).find("x")}) as sources:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(StorageFailed, match="x: reading 20 bytes at offset 40 failed: Input/output error"):
            sources.read_into("x", 40, memoryview(bytearray(20)))


def test_short_reads_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:3]], offset))
    with opened(list_folder(folder).find("x")) as file:
        assert file.read(0, 100) == bytes(range(100))


def test_running_out_of_descriptors_is_explained_and_leaks_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list_folder(folder).find("x")
    real = os.open

    def refuse_second(path: Path, flags: int) -> int:
        if opened_files:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        opened_files.append(real(path, flags))
        return opened_files[0]

    opened_files: list[int] = []
    monkeypatch.setattr(os, "open", refuse_second)
    with pytest.raises(LimitExceeded, match="ulimit -n"):
        Sources({"x": found, "y": found})
    with pytest.raises(OSError):
        os.fstat(opened_files[0])


def test_the_fingerprint_changes_with_any_weight_file(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "m", model__safetensors=model(a=floats(1, 2)))
    before = fingerprint(open_checkpoint(directory))
    info = os.stat(directory / "model.safetensors")
    assert before == [
        {
            "name": "model.safetensors",
            "size": info.st_size,
            "mtime_ns": info.st_mtime_ns,
            "ctime_ns": info.st_ctime_ns,
            "inode": info.st_ino,
            "sha256": None,
        }
    ]
    assert fingerprint(open_checkpoint(directory)) == before
    (directory / "model.safetensors").write_bytes(model(a=floats(1, 3)))
    assert fingerprint(open_checkpoint(directory)) != before


def test_open_sources_reads_the_weight_files(tmp_path: Path) -> None:
    opened_one = open_checkpoint(checkpoint(tmp_path / "m", model__safetensors=model(a=floats(1, 2))))
    buffer = bytearray(8)
    with open_sources(opened_one) as sources:
        tensor = opened_one.tensors["a"]
        sources.read_into(tensor.file, tensor.offset, memoryview(buffer))
    assert buffer == floats(1, 2)
