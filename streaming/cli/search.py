"""The command `sed search`. Modules that are slow to import are imported when it runs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import pluralize, printable
from streaming.cli.options import (
    MODEL,
    OUTPUT,
    Channel,
    Device,
    Engine,
    Quiet,
    SpreadsheetSafe,
    Verbose,
)

if TYPE_CHECKING:
    from sed.events.tracker import Event
    from streaming.search.exact import OnProgress

SEARCH, LABELLING = "Search", "What to label next"


def search(
    store: Annotated[
        Path,
        typer.Argument(
            metavar="STORE",
            help="Folder of embeddings that `sed embed` wrote.",
            show_default=False,
        ),
    ],
    like: Annotated[
        list[str] | None,
        typer.Option(
            help="Example of the sound: a recording, or a part of one, in seconds "
            "(clip.wav:3.2-5.0). May be repeated.",
            metavar="FILE[:FROM-TO]",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            help="Example of what the sound is not. May be repeated.",
            metavar="FILE[:FROM-TO]",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Number of results.", rich_help_panel=SEARCH)] = 50,
    metric: Annotated[
        str,
        typer.Option(
            metavar="cosine|dot",
            help="Similarity: the cosine of the angle between vectors, or their dot product.",
            rich_help_panel=SEARCH,
        ),
    ] = "cosine",
    negative_weight: Annotated[
        float,
        typer.Option(help="Weight of --unlike against --like.", rich_help_panel=SEARCH),
    ] = 0.5,
    dedupe: Annotated[
        bool,
        typer.Option(
            "--dedupe",
            help="Of results of one recording that overlap or touch, and of results that are "
            "nearly identical, keep the best.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    dedupe_seconds: Annotated[
        float | None,
        typer.Option(
            help="With --dedupe: keep one of results of one recording that are at most so far "
            "apart, in seconds.",
            show_default="0",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    dedupe_similarity: Annotated[
        float | None,
        typer.Option(
            help="With --dedupe: cosine similarity above which two results are the same sound; 1 "
            "compares none.",
            show_default="0.99",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="First build the approximate index of the store, or add what it lacks. Without "
            "--like, do nothing else. Later searches use it.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Read all rows, also if there is an index.", rich_help_panel=SEARCH
        ),
    ] = False,
    diverse: Annotated[
        bool,
        typer.Option(
            "--diverse",
            help="Cluster the best rows, and return one of each cluster; without --like, of all "
            "rows.",
            rich_help_panel=LABELLING,
        ),
    ] = False,
    uncertain: Annotated[
        bool,
        typer.Option(
            "--uncertain",
            help="Return rows that are about as similar to --unlike as to --like.",
            rich_help_panel=LABELLING,
        ),
    ] = False,
    candidates: Annotated[
        int | None,
        typer.Option(
            help="Rows that --diverse and --uncertain choose from.",
            show_default="20 per result",
            rich_help_panel=LABELLING,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model of the store, if it has been moved.",
            show_default="where the store says",
            rich_help_panel=MODEL,
        ),
    ] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    channel: Channel = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the results; its ending gives the format.",
            show_default="standard output",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="csv|jsonl|audacity|raven|tsv|parquet",
            help="Format of the results.",
            show_default="by the ending of --output, else csv",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            help="Label of the results.",
            show_default="the name of the first example",
            rich_help_panel=OUTPUT,
        ),
    ] = "",
    spreadsheet_safe: SpreadsheetSafe = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the sounds in a store of embeddings that are most like examples.

    Results are events, the most similar first, whose score is the similarity.
    """
    from sed.cli import show_log
    from sed.errors import UsageError
    from sed.files import refuse_to_replace
    from streaming.search.examples import parse_example
    from streaming.search.index import update_index
    from streaming.search.search import SearchConfig
    from streaming.search.search import search as search_store

    show_log(quiet=quiet, verbose=verbose)
    if index and exact:
        raise UsageError("--index and --exact exclude each other: leave one out")
    config = SearchConfig(
        top=top,
        metric=metric,
        negative_weight=negative_weight,
        dedupe_seconds=(dedupe_seconds or 0.0) if dedupe else None,
        dedupe_similarity=0.99 if dedupe_similarity is None else dedupe_similarity,
        diverse=diverse,
        uncertain=uncertain,
        candidates=candidates,
        label=label,
    )
    if not dedupe:
        for option, value in (("seconds", dedupe_seconds), ("similarity", dedupe_similarity)):
            if value is not None:
                raise UsageError(f"--dedupe-{option} needs --dedupe")
    format = _checked_format(output, format)
    refuse_to_replace(
        output, [parse_example(text).file for text in [*(like or ()), *(unlike or ())]]
    )
    shown = not quiet and sys.stderr.isatty()
    if index:
        with ExitStack() as stack:
            update_index(store, metric=metric, on_progress=_progress(stack, "index", shown=shown))
    if not index or like or unlike or diverse:
        with ExitStack() as stack:
            events = search_store(
                store,
                like or (),
                unlike or (),
                config=config,
                model=model,
                channel=channel,
                engine=engine,
                device=device,
                exact=exact,
                on_progress=_progress(stack, "search", shown=shown),
            )
        _write(events, output, format, spreadsheet_safe=spreadsheet_safe)


def _checked_format(output: Path | None, format: str | None) -> str:
    """Return the format of the results; refuse one that does not exist before the search."""
    from sed.errors import UsageError
    from sed.events.writing.formats import TEXT_WRITERS, WRITERS, format_of
    from sed.text import near

    if format is None:
        return "csv" if output is None else format_of(output, WRITERS)
    if format not in WRITERS:
        raise UsageError(f"unknown format {format!r}. {near(format, WRITERS)}")
    if output is None and format not in TEXT_WRITERS:
        raise UsageError(f"{format} needs a file of its own: give --output")
    return format


def _progress(stack: ExitStack, name: str, *, shown: bool) -> OnProgress | None:
    """Return a callback that draws a bar until the stack is closed."""
    from streaming.cli.progress import progress_bar

    bar = stack.enter_context(progress_bar(shown=shown))
    if bar is None:
        return None
    task = bar.add_task(name, total=None, speed="")

    def on_progress(n_done: int, n_rows: int) -> None:
        bar.update(task, completed=n_done, total=n_rows, speed=f"{n_done:,} rows")

    return on_progress


def _write(
    events: list[Event], output: Path | None, format: str, *, spreadsheet_safe: bool
) -> None:
    from sed.events.writing.formats import open_writer
    from sed.files import written_whole

    if format == "audacity" and len({event.file for event in events}) > 1:
        print(
            "sed: the results are in several recordings, and Audacity labels do not say in which: "
            "choose another format, such as raven",
            file=sys.stderr,
        )
    with ExitStack() as stack:
        target = sys.stdout if output is None else stack.enter_context(written_whole(output))
        dated = any(event.time for event in events)
        with open_writer(target, format, dated=dated, spreadsheet_safe=spreadsheet_safe) as writer:
            for event in events:
                writer.write(event)


def describe_store(path: Path) -> str:
    """Return rows, size, what the vectors are, and whether the index is current."""
    from sed.events.embedding_store.store import EmbeddingStore
    from streaming.search.index import read_state

    store = EmbeddingStore(path)
    config = store.config
    index = "none"
    if state := read_state(store):
        missing = f"lacks {pluralize(state.n_missing, 'row')}" if state.n_missing else "current"
        index = f"{state.metric}, {missing}"
    return "\n".join(
        [
            f"{printable(str(path))}: a store of embeddings",
            f"  rows      {store.n_rows:,} of {pluralize(store.n_recordings, 'recording')}, "
            f"{store.n_bytes / 1e6:,.1f} MB",
            f"  vectors   {config.dimension} values, {', '.join(config.pool)} of the layer "
            f"{config.layer}",
            f"  cut       {config.cut}",
            f"  model     {printable(config.model)} ({config.model_sha256})",
            f"  index     {index}",
            "  made with " + ", ".join(f"{k} {v}" for k, v in config.versions.items()),
        ]
    )
