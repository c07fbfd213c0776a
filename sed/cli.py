"""The table of commands. Each stands beside what it calls, and is loaded when it is called."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Sequence

import typer

from sed.errors import FAILED, MISUSE, OK, SedError, UsageError

COMMANDS = {
    "detect": "streaming.cli.detect",
    "listen": "streaming.cli.listen",
    "devices": "streaming.cli.devices",
    "prepare": "train.cli.prepare",
    "train": "train.cli.train",
    "evaluate": "train.cli.evaluate",
    "predict": "train.cli.predict",
    "plot": "train.cli.plot",
    "bench": "streaming.cli.bench",
    "export": "streaming.cli.export",
    "info": "streaming.cli.info",
}

LEFT_OUT = {"--web": "127.0.0.1:8765"}  # what an option means that is given without its value


def app() -> typer.Typer:
    """Return the application with all commands."""
    sed = typer.Typer(
        name="sed",
        help="Find sound events in recordings, and train models that do. "
        "Anything else is passed on to the Unix sed.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog="`sed-engine` is this same command under a name of its own.",
    )
    for name, home in COMMANDS.items():
        function = getattr(importlib.import_module(home), name)
        sed.command(name, help=_unwrapped(function.__doc__))(function)
    return sed


def _unwrapped(text: str) -> str:
    """Return paragraphs without the line breaks of the source, for a terminal of any width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit status, with what went wrong said on stderr."""
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started us
        nowhere = open(os.devnull, "w")  # noqa: SIM115  # as long as this process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    # File names and labels go out as they came in, whatever bytes they hold.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        app()(with_values(arguments), prog_name="sed", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except UsageError as error:
        print(f"sed: {error}", file=sys.stderr)
        return MISUSE
    except SedError as error:
        print(f"sed: {error}", file=sys.stderr)
        return FAILED
    return OK


def with_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with the values that may be left out."""
    return [
        f"{argument}={LEFT_OUT[argument]}"
        if argument in LEFT_OUT and "".join(arguments[i + 1 : i + 2])[:1] in ("", "-")
        else argument
        for i, argument in enumerate(arguments)
    ]


def show_log(*, quiet: bool = False, verbose: bool = False) -> None:
    """Print what the library logs to standard error: its warnings, all of it, or errors only.

    Parameters
    ----------
    quiet
        Print errors only.
    verbose
        Print diagnostics too.
    """
    logger = logging.getLogger("sed")
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())


class _StderrHandler(logging.Handler):
    """Print a record to `sys.stderr` as it is at that moment: commands redirect it."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "sed: " if record.levelno >= logging.WARNING else ""
        print(f"{prefix}{self.format(record)}", file=sys.stderr, flush=True)
