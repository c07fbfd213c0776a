"""Open a database of events, lock it as another process would, and read its rows."""

import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone

from sed.events.tracker import Event
from streaming.messages import Gap
from streaming.sinks import database as database_module
from streaming.sinks.database import EventDatabase

START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))


def event(onset, label="dog", source="mic", length=1.5):
    return Event(onset, onset + length, label, 0.8, source, START + timedelta(seconds=onset))


def gap(onset):
    time = START + timedelta(seconds=onset)
    return Gap("mic", onset, onset + 1, 48_000, "the device was gone", time)


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def opened(path, **options):
    database = EventDatabase(path, **options)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def held_by_another(path):
    """Hold the write lock of a database, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def handle_at_the_next_retry(database, message):
    time.sleep(database_module.RETRY_SECONDS)
    return database.handle(message)
