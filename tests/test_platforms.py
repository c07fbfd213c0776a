"""What runs where there is no POSIX: simulated, in a process without what Windows does not have."""

import os
import subprocess
import sys

import pytest

import sed
from sed.__main__ import is_ours
from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "village.ogg"
# Modules and names that Windows does not have. The standard library and packages choose their
# branch when they are imported, so they are before these are taken away.
PRELUDE = """
import asyncio, concurrent.futures.process, ctypes, multiprocessing.resource_tracker
import getpass, http.client, mmap, os, select, shutil, signal, socket, sqlite3, ssl, subprocess
import sys, tempfile, time, urllib.request, zoneinfo
import google.protobuf, numpy, onnxruntime, safetensors, scipy.signal, soundfile, soxr
import rich.console, rich.live, rich.progress, rich.table, typer, typer.rich_utils

for module in ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "termios", "tty"):
    sys.modules[module] = None
for place, names in (
    (os, '''chown confstr copy_file_range fchmod fchown fdatasync fork forkpty fstatvfs
        get_blocking getegid geteuid getgid getgroups getloadavg getpgid getppgid getuid killpg
        lchown mkfifo mknod nice openpty posix_fadvise posix_fallocate pread preadv pwrite
        pwritev readv register_at_fork sched_getaffinity sched_setaffinity sendfile set_blocking
        setpgid setsid statvfs sync sysconf uname wait3 wait4 waitid O_CLOEXEC O_DIRECTORY O_DSYNC
        O_NOFOLLOW O_NONBLOCK O_SYNC SEEK_HOLE'''),
    (signal, '''SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2
        SIGWINCH SIGXFSZ alarm pthread_kill pthread_sigmask setitimer sigpending sigwait'''),
    (select, "epoll poll"),
    (socket, "AF_UNIX socketpair"),
    (time, "tzset"),
):
    for name in names.split():
        vars(place).pop(name, None)
def os_kill(process, number):
    raise AssertionError("os.kill of Windows ends the process")
os.kill = os_kill
sys.platform = "win32"
"""


def run_without_posix(program, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",  # the messages are in the code page
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
        **options,
    )


def run_command(*arguments, **options):
    program = "from sed.__main__ import main\nsys.argv[0] = 'sed'\nmain()\n"
    return run_without_posix(program, *arguments, **options)


def test_the_events_of_the_example_are_found(tmp_path):
    classes = ("--classes", "rooster,dog,siren")
    output = tmp_path / "œuvre ─ village.csv"
    done = run_command("detect", EXAMPLE, "--engine", "onnx", *classes, "--output", output)
    assert done.returncode == 0, done.stderr
    found = [event.label for event in sed.read_events(output, "csv")]
    assert found == ["rooster", "dog", "siren"]


def test_what_has_a_branch_of_its_own_works(tmp_path):
    program = """
from pathlib import Path
from types import SimpleNamespace

# Here it has another library, which opens no names in UTF-16.
soundfile._sys = SimpleNamespace(**vars(sys) | {"platform": "linux"})
import numpy as np
import sed, sed.files, sed.cli
from sed.audio.sound_file import FlacFile
from sed.audio.start_time import time_zone
from sed.models.devices import has_gpu, n_cores
from streaming.offline.workers import _one_core_and_no_signals
from streaming.sinks.alerts.command import _kill, _split_command
from streaming.live.microphone import Microphone
from streaming.sinks.event_file import EventFileSink
from streaming.web.connections import _max_descriptors
import streaming.cli.live.listen, streaming.offline.scan

sound = np.sin(np.arange(8_000, dtype=np.float32) / 9)[:, None] / 2
file = FlacFile("sound.flac", 8_000, 1)
file.write(sound)
assert not file.is_deleted
file.close()
try:
    os.fstat(file._descriptor)
except OSError:
    pass
else:
    raise AssertionError("left open")
read = sed.read_recording("sound.flac", 8_000)
assert np.abs(read - sound[:, 0]).max() < 1e-6

Path(".left.csv.4321.part").touch()
with sed.files.written_whole("left.csv") as part:
    part.write_text("whole")
sed.files.remove_parts(["left.csv"])
assert {path.name for path in Path().iterdir()} == {"sound.flac", "left.csv"}
with sed.files.locked("lock", print):
    pass
sed.files.private_folder()

with _one_core_and_no_signals():
    pass
assert n_cores() >= 1
sys.modules["torch"] = None
assert not has_gpu()
assert _max_descriptors() == sys.maxsize
os.environ.pop("TZ", None)
os.path.realpath = lambda path: r"C:\\etc\\localtime"
try:
    time_zone("local")
except sed.UsageError as error:
    assert "is not set" in str(error)

shutil.which = lambda name: name
program, *rest = _split_command(r"C:\\bin\\notify.exe 'a b' {label}")
assert (program, rest) == (r"C:\\bin\\notify.exe", ["a b", "{label}"])

class Process:
    def kill(self):
        print("killed")

_kill(Process())
assert sed.cli.run(["--help"]) == 0
from sed.__main__ import main
sys.argv = ["sed", "s/a/b/"]
main()
"""
    done = run_without_posix(program, cwd=tmp_path)
    assert done.stdout.startswith("killed\n"), done.stderr
    assert "detect" in done.stdout
    assert done.returncode == 2
    assert "No such command 's/a/b/'" in done.stderr
    assert "GPU" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["s/a/b/"], ["--version"], ["-n", "p"]])
def test_there_everything_is_for_this_package(monkeypatch, arguments):
    assert not is_ours("sed", arguments, {})
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_ours("sed", arguments, {})
