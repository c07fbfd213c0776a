"""Run the command line: each command stands in the package it belongs to, loaded when called."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sed.errors import (
    FAILED,
    MISUSE,
    OK,
    MissingExtraError,
    SedError,
    UsageError,
    missing_extra,
)
from sed.text import without_controls

# Command: the module of its function, and the panel of `sed --help` that it is listed in.
COMMANDS = {
    "detect": ("streaming.cli.detect", "Detection"),
    "listen": ("streaming.cli.live.listen", "Detection"),
    "embed": ("streaming.cli.embed", "Embeddings"),
    "devices": ("streaming.cli.devices", "Detection"),
    "search": ("streaming.cli.search", "Embeddings"),
    "score": ("streaming.results.cli.score", "Results"),
    "clips": ("streaming.results.cli.clips", "Results"),
    "summary": ("streaming.results.cli.summary", "Results"),
    "review": ("streaming.results.cli.review", "Results"),
    "prepare": ("train.cli.prepare", "Training"),
    "train": ("train.cli.train", "Training"),
    "evaluate": ("train.cli.evaluate", "Training"),
    "fit": ("train.cli.fit", "Training"),
    "predict": ("train.cli.predict", "Training"),
    "tune": ("train.cli.tune", "Training"),
    "plot": ("train.cli.plot", "Training"),
    "bench": ("streaming.cli.bench", "Models"),
    "export": ("streaming.cli.export", "Models"),
    "models": ("streaming.cli.models", "Models"),
    "info": ("streaming.cli.info", "Models"),
}

# Values of options that may be given without one.
OPTIONAL_VALUES = {"--web": "127.0.0.1:8765", "--home-assistant": "all", "--print-unit": "system"}

HELP = (
    "Find sound events in recordings and live sound, and train models for it. "
    "All other arguments are passed on to the Unix sed."
)


def app(only: str | None = None) -> typer.Typer:
    """Return the application with all commands, or with one, which starts 0.1 s sooner."""
    sed = typer.Typer(
        name="sed",
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog="`sed-engine` is the same command under another name.",
    )
    sed.callback(help=HELP)(_root)
    for name, (module, panel) in COMMANDS.items():
        if only not in (None, name):
            continue
        function = getattr(importlib.import_module(module), name)
        if isinstance(function, typer.Typer):  # a command with commands of its own
            sed.add_typer(function, name=name, rich_help_panel=panel)
        else:
            sed.command(name, help=_unwrapped(function.__doc__), rich_help_panel=panel)(function)
    return sed


class _Commands(TyperGroup):
    """The commands; what click says about arguments steers no terminal, as all other messages."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments before the command."""
        with _clean_messages():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the arguments of the command, and run it."""
        with _clean_messages():
            return super().invoke(ctx)


@contextmanager
def _clean_messages() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Errors of click, of which typer has a copy of its own.
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = without_controls(message)
        raise


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"sed-engine {version('sed-engine')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit (with `sed-engine`; `sed --version` is the Unix sed).",
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print diagnostics to standard error.")
    ] = False,
) -> None:
    """Set what the library logs to standard error: warnings, or everything."""
    logging.getLogger("sed").setLevel(logging.DEBUG if verbose else logging.WARNING)
    show_log()


def _unwrapped(text: str) -> str:
    """Return paragraphs without the line breaks of the source, for a terminal of any width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def run(arguments: Sequence[str]) -> int:
    """Run a command and print its error, if there is one; return the exit status."""
    if sys.stdout is None or sys.stderr is None:  # closed by the parent process
        nowhere = open(os.devnull, "w")  # noqa: SIM115  # open until this process ends
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    # File names and labels are printed with their original bytes, UTF-8 or not.
    # Windows would write a pipe or a file in the code page of the country.
    encoding = "utf-8" if sys.platform == "win32" else None
    sys.stdout.reconfigure(encoding=encoding, errors="surrogateescape")  # type: ignore[union-attr]
    try:
        only = arguments[0] if arguments and arguments[0] in COMMANDS else None
        app(only)(with_values(arguments), prog_name="sed", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except UsageError as error:
        print(f"sed: {error}", file=sys.stderr)
        return MISUSE
    except SedError as error:
        print(f"sed: {error}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        if (missing := _missing_extra(arguments, error)) is None:
            raise
        print(f"sed: {missing}", file=sys.stderr)
        return FAILED
    except OSError as error:
        # A name that no system call takes, or a disk that fails where none is expected to.
        reason = without_controls(f"{error.strerror or error}: {error.filename or 'a file'}")
        print(f"sed: {reason}. Check the name and the disk.", file=sys.stderr)
        return FAILED
    return OK


def _missing_extra(
    arguments: Sequence[str], error: ModuleNotFoundError
) -> MissingExtraError | None:
    """Return the error that names the extra for a package that is not installed, if one has it."""
    command = next((argument for argument in arguments if argument in COMMANDS), "")
    # What trains needs all of its extra, whatever is missing first.
    is_training = command in COMMANDS and COMMANDS[command][1] == "Training"
    return missing_extra(f"sed {command}", error, "train" if is_training else None)


def with_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the values of `OPTIONAL_VALUES` where they are left out."""
    return [
        f"{argument}={OPTIONAL_VALUES[argument]}"
        if argument in OPTIONAL_VALUES and "".join(arguments[i + 1 : i + 2])[:1] in ("", "-")
        else argument
        for i, argument in enumerate(arguments)
    ]


def show_log(*, quiet: bool = False, verbose: bool = False) -> None:
    """Print the log of the library (logger ``sed``) to standard error, as ``sed: message``.

    Parameters
    ----------
    quiet
        Print errors only.
    verbose
        Print diagnostics too. Without either, warnings are printed, or what ``sed-engine -v`` set.
    """
    logger = logging.getLogger("sed")
    if quiet or verbose:
        logger.setLevel(logging.ERROR if quiet else logging.DEBUG)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())


class _StderrHandler(logging.Handler):
    """Print a record to `sys.stderr` as it is at that moment: commands redirect it."""

    def emit(self, record: logging.LogRecord) -> None:
        message = without_controls(self.format(record))
        print(f"sed: {message}", file=sys.stderr, flush=True)
