"""Name the files of downloads, and record how far each has come.

The sound of a url is ``downloads/NAME.SUFFIX``, where NAME is made of a hash of the url;
``NAME.json`` has its facts, and ``.NAME.part`` the bytes so far.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import OutputError
from sed.files import parse_json, written_whole

DOWNLOADS = "downloads"
_MAX_STEM, _HASH_DIGITS = 40, 16
_SUFFIXES = SOUND_SUFFIXES | CONTAINER_SUFFIXES
_FORMATS = {"audio/x-wav": ".wav", "audio/vnd.wave": ".wav", "audio/mp4": ".m4a"}


@dataclass(frozen=True)
class Download:
    """The sound of a url on the local disk, and what is known of it.

    Attributes
    ----------
    url
        Where it comes from.
    file
        Its name in ``downloads/`` once it is whole; empty before.
    n_bytes
        Size of the whole file; None if unknown.
    tag
        Version of the file, as the server calls it; empty if unknown.
    licence, uploader, title, page
        Of a work on a web page, as far as the page says; empty if unknown.
    """

    url: str
    file: str = ""
    n_bytes: int | None = None
    tag: str = ""
    licence: str = ""
    uploader: str = ""
    title: str = ""
    page: str = ""


def name_of(url: str) -> str:
    """Return the name of a download without its suffix: safe on any disk, and unique.

    >>> name_of("https://example.org/sounds/red%20kite.mp3?x=1")
    'red-kite-2f25df76a0432a40'
    """
    stem = PurePosixPath(unquote(urlsplit(url).path, errors="replace")).stem
    readable = re.sub(r"[^A-Za-z0-9]+", "-", stem)[:_MAX_STEM].strip("-").lower()
    digest = hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH_DIGITS]
    return f"{readable}-{digest}" if readable else digest


def sound_suffix(url: str, content_type: str = "") -> str:
    """Return the file name ending of a sound by its url, or else by its type; empty if unknown."""
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    if suffix in _SUFFIXES:
        return suffix
    kind = content_type.lower()
    guess = _FORMATS.get(kind) or mimetypes.guess_extension(kind) or ""
    return guess if guess in _SUFFIXES else ""


def part_path(folder: Path, url: str) -> Path:
    """Return the path of the bytes so far of a url."""
    return folder / f".{name_of(url)}.part"


def load_download(folder: Path, url: str) -> Download:
    """Return the facts of a download; where there are none, or they are damaged, new ones."""
    try:
        download = Download(**parse_json(_facts_path(folder, url).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Download(url)
    # A name that others wrote must not lead elsewhere.
    stem, dot, suffix = download.file.partition(".")
    is_named = stem == name_of(url) and suffix.isalnum() == bool(dot)
    return download if download.url == url and (not download.file or is_named) else Download(url)


def save_download(folder: Path, download: Download) -> None:
    """Write the facts of a download, whole or not at all.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    with written_whole(_facts_path(folder, download.url)) as part:
        part.write_text(json.dumps(asdict(download), indent=1), "utf-8")


def finished_path(folder: Path, download: Download) -> Path | None:
    """Return the path of a download that is whole; None if it is not.

    A process may have been killed between recording that it is whole and renaming it.
    """
    if not download.file:
        return None
    path, part = folder / download.file, part_path(folder, download.url)
    try:
        if not path.exists() and part.exists() and part.stat().st_size == download.n_bytes:
            os.replace(part, path)
        return path if path.exists() and path.stat().st_size == download.n_bytes else None
    except OSError as error:
        raise OutputError(path, error) from error


def files_of(folder: Path, urls: Iterable[str]) -> list[Path]:
    """Return all files of a folder that belong to urls, whole or partial."""
    names = {name_of(url) for url in urls}
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return [path for path in files if path.name.removeprefix(".").partition(".")[0] in names]


def _facts_path(folder: Path, url: str) -> Path:
    return folder / f"{name_of(url)}.json"
