"""The documentation: its commands and code run, its links lead somewhere, its figures are saved."""

import importlib
import importlib.util
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import sed
from sed.cli import app, with_values
from sed.events.post_processing import read_post_processing
from streaming.cli.live.config_file import live_options, read_config
from streaming.cli.live.listen import listen
from streaming.live.rules.config import TABLES, rules_from_tables
from streaming.sinks.database import EventDatabase
from tests.conftest import ROOT, rising_noise
from train.config.recipe import load_recipe

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
SHOWN = ("text", "csv")  # languages of blocks that are only shown
PROGRAMS = ("sed", "sed-engine")
CHECKED = {"make", "pip", "python", "source"}  # other programs whose arguments are checked
# One engine for all, and short trainings: the figures of the pages come from elsewhere.
ADDED = {
    "detect": ("--engine", "torch"),
    "embed": ("--engine", "torch"),
    "search": ("--engine", "torch"),
    "train": ("--epochs", "1", "--set", "optim.n_workers=0"),
}
# Commands that start processes, each of which loads torch: run by make test-all, else only checked.
SLOW_OPTION = "--workers"
# Engines round differently: tolerance of times (three decimals, a frame) and of all other numbers.
A_FRAME, ROUNDING = 0.33, 0.02


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    not_run: str  # the reason; empty if it is run


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    assert text.count("```") == 2 * len(FENCE.findall(text)), "a block that is not closed"
    return [Block(m["language"], m["code"], m["reason"] or "") for m in FENCE.finditer(text)]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block, and the output that the page shows for it."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        yield from ((line, []) for line in lines if line.strip() and line.strip()[0] != "#")
        return
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[:1] == [0], "a console block starts with a command behind $"
    for first, last in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[first].removeprefix("$ "), lines[first + 1 : last]


def sed_arguments(command: str) -> list[list[str]]:
    """Return the arguments of each call of `sed` in a pipeline."""
    found = []
    for part in re.split(r"\s\|\s", command):
        words = shlex.split(part, comments=True)
        if words and words[0] in PROGRAMS:
            found.append(words[1:])
        elif "-m" in words and words[words.index("-m") + 1] == "sed":  # torchrun, python
            found.append(words[words.index("-m") + 2 :])
    return found


def parse(arguments: list[str]) -> None:
    """Raise what the command line raises for unknown options and values of the wrong type."""
    if not arguments or arguments[0].startswith("-"):
        return
    name, *rest = with_values(arguments)
    command = typer.main.get_command(app()).commands[name]  # type: ignore[attr-defined]
    while rest and rest[0] in (subcommands := getattr(command, "commands", {})):
        name, *rest = rest
        command = subcommands[name]
    command.make_context(name, rest).close()


def all_commands():
    """Yield each command, and those below it."""
    for command in typer.main.get_command(app()).commands.values():  # type: ignore[attr-defined]
        yield from (command, *getattr(command, "commands", {}).values())


def check_other(command: str) -> None:
    """Check what can be known about a command of another program without running it."""
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"\[([\w,-]+)\]", command):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), command
    elif program == "python" and words[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[2:]), command


def same(expected: list[str], found: list[str]) -> bool:
    """Return whether lines agree but for the rounding of numbers; … stands for any rest."""
    number = re.compile(r"\d+\.\d+")
    if "…" in expected:
        expected = list(takewhile(lambda line: line != "…", expected))
        found = found[: len(expected)]

    def close(a: str, b: str) -> bool:
        is_time = re.fullmatch(r"\d+\.\d{3}", a) is not None
        return abs(float(a) - float(b)) <= (A_FRAME if is_time else ROUNDING)

    return len(found) == len(expected) and all(
        number.sub("#", a) == number.sub("#", b)
        and all(map(close, number.findall(a), number.findall(b)))
        for a, b in zip(expected, found, strict=True)
    )


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """Return a folder with the recordings and clips that the pages mention."""
    folder = tmp_path_factory.mktemp("sounds")
    samples, rate = soundfile.read(ROOT / "examples" / "village.ogg", dtype="float32")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "recorder").mkdir()
    soundfile.write(folder / "dawn.wav", samples[: 30 * rate], rate)
    for name, start in (("20260504_063000.wav", 20), ("20260504_070000.wav", 100)):
        soundfile.write(folder / "recorder" / name, samples[start * rate :][: 12 * rate], rate)
    for label, tone in (("hum", 120.0), ("hiss", None)):
        (folder / "clips" / label).mkdir(parents=True)
        for i in range(5):
            clip = rising_noise(5 * 16_000, seed=i)
            if tone:
                clip = np.sin(2 * np.pi * tone * (1 + i / 9) * np.arange(len(clip)) / 16_000) / 2
            soundfile.write(folder / "clips" / label / f"{i}.wav", clip, 16_000)
    return folder


@pytest.fixture
def workspace(sounds, tmp_path, monkeypatch):
    """Work in an empty folder with those sounds, as if torch were the only engine installed."""
    for path in sounds.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "models"))
    find_spec = importlib.util.find_spec
    engines = ("openvino", "onnxruntime")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in engines else find_spec(name, *rest),
    )
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs_or_says_why_not(page, workspace):
    run_page(page, workspace, with_slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if SLOW_OPTION in page.read_text("utf-8")],
                         ids=lambda page: str(page.relative_to(ROOT)))  # fmt: skip
def test_every_slow_block_runs(page, workspace):
    run_page(page, workspace, with_slow=True)


def run_page(page, workspace, *, with_slow):
    names: dict[str, object] = {}
    for block in blocks(page):
        match block.language:
            case "sh" | "console":
                for command, expected in commands(block):
                    is_left = SLOW_OPTION in command and not with_slow
                    run_command(command, expected, block, only_check=is_left)
            case "python":
                code = compile(block.code, str(page), "exec")
                if block.not_run:
                    missing = [
                        n for n in re.findall(r"\bsed\.(\w+)", block.code) if n not in dir(sed)
                    ]
                    assert missing == []
                else:
                    exec(code, names)
            case "toml":
                path = workspace / "recipe.toml"
                path.write_text(block.code)
                if "[[rules]]" in block.code:
                    rules_from_tables(read_config(path, live_options(listen), TABLES)[1])
                    continue
                (read_post_processing if "[class." in block.code else load_recipe)(path)
            case "sql":
                EventDatabase(workspace / "events.sqlite").close()
                with closing(sqlite3.connect(workspace / "events.sqlite")) as database:
                    database.executescript(block.code)
            case language:
                assert language in SHOWN, f"a block in {language or 'no language'}"
                for line in block.code.splitlines():  # commands that were run for a figure
                    if line.startswith("sed ") and not line.endswith("\\"):
                        for arguments in sed_arguments(line):
                            parse(arguments)


def run_command(command, expected, block, *, only_check):
    calls = sed_arguments(command)
    if not calls:
        program = shlex.split(command)[0]
        assert block.not_run or program in CHECKED, f"{command}: neither run nor checked"
        check_other(command)
    elif block.not_run or only_check:
        for arguments in calls:
            parse(arguments)
    else:
        (arguments,) = calls
        added = ADDED.get(arguments[0], ()) if "--show-config" not in arguments else ()
        result = CliRunner().invoke(app(), [*with_values(arguments), *added])
        assert result.exit_code == 0, f"{command}:\n{result.stderr}\n{result.exception!r}"
        if expected:
            assert same(expected, result.stdout.splitlines()), f"{command}:\n{result.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:sed|streaming|train|tests|benchmarks|docs|examples)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_is_short_and_its_tree_is_that_of_the_repository():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    (tree,) = (b.code for b in blocks(ROOT / "README.md") if b.code.startswith("sed/"))
    assert len(tree.splitlines()) <= 25
    package = ""
    for line in tree.splitlines():
        folders = re.findall(r"(?<!\S)\w+/", line[:17])  # behind it are the explanations
        package = folders[0] if line[0] != " " else package
        for folder in folders:
            assert (ROOT / package / folder).is_dir() or (ROOT / folder).is_dir(), folder


def test_pages_of_figures_are_those_of_the_saved_results():
    from benchmarks import pages

    assert (ROOT / "docs" / "performance.md").read_text("utf-8") == pages.performance()
    assert (ROOT / "docs" / "live.md").read_text("utf-8") == pages.live_page.report()
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == pages.training_page.report()
    assert (ROOT / "docs" / "quality.md").read_text("utf-8") == pages.quality_page.report()
    assert pages.readme_table() in (ROOT / "README.md").read_text("utf-8")
    assert len(re.findall(r"^\| ", pages.readme_table(), re.MULTILINE)) <= 1 + 8


@pytest.mark.parametrize(
    "module",
    [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    ],
)
def test_every_benchmark_can_be_imported(module):
    if module == "benchmarks.figures.draw_web":
        pytest.importorskip("playwright")
    importlib.import_module(module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_in_the_text_exists(page):
    known = {name for c in all_commands() for p in c.params for name in p.opts} | {
        "--help",
        "--version",
        "--nproc-per-node",  # of torchrun
    }
    text = FENCE.sub("", page.read_text("utf-8"))
    mentioned = {name for code in re.findall(r"`([^`]+)`", text) for name in OPTION.findall(code)}
    assert mentioned - known == set()
