"""Read tables of links, and download what they name.

A table of links has the columns ``url`` and ``label``, and optionally ``start`` and ``end``, in
seconds or as ``h:mm:ss``, and all others of an index, see `train.data.tables.write_index`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from sed.errors import OutputError, SedError, TableError
from sed.events.reading.header import read_columns
from sed.events.reading.table import read_text_table
from sed.text import printable
from train.data.clips import Clip
from train.data.csv_rows import RowErrors, require, write_rows
from train.data.formats import FORMATS
from train.data.row_formats import index_clip
from train.prepare.download import DownloadConfig, Downloader
from train.prepare.download_files import DOWNLOADS, Download, finished_path, load_download
from train.prepare.manifest import FAILURES, Manifest

# Protocols that a table may name: one that others made must not read files of this machine.
PROTOCOLS = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "hf")
_MINUTE = 60


def is_links(source: Path) -> bool:
    """Return whether a file is a table of links, and not one of files that are there."""
    if not os.path.isfile(source):
        return False
    header = read_columns(source)
    return "url" in header and not any(table.fits(header) for table in FORMATS.values())


def read_links(path: Path) -> list[Clip]:
    """Return the clips of a table of links; the path of each is its url.

    Raises
    ------
    TableError
        If it has no labels, or any row is faulty; all faulty rows are listed.
    """
    table = read_text_table(path)
    name = printable(str(path))
    for column in ("url", "label"):
        if column not in table.columns:
            raise TableError(f"{name}: a table of links needs a column {column}. Add it.")
    errors = RowErrors(path, len(table.rows))
    clips = []
    for i, row in table.records():
        with errors.row(i, row["url"]):
            require(row, ("url",))
            clips.append(_clip(row))
    errors.finish(table.assumed)
    if not clips:
        raise TableError(f"{name}: holds no rows. Check it.")
    return clips


def _clip(row: Mapping[str, str]) -> Clip:
    url = row["url"].strip()
    if urlsplit(url).scheme not in PROTOCOLS or not urlsplit(url).hostname:
        raise ValueError(f"expected an address that starts with one of {', '.join(PROTOCOLS)}://")
    if not url.isprintable() or " " in url:
        raise ValueError("an address has no spaces and no control characters")
    start = seconds_of(row.get("start", ""))
    end = seconds_of(row.get("end", ""))
    times = {"start": str(float(start or 0))}
    if end is not None:
        if row.get("duration", "").strip():
            raise ValueError("both an end and a duration; leave one of them empty")
        if end <= (start or 0):
            raise ValueError(f"ends at {row['end'].strip()}, not after its start")
        times["duration"] = str(float(end - (start or 0)))
    clip = index_clip({**row, **times, "file": url}, lambda name: name)
    return clip if clip.group else replace(clip, group=url)


def seconds_of(cell: str) -> Fraction | None:
    """Return a time, in seconds or as ``h:mm:ss`` or ``m:ss``; None for an empty cell.

    >>> float(seconds_of("1:02:03.5"))
    3723.5

    Raises
    ------
    ValueError
        If it is no time, or negative.
    """
    if not cell.strip():
        return None
    parts = cell.strip().replace(",", ".").split(":")
    wrong = ValueError(f"expected seconds or h:mm:ss, got {cell.strip()!r}")
    if len(parts) > 3 or not all(part.replace(".", "", 1).isdecimal() for part in parts):
        raise wrong
    *whole, last = map(Fraction, parts)
    if any(part.denominator != 1 for part in whole):
        raise wrong
    if any(part >= _MINUTE for part in [*whole[1:], *[last] * bool(whole)]):
        raise wrong
    seconds = Fraction(0)
    for part in [*whole, last]:
        seconds = seconds * _MINUTE + part
    return seconds


@dataclass(frozen=True)
class LinkCallbacks:
    """Functions that `download_clips` calls as it proceeds."""

    on_start: Callable[[int, int], None] = lambda *_: None  # urls to download, and there already
    on_download: Callable[[int], None] = lambda _: None  # bytes of a download
    on_error: Callable[[SedError], None] = lambda _: None  # of a download


def download_clips(
    clips: Sequence[Clip],
    folder: Path,
    manifest: Manifest,
    config: DownloadConfig,
    callbacks: LinkCallbacks,
) -> tuple[list[Clip], dict[str, str], list[SedError]]:
    """Download the urls of clips into a prepared folder, each once, and record them.

    Parameters
    ----------
    clips
        As `read_links` returns them.
    folder, manifest
        The prepared folder, and its record.
    config
        How to download.
    callbacks
        Called as downloads are done.

    Returns
    -------
    tuple
        The clips whose urls are downloaded, as clips of files: the licence that a page gives is
        that of clips for which the table has none. The url of each file. The errors of the others.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full.
    """
    place = folder / DOWNLOADS
    urls = list(dict.fromkeys(clip.path for clip in clips))
    known = {url: load_download(place, url) for url in urls}
    todo = [url for url in urls if finished_path(place, known[url]) is None]
    manifest.downloads |= dict.fromkeys(urls) | {url: known[url] for url in urls if url not in todo}
    manifest.save(folder)
    callbacks.on_start(len(todo), len(urls) - len(todo))
    results = Downloader(place, config, callbacks.on_download, callbacks.on_error).run(todo)
    errors = {url: error for url, error in results.items() if isinstance(error, SedError)}
    manifest.failures |= {url: str(error) for url, error in errors.items()}
    manifest.downloads |= {
        url: result for url, result in results.items() if isinstance(result, Download)
    }
    local, origins = [], {}
    for clip in clips:
        if (download := manifest.downloads[clip.path]) is not None:
            path = os.path.abspath(place / download.file)
            origins[path] = clip.path
            local.append(replace(clip, path=path, licence=clip.licence or download.licence))
    return local, origins, list(errors.values())


def write_failures(folder: Path, failures: Mapping[str, str]) -> None:
    """Write the table of urls that failed, with the reasons; remove it where there are none.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    path = folder / FAILURES
    if failures:
        write_rows(path, pd.DataFrame(failures.items(), columns=["url", "reason"]))
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path, error) from error
