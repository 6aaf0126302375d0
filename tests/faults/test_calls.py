"""The reading of strace's logs: threads that interrupt each other, and what is not on disk when the power goes."""

from __future__ import annotations

from pathlib import Path

from tests.faults.calls import Call, parsed, steady, unsynced


def calls(text: str, cwd: str = "/here") -> list[Call]:
    return list(parsed(text.strip().splitlines(), cwd))


def test_a_call_that_another_thread_interrupts_is_one_call_with_its_own_file_and_result():
    found = calls("""
11 pwrite64(8</here/a.tmp>, ""..., 968, 0 <unfinished ...>
12 pwrite64(7</here/b.tmp>, ""..., 100, 0) = 100
11 <... pwrite64 resumed>)           = 968
11 pwrite64(8</here/a.tmp>, ""..., 32, 968) = 32
""")
    assert found == [
        Call(12, "pwrite64", 1, ("/here/b.tmp",), 100),
        Call(11, "pwrite64", 1, ("/here/a.tmp",), 968),
        Call(11, "pwrite64", 2, ("/here/a.tmp",), 32),
    ]
    assert [call.nbytes for call in found] == [100, 968, 32]


def test_a_call_that_never_came_back_is_told_last_without_a_result():
    (synced, written) = calls("""
11 pwrite64(8</here/a>, ""..., 968, 0 <unfinished ...>
12 fsync(7</here/b>)                   = 0
11 +++ killed by SIGKILL +++
""")
    assert synced.name == "fsync" and synced.done
    assert written == Call(11, "pwrite64", 1, ("/here/a",), None) and not written.done and written.nbytes == 0


def test_what_strace_put_in_the_place_of_a_result_is_marked():
    (lost, failed, own) = calls("""
11 pwrite64(8</here/a>, ""..., 968, 0) = 968 (INJECTED)
11 fsync(8</here/a>) = -1 EIO (Input/output error) (INJECTED)
11 fsync(8</here/a>) = -1 EIO (Input/output error)
""")
    assert (lost.injected, lost.result) == (True, 968)
    assert (failed.injected, failed.result, failed.done) == (True, -1, False)
    assert (own.injected, own.result) == (False, -1)


def test_names_are_relative_to_the_folder_that_is_given_with_them():
    (renamed, removed, made) = calls("""
11 renameat2(AT_FDCWD</here>, "/x/.out.partial", AT_FDCWD</here>, "out", RENAME_NOREPLACE) = 0
11 unlinkat(5</x/old>, "a.tmp", 0) = 0
11 mkdir("new", 0777) = 0
""")
    assert renamed.paths == ("/x/.out.partial", "/here/out") and renamed.file == "out"
    assert removed.paths == ("/x/old/a.tmp",)
    assert made.paths == ("/here/new",)


def test_a_call_acts_within_a_folder_on_what_lies_in_it_and_on_the_folder(tmp_path: Path):
    (inside, itself, beside) = calls(f"""
11 write(5<{tmp_path}/w/a>, "", 1) = 1
11 fsync(5<{tmp_path}/w>) = 0
11 write(5<{tmp_path}/wide>, "", 1) = 1
""")
    assert [call.within(tmp_path / "w") for call in (inside, itself, beside)] == [True, True, False]


def test_a_file_is_safe_once_it_was_synced_after_its_last_write(tmp_path: Path):
    a, b = tmp_path / "a", tmp_path / "b"
    for path in (a, b):
        path.touch()
    assert unsynced(calls(f"""
11 pwrite64(8<{a}>, "", 9, 0 <unfinished ...>
12 pwrite64(9<{b}>, "", 9, 0) = 9
12 fsync(9<{b}>) = 0
11 <... pwrite64 resumed>) = 9
11 fsync(8<{a}>) = 0
12 pwrite64(9<{b}>, "", 9, 9) = 9
""")) == {str(b)}


def test_a_sync_that_failed_or_never_came_back_saves_nothing(tmp_path: Path):
    a, b = tmp_path / "a", tmp_path / "b"
    for path in (a, b):
        path.touch()
    assert unsynced(calls(f"""
11 write(8<{a}>, "", 9) = 9
11 fsync(8<{a}>) = -1 EIO (Input/output error)
12 write(9<{b}>, "", 9) = 9
12 fsync(9<{b}> <unfinished ...>
""")) == {str(a), str(b)}


def test_what_is_not_synced_stays_so_under_a_new_name_and_is_gone_when_removed(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    log = f"""
11 write(8<{tmp_path}/.part/a.tmp>, "", 9) = 9
11 write(8<{tmp_path}/.part/b>, "", 9) = 9
11 rename("{tmp_path}/.part/a.tmp", "{tmp_path}/.part/a") = 0
11 unlink("{tmp_path}/.part/b") = 0
11 renameat2(AT_FDCWD</>, "{tmp_path}/.part", AT_FDCWD</>, "{tmp_path}/out", RENAME_NOREPLACE"""
    assert unsynced(calls(log + ") = 0")) == {str(tmp_path / "out" / "a")}
    assert unsynced(calls(log + " <unfinished ...>")) == {str(tmp_path / "out" / "a")}
    assert unsynced(calls(log + ") = -1 EEXIST (File exists)")) == set()


def test_only_calls_that_some_thread_reaches_in_every_run_are_counted_on():
    shares = {1: 2, 2: 5, 3: 2}  # of the first thread, and of two workers, who could have made 4 and 3
    found = [Call(thread, "pwrite64", nth + 1, (), 1) for thread, count in shares.items() for nth in range(count)]
    assert steady(found) == {("pwrite64", nth) for nth in range(1, 5)}
    assert steady([Call(1, "rename", 1, (), 0)]) == {("rename", 1)}
    assert steady([]) == frozenset()
