"""The record of what `sed prepare` made in a folder: what can be used again, and what may go."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from sed.errors import OutputError, UsageError
from sed.files import written_whole
from sed.text import printable, some

MANIFEST, INDEX, AUDIO = "prepared.json", "index.csv", "audio"
_MADE_BY = "sed prepare"


@dataclass(frozen=True)
class Made:
    """One stored recording, and what it was made from."""

    source_bytes: int
    source_mtime_ns: int  # of its last change
    spans: list[list[float | None]]  # begin and length in seconds of its clips, as the table says
    n_bytes: int  # of the stored file
    n_samples: int  # in the stored file
    begin: int  # the source's sample that is the first stored one
    pieces: list[list[int]]  # which clip, first sample and behind the last, both in the source
    n_silent: int  # pieces of nothing but zeros, left out
    n_clipped: int  # samples beyond full scale


@dataclass
class Manifest:
    """What was made in a folder.

    `files` names every file that may be there, before it is; what is said of it follows when it
    is whole. So nothing is forgotten, whenever the process is killed.
    """

    source: str
    options: dict[str, Any]
    files: dict[str, Made | None] = field(default_factory=dict)  # below the folder of sounds
    failures: dict[str, str] = field(default_factory=dict)  # source and reason
    finished: bool = False  # and the index is written

    def made(self, name: str) -> Made:
        """Return what is said of a file that was made."""
        facts = self.files[name]
        assert facts is not None, name
        return facts

    def save(self, out: Path) -> None:
        """Write it, whole or not at all.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        about = {"made_by": _MADE_BY, "versions": _versions()} | vars(self)
        lines = [f"{json.dumps(key)}: {json.dumps(about[key], default=vars)}" for key in about]
        with written_whole(out / MANIFEST) as part:
            part.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def load_manifest(out: Path) -> Manifest:
    """Return the record of a folder.

    Raises
    ------
    UsageError
        If it holds none, or none that `sed prepare` wrote.
    """
    name = printable(str(out))
    try:
        about = json.loads((out / MANIFEST).read_text("utf-8"))
        if about.pop("made_by") != _MADE_BY or any(map(_leads_out, about["files"])):
            raise ValueError
        del about["versions"]
        files = {name: facts and Made(**facts) for name, facts in about.pop("files").items()}
        return Manifest(files=files, **about)
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

    Raises
    ------
    UsageError
        If somebody else's files are in it, it lies in the source, or was prepared otherwise.
    OutputError
        If it cannot be looked into.
    """
    name = printable(str(out))
    new = Manifest(str(source.resolve()), options)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{name}: lies in the source and would become part of it. Name another.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{name}: is a file. Name a folder to prepare into.")
    try:
        strangers = [path.name for path in out.iterdir()] if out.exists() else []
    except OSError as error:
        raise OutputError(out, error) from error
    if MANIFEST not in strangers:
        remove_parts(out, {})
        strangers = [name for name in strangers if (out / name).exists()]
        if strangers:
            raise UsageError(
                f"{name}: sed prepare did not make what is in it: {some(sorted(strangers))}. "
                "Name a new folder."
            )
        return new
    old = load_manifest(out)
    if differing := _differing(old, new):
        raise UsageError(
            f"{name}: was prepared otherwise: {'; '.join(differing)}. Remove that first (--reset), "
            "or name another folder."
        )
    remove_parts(out, old.files)
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
    How many files were removed, and the names of those that stay: they are somebody else's.

    Raises
    ------
    UsageError
        If the folder was not made by `sed prepare`.
    OutputError
        If something cannot be removed.
    """
    out = Path(out)
    manifest = load_manifest(out)
    made = [
        out / AUDIO / name for name, facts in manifest.files.items() if is_ours(out, name, facts)
    ]
    made += [path for path in (out / INDEX,) if path.is_file()]
    remove_parts(out, manifest.files)
    for path in [*made, out / MANIFEST]:  # the record goes last: a reset can be cut off, too
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(path, error) from error
    folders = {parent for name in manifest.files for parent in (out / AUDIO / name).parents}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder == out or out in folder.parents:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
    with suppress(OSError):
        out.rmdir()
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir())
    return len(made) + 1, left


def is_ours(out: Path, name: str, facts: Made | None) -> bool:
    """Return whether the file of that name is there, and the one that was made."""
    path = out / AUDIO / name
    try:
        if not path.parent.resolve().is_relative_to(out.resolve()):  # a link leads elsewhere
            return False
        return path.is_file() and (facts is None or path.stat().st_size == facts.n_bytes)
    except OSError:
        return False


def remove_parts(out: Path, names: Mapping[str, Made | None]) -> None:
    """Remove what a killed process had not finished writing."""
    for folder in {out, *((out / AUDIO / name).parent for name in names)}:
        for path in folder.glob(".*.part") if folder.is_dir() else ():
            stem, _, process = path.name.removesuffix(".part").rpartition(".")
            name = str((folder / stem[1:]).relative_to(out / AUDIO)) if folder != out else ""
            ours = name in names or (folder == out and stem[1:] in (MANIFEST, INDEX))
            if ours and not _is_alive(process):
                with suppress(OSError):
                    path.unlink()


def _leads_out(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("sed-engine", "soundfile", "soxr", "numpy")}
