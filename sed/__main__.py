"""Start the commands `sed` and `sed-engine`.

An environment with this package hides the Unix `sed`. Arguments that are not a command of this
package therefore go to the next `sed` on the PATH at once, with the same input and environment,
before anything slow is imported.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress

# The names in sed.cli.COMMANDS, which is not imported here to save time.
OURS = frozenset(
    (
        "detect",
        "listen",
        "embed",
        "devices",
        "search",
        "score",
        "clips",
        "summary",
        "review",
        "prepare",
        "train",
        "evaluate",
        "fit",
        "predict",
        "tune",
        "plot",
        "bench",
        "export",
        "info",
        "models",
        "--help",
        "--install-completion",
        "--show-completion",
    )
)
NOT_FOUND = 127  # exit status of shells for an unknown command
LOOP_GUARD = "SED_ENGINE_TRIED"  # environment variable: process id, candidates tried


def main() -> None:
    """Run a command of this package, or replace the process with the Unix `sed`."""
    arguments = sys.argv[1:]
    if is_ours(sys.argv[0], arguments, os.environ):
        from sed.cli import run

        sys.exit(run(arguments))
    hint_at_ours(arguments[0])
    become_unix_sed(arguments)


def is_ours(program: str, arguments: list[str], environment: Mapping[str, str]) -> bool:
    """Return whether the arguments are for this package: a command, `--help`, or none at all.

    On Windows all are: no other `sed` belongs to it, and `exec` would not replace this process.
    `--verbose` may stand before a command; no Unix `sed` has that option.
    """
    if os.path.basename(program) != "sed" or not arguments or sys.platform == "win32":
        return True
    first = arguments[1:2] if arguments[0] in ("-v", "--verbose") else arguments[:1]
    return not OURS.isdisjoint(first) or "_SED_COMPLETE" in environment


def hint_at_ours(argument: str) -> None:
    """Print the command of this package that a misspelt word resembles."""
    if len(argument) < 4 or not argument.isalpha():
        return
    import difflib  # imported for words only, since scripts of the Unix sed are common

    if near := difflib.get_close_matches(argument, OURS, n=1, cutoff=0.75):
        print(f"sed: did you mean `sed {near[0]}`? This goes to the Unix sed:", file=sys.stderr)


def become_unix_sed(arguments: list[str]) -> None:
    """Replace this process with the next `sed` on the PATH that is not of this package."""
    # Python ignores these two signals, and exec inherits that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    environment = _environment()
    # A shim, as of pyenv, may lead back here. exec keeps the process id, which detects the loop.
    process, _, tried = environment.pop(LOOP_GUARD, "").partition(":")
    first = int(tried) if process == str(os.getpid()) and tried.isdigit() else 0
    for i, candidate in enumerate(_unix_seds()):
        if i >= first:
            guard = {LOOP_GUARD: f"{os.getpid()}:{i + 1}"} if _is_script(candidate) else {}
            with suppress(OSError):
                os.execve(candidate, ["sed", *arguments], environment | guard)
    print(
        f"sed: {arguments[0]!r} is no command of sed-engine (see `sed --help`), and no other "
        "`sed` is on the PATH",
        file=sys.stderr,
    )
    sys.exit(NOT_FOUND)


def _unix_seds() -> Iterator[str]:
    for folder in os.get_exec_path():
        candidate = os.path.join(folder, "sed")
        if os.access(candidate, os.X_OK) and not _is_this_command(candidate):
            yield candidate


def _is_this_command(path: str) -> bool:
    """Return whether a file is the entry script of this package, in any environment."""
    return b"sed.__main__" in _script(path)


def _is_script(path: str) -> bool:
    return bool(_script(path))


def _script(path: str) -> bytes:
    """Return the first bytes of a script; empty if the file is not a script."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return b""
    return head if head.startswith(b"#!") else b""


def _environment() -> dict[str, str]:
    """Return the environment that this process was started with.

    In the C locale Python sets LC_CTYPE to UTF-8 for itself and its children, in which `sed` would
    read characters instead of bytes.
    """
    environment = dict(os.environ)
    if environment.get("LC_CTYPE", "").upper().endswith(("UTF-8", "UTF8")):
        try:
            with open("/proc/self/environ", "rb") as file:
                given = file.read().split(b"\0")
        except OSError:
            return environment
        if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
            del environment["LC_CTYPE"]
    return environment


if __name__ == "__main__":
    main()
