"""Download the sound of web pages, such as those of videos, with yt-dlp."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sed.errors import MissingExtraError, RecordingError
from sed.text import printable
from train.prepare.download_files import Download, name_of

NOTE = (
    "web pages are downloaded with yt-dlp (public domain, the Unlicense): the terms of each site "
    "and the licence of each work apply to what you do with the sound"
)
_logger = logging.getLogger("sed.prepare")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def download_page(
    url: str,
    folder: Path,
    *,
    max_bytes: int,
    pause_seconds: float,
    check: Callable[[], None],
) -> Download:
    """Download the best sound of a web page, as it is; no other program converts it.

    No cookies and no configuration of the user are read. A partial file is continued.

    Parameters
    ----------
    url
        Address of a page with one recording.
    folder
        Where the file goes.
    max_bytes
        Size of the largest file to take.
    pause_seconds
        Pause between requests.
    check
        Called as bytes arrive; may raise to stop.

    Raises
    ------
    RecordingError
        If there is no such sound, or it cannot be downloaded.
    MissingExtraError
        If yt-dlp is not installed.
    """
    try:
        import yt_dlp
    except ImportError:
        raise MissingExtraError(
            f"{printable(url)}: is a web page; taking its sound", "web-audio"
        ) from None
    options = {
        "format": "bestaudio/best",
        "paths": {"home": str(folder)},
        "outtmpl": {"default": f"{name_of(url)}.%(ext)s"},
        "max_filesize": max_bytes,
        "sleep_interval_requests": pause_seconds,
        "socket_timeout": 30.0,
        "retries": 3,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "fixup": "never",
        "cachedir": False,
        "noprogress": True,
        "quiet": True,
        "logger": _Log(),
        "progress_hooks": [lambda _: check()],
    }
    with yt_dlp.YoutubeDL(options) as downloader:
        try:
            info = _single(url, downloader.extract_info(url, download=False))
            info = downloader.process_ie_result(info, download=True)
        except RecordingError:
            raise
        except Exception as error:  # of any kind: there are a thousand sites
            check()
            raise RecordingError(
                url,
                f"its page gives no sound: {_reason(error)}. Check the address, or update yt-dlp.",
            ) from error
    return _facts(url, folder, info, max_bytes)


def _single(url: str, info: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a page says of its only recording."""
    info = info or {}
    if "entries" in info:
        entries = list(info["entries"])
        if len(entries) != 1:
            raise RecordingError(
                url, f"its page has {len(entries)} recordings. Give the address of each."
            )
        info = entries[0]
    if info.get("is_live"):
        raise RecordingError(url, "is a live stream. Use sed listen.")
    return info


def _facts(url: str, folder: Path, info: dict[str, Any], max_bytes: int) -> Download:
    """Return the facts of a download that yt-dlp has made."""
    parts = info.get("requested_downloads") or ()
    files = [Path(part["filepath"]) for part in parts if "filepath" in part]
    if len(files) != 1 or not files[0].is_file():
        raise RecordingError(
            url,
            f"its page gives no single file of at most {max_bytes / 1e9:g} GB. Check the address, "
            "or raise --max-download-gb.",
        )
    return Download(
        url,
        file=files[0].relative_to(folder).as_posix(),
        n_bytes=files[0].stat().st_size,
        **{
            ours: _line(info.get(theirs))
            for ours, theirs in (
                ("licence", "license"),
                ("uploader", "uploader"),
                ("title", "title"),
                ("page", "webpage_url"),
            )
        },
    )


def _line(value: object) -> str:
    """Return text of others on one line."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def _reason(error: Exception) -> str:
    text = _COLOUR.sub("", _line(str(error)))
    return text.removeprefix("ERROR: ").rstrip(".")


class _Log:
    """Passes the messages of yt-dlp on as diagnostics."""

    def debug(self, message: str) -> None:
        _logger.debug("%s", printable(_line(message)))

    info = warning = error = debug
