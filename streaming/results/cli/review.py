"""Define the command `sed review`. Heavy libraries are imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streaming.results.cli.options import (
    CHOICE,
    OUTPUT,
    Audio,
    Classes,
    Events,
    MaxFrequency,
    Quiet,
)

PAGE = "Page"


def review(
    events: Events,
    db: Annotated[
        Path,
        typer.Option(
            help="Database of the decisions; reviews.tsv and reviews.csv lie beside it. An "
            "existing one is continued.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("reviews.sqlite"),
    reviewer: Annotated[
        str,
        typer.Option(help="Who decides; the page can change it.", rich_help_panel=OUTPUT),
    ] = "",
    web: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Address of the page.", rich_help_panel=PAGE),
    ] = "127.0.0.1:8765",
    token: Annotated[
        str | None,
        typer.Option(
            help="Password of the page; needed if other machines can reach it.",
            envvar="SED_TOKEN",
            rich_help_panel=PAGE,
        ),
    ] = None,
    pad: Annotated[
        float,
        typer.Option(help="Seconds of sound before and after an event.", rich_help_panel=PAGE),
    ] = 1.0,
    max_frequency: MaxFrequency = None,
    classes: Classes = "",
    min_score: Annotated[
        float,
        typer.Option(
            help="Only events with this score or more.",
            show_default="all",
            rich_help_panel=CHOICE,
        ),
    ] = float("-inf"),
    audio: Audio = None,
    quiet: Quiet = False,
) -> None:
    """Say of each event whether it is right, on a local page, with its sound and spectrogram.

    The page shows the precision by score and suggests a threshold. Each decision is on the disk
    at once. Ctrl-C ends it and writes reviews.tsv, which `sed score`, `sed train` and
    `sed fit` read, and reviews.csv with all decisions.
    """
    from threading import Event

    from sed.cli import show_log
    from sed.errors import UsageError
    from sed.signals import GracefulExit
    from sed.text import pluralize
    from streaming.results.cli.reading import read_events, table_folders
    from streaming.results.review.export import tables_to_review
    from streaming.results.review.server import serve_review
    from streaming.results.review.session import ReviewSession
    from streaming.results.review.store import ReviewStore
    from streaming.web.http_server import parse_address

    show_log(quiet=quiet)
    if not 0 <= pad < float("inf"):
        raise UsageError(f"expected a padding of 0 s or more, got {pad:g}")
    host, port = parse_address(web)
    table = read_events(tables_to_review(events, db), classes)
    table = table.take(table.score >= min_score)
    if not len(table):
        raise UsageError("there are no events to review")
    ended = Event()
    with ReviewStore(db) as store, GracefulExit(ended.set):
        session = ReviewSession(
            table,
            store,
            audio=audio or (),
            tables=table_folders(events),
            pad_seconds=pad,
            max_hz=max_frequency,
            reviewer=reviewer,
        )
        server = serve_review(
            session, host, port, token=token, report=lambda text: print(text, file=sys.stderr)
        )
        if not quiet:
            print(f"review {pluralize(len(session.queue), 'event')} at {server.url}", flush=True)
        try:
            ended.wait()
        finally:
            server.close()
            paths = session.export(at_most_every=0.0)
    if not quiet and paths is not None:
        n = pluralize(len(store.decisions), "reviewed event")
        print(f"{n}; labels in {paths[0]}, all decisions in {paths[1]}")
