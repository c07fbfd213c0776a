"""Record what `sed prepare` made in a folder, to reuse it or to remove it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from sed.errors import OutputError, UsageError
from sed.files import parse_json, remove_parts, written_whole
from sed.text import printable, some
from train.prepare.download_files import DOWNLOADS, Download, files_of

MANIFEST, INDEX, AUDIO = "prepared.json", "index.csv", "audio"
FAILURES = "failures.csv"  # of a table of links
_MADE_BY = "sed prepare"
_FORMAT_VERSION = 2


@dataclass(frozen=True)
class StoredRecording:
    """A stored recording, and what it was made from."""

    source_bytes: int
    source_mtime_ns: int  # of its last change
    spans: list[list[float | None]]  # start and duration of its clips in the table, in seconds
    n_bytes: int  # of the stored file
    n_samples: int  # in the stored file
    start: int  # the first stored sample, as an index in the source
    segments: list[list[int]]  # clip, first sample and the one after the last, in the source
    n_silent: int  # segments of zeros, left out
    n_clipped: int  # samples beyond full scale
    notices: list[str] = field(default_factory=list)  # what is odd about it and no failure


@dataclass
class Manifest:
    """Record of a prepared folder.

    `files` names every file before it is written; its facts follow when it is whole. So the record
    is complete even if the process is killed. `downloads` does so for the urls of a table of links.
    """

    source: str
    options: dict[str, Any]
    files: dict[str, StoredRecording | None] = field(default_factory=dict)  # by path in audio/
    failures: dict[str, str] = field(default_factory=dict)  # error message by source
    downloads: dict[str, Download | None] = field(default_factory=dict)  # by url
    finished: bool = False  # whether the index is written

    def stored(self, name: str) -> StoredRecording:
        """Return the facts of a file that is whole."""
        facts = self.files[name]
        assert facts is not None, name
        return facts

    def save(self, out: Path) -> None:
        """Write the record to a folder, whole or not at all.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        facts = {"made_by": _MADE_BY, "format_version": _FORMAT_VERSION, "versions": _versions()}
        facts |= vars(self)
        lines = [f"{json.dumps(key)}: {json.dumps(facts[key], default=vars)}" for key in facts]
        with written_whole(out / MANIFEST) as part:
            part.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def load_manifest(out: Path) -> Manifest:
    """Return the record of a folder.

    Raises
    ------
    UsageError
        If there is none, or it is damaged or of another format version.
    """
    name = printable(str(out))
    try:
        record = parse_json((out / MANIFEST).read_text("utf-8"))
        if record.pop("made_by") != _MADE_BY or any(map(_leads_out, record["files"])):
            raise ValueError
        if (version := record.pop("format_version", 1)) != _FORMAT_VERSION:
            raise UsageError(
                f"{name}: prepared by an older version (format version {version}, expected "
                f"{_FORMAT_VERSION}). Prepare into another folder, and remove this one by hand."
            )
        del record["versions"]
        files = {
            file: facts and StoredRecording(**facts) for file, facts in record.pop("files").items()
        }
        downloads = {
            url: facts and Download(**facts) for url, facts in record.pop("downloads", {}).items()
        }
        return Manifest(files=files, downloads=downloads, **record)
    except UsageError:
        raise
    except OSError:
        raise UsageError(
            f"{name}: not made by sed prepare (it holds no {MANIFEST}). Check the name."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(
            f"{name}: its {MANIFEST} is damaged, or not of sed prepare. Prepare into another "
            "folder, and remove this one by hand."
        ) from None


def open_folder(out: Path, source: Path, options: dict[str, Any]) -> Manifest:
    """Return the record of a folder to prepare into, or a new one where there is nothing yet.

    Parameters
    ----------
    out
        The folder.
    source, options
        What it is prepared from, and the options of `prepare`.

    Raises
    ------
    UsageError
        If it holds other files, lies in the source, or was prepared with other options.
    OutputError
        If it cannot be read.
    """
    name = printable(str(out))
    new = Manifest(str(source.resolve()), options)
    if os.path.isdir(source) and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{name}: lies in the source and would become part of it. Name another.")
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"{name}: is a file. Name a folder to prepare into.")
    try:
        entries = [path.name for path in out.iterdir()] if os.path.exists(out) else []
    except OSError as error:
        raise OutputError(out, error) from error
    if MANIFEST not in entries:
        _remove_parts(out)
        others = [entry for entry in entries if os.path.exists(out / entry)]
        if others:
            raise UsageError(
                f"{name}: holds files that sed prepare did not make: {some(sorted(others))}. "
                "Name a new folder."
            )
        return new
    old = load_manifest(out)
    if differing := _differing(old, new):
        raise UsageError(
            f"{name}: was prepared with other options: {'; '.join(differing)}. Remove that first "
            "(--reset), or name another folder."
        )
    _remove_parts(out, old)
    return replace(old, finished=False, failures={})


def _differing(old: Manifest, new: Manifest) -> list[str]:
    before, now = ({"source": each.source} | each.options for each in (old, new))
    return [
        f"{key} {_shown(before.get(key))} before, {_shown(now[key])} now"
        for key in now
        if before.get(key) != now[key]
    ]


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def reset(out: str | os.PathLike[str]) -> tuple[int, list[str]]:
    """Remove what was prepared in a folder, and the folder if nothing else is in it.

    Returns
    -------
    tuple
        The number of files removed, and the names of those that stay, since `sed prepare` did not
        make them.

    Raises
    ------
    UsageError
        If the folder was not made by `sed prepare`.
    OutputError
        If a file cannot be removed.
    """
    out = Path(out)
    manifest = load_manifest(out)
    made = [
        out / AUDIO / name for name, facts in manifest.files.items() if is_stored(out, name, facts)
    ]
    made += [path for path in (out / INDEX, out / FAILURES) if os.path.isfile(path)]
    if (out / DOWNLOADS).resolve().is_relative_to(out.resolve()):  # no link leads elsewhere
        made += files_of(out / DOWNLOADS, manifest.downloads)
    _remove_parts(out, manifest)
    # The record is removed last, so that a reset that is stopped can be repeated.
    for path in [*made, out / MANIFEST]:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(path, error) from error
    folders = {parent for name in manifest.files for parent in (out / AUDIO / name).parents}
    folders |= {out / DOWNLOADS} if manifest.downloads else set()
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder == out or out in folder.parents:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
    with suppress(OSError):
        out.rmdir()
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if not os.path.isdir(path))
    return len(made) + 1, left


def is_stored(out: Path, name: str, facts: StoredRecording | None) -> bool:
    """Return whether a stored file exists and is the one that was made.

    Parameters
    ----------
    out, name
        Prepared folder, and path of the file in its ``audio``.
    facts
        What the record has of it.
    """
    path = out / AUDIO / name
    try:
        if not path.parent.resolve().is_relative_to(out.resolve()):  # a link leads elsewhere
            return False
        return os.path.isfile(path) and (facts is None or path.stat().st_size == facts.n_bytes)
    except OSError:
        return False


def _remove_parts(out: Path, manifest: Manifest | None = None) -> None:
    """Remove partial files that a killed process left."""
    made = [out / name for name in (MANIFEST, INDEX, FAILURES)]
    if manifest is not None:
        made += [out / AUDIO / name for name in manifest.files]
        made += [out / DOWNLOADS] if manifest.downloads else []
    remove_parts(made)


def _leads_out(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("sed-engine", "soundfile", "soxr", "numpy")}
