"""Files are whole or absent, those of killed processes are removed, and a lock has one holder."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sed.errors import OutputError, UsageError
from sed.files import (
    MAX_NAME_BYTES,
    locked,
    parse_json,
    remove_parts,
    short_name,
    written_whole,
)

WRITE = """
import sys, time
from sed.files import locked, written_whole
with {what} as part:
    open(part or "/dev/null", "w").write("half")
    print("on", flush=True)
    time.sleep(60)
"""


def running(what):
    """Return a process that is within a `with` of this expression."""
    program = [sys.executable, "-c", WRITE.format(what=what)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"on\n"
    return process


def test_parts_are_removed_when_their_process_has_been_killed_and_not_before(tmp_path):
    target = tmp_path / "a.csv"
    with running(f"written_whole({str(target)!r})") as process:
        part = tmp_path / f".a.csv.{process.pid}.part"
        beside = tmp_path / f"{part.name}.frames"
        beside.write_text("rows")
        others = [tmp_path / name for name in (".b.csv.77.part", ".a.csv.part", "a.csv.77.part")]
        for other in others:
            other.write_text("of something else")
        remove_parts([target])
        remove_parts([tmp_path / "b.csv"])
        assert (part.read_text(), beside.exists(), others[0].exists()) == ("half", True, False)
        process.kill()
    remove_parts([target])
    assert sorted(tmp_path.iterdir()) == sorted(others[1:])
    (tmp_path / ".c.77.part").write_text("")
    remove_parts([tmp_path])
    assert sorted(tmp_path.iterdir()) == sorted(others[1:])


def test_threads_that_write_one_file_take_turns(tmp_path):
    target, errors = tmp_path / "a", []

    def write(n):
        try:
            for _ in range(20):
                with written_whole(target) as part:
                    part.write_text(str(n) * 1000)
        except OutputError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len({*target.read_text()}) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_leaves_the_file_of_before(tmp_path):
    target = tmp_path / "a"
    target.write_text("before")

    def fail():
        with written_whole(target) as part:
            part.write_text("after")
            raise OSError(28, "full")

    with pytest.raises(OutputError, match="cannot write: full"):
        fail()
    assert (target.read_text(), os.listdir(tmp_path)) == ("before", ["a"])


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    path = tmp_path / "lock"
    with running(f"locked({str(path)!r}, print)") as process:

        def refuse(holder):
            raise UsageError(holder)

        with (
            pytest.raises(UsageError, match=f"process {process.pid} on "),
            locked(path, refuse),
        ):
            pass
        holders = []
        threading.Timer(0.2, process.send_signal, [signal.SIGKILL]).start()
        with locked(path, holders.append):
            assert len(holders) == 1
            assert process.wait() == -signal.SIGKILL
    assert not path.exists()


def test_a_process_that_is_forked_does_not_keep_the_lock(tmp_path):
    path = tmp_path / "lock"
    with locked(path, pytest.fail):
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
    try:
        with locked(path, pytest.fail):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a" * 250 + ".wav", "\udcff" * 240])
def test_the_longest_names_can_be_written(tmp_path, name):
    with written_whole(tmp_path / name) as part:
        part.write_text("x")
        assert len(os.fsencode(part.name)) + len(".frames") <= MAX_NAME_BYTES
    assert os.listdir(tmp_path) == [name]


def test_names_that_are_too_long_stay_different():
    names = [f"{'ö' * 200}{n}.wav" for n in range(100)]
    short = [short_name(name) for name in names]
    assert len({*short}) == 100
    assert max(len(os.fsencode(name)) for name in short) <= MAX_NAME_BYTES
    assert all(name.endswith(".wav") and "~" in name for name in short)
    assert short_name("x" * 255) == "x" * 255


def test_json_that_is_nested_too_deeply_is_a_value_error():
    with pytest.raises(ValueError, match="too deeply"):
        parse_json("[" * 100_000)
