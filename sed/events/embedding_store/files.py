"""Find the files of an embedding store, and read where each of its recordings is.

`sed.events.embedding_store.store` describes the folder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sed.config import config_from_dict
from sed.errors import SedError, UsageError
from sed.events.embedding_store.writer import RECORDINGS, damaged, read_header
from sed.events.writing.parquet import read_recordings
from sed.files import parse_json, written_whole
from sed.text import printable

CONFIG_NAME = "store.json"
FORMAT, FORMAT_VERSION = "sed embedding store", 1
PARTS = "parts"
ATTEMPTS = 20  # to list a store that another program changes
# Fields that all rows of a store have in common.
COMPARED = {  # fields that all recordings of a store share, as messages call them
    "model_sha256": "vectors of the model (--model) with checksum",
    "sample_rate": "the sample rate (--sample-rate)",
    "window_seconds": "the window (--window)",
    "layer": "the layer (--layer)",
    "pool": "the pooling (--pool)",
    "dimension": "the dimension",
    "cut": "the parts (--every, --events, --clips)",
}

_log = logging.getLogger("sed")


@dataclass(frozen=True)
class StoreConfig:
    """What the vectors of a store are, as its ``store.json`` says.

    Attributes
    ----------
    model
        Path or name of the model that made the vectors.
    model_sha256
        Checksum of its weights.
    layer
        The layer whose output was pooled.
    pool
        Statistics over time, concatenated: mean, max, std, attention.
    dimension
        Width of a vector.
    cut
        How recordings were cut into rows: ``every 5 s``, ``events`` or ``clips``.
    versions
        Versions of the libraries that made the store.
    sample_rate, window_seconds
        What `sed embed` set of an encoder whose files do not say; None where they do.
    """

    model: str
    model_sha256: str
    layer: str
    pool: tuple[str, ...]
    dimension: int
    cut: str
    versions: dict[str, str] = field(default_factory=dict)
    sample_rate: int | None = None
    window_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values of JSON."""
        return asdict(self) | {"pool": list(self.pool)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the config with those fields.

        Raises
        ------
        ValueError
            If a field is unknown, is missing, or has no valid value.
        """
        config = config_from_dict(cls, values)
        texts = config.model, config.model_sha256, config.layer, config.cut, *config.pool
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("expected text for model, model_sha256, layer, pool and cut")
        if not isinstance(config.dimension, int) or config.dimension < 1:
            raise ValueError(f"expected a dimension of at least 1, got {config.dimension!r}")
        for name in ("sample_rate", "window_seconds"):
            value = getattr(config, name)
            if not (value is None or (isinstance(value, int | float) and value > 0)):
                raise ValueError(f"expected a {name} above 0, got {value!r}")
        return config


def create_store(path: str | os.PathLike[str], config: StoreConfig) -> None:
    """Write the ``store.json`` of a new store, or check that the one there has the same fields.

    The versions of libraries, and the path of the model, may differ; all may, as long as the store
    has no recording.

    Raises
    ------
    UsageError
        If the store was made in another way; the message names the field.
    SedError
        If the folder holds something else, or cannot be written.
    """
    path = Path(path)
    if os.path.exists(path / CONFIG_NAME):
        old = read_store_config(path)
        differing = [n for n in COMPARED if getattr(old, n) != getattr(config, n)]
        if differing and (_parquet_files(path, RECORDINGS) or _parquet_files(path, PARTS)):
            name = differing[0]
            raise UsageError(
                f"{printable(str(path))}: this store has {COMPARED[name]} "
                f"{_shown(getattr(old, name))}, not {_shown(getattr(config, name))}. Give the same "
                "settings as before, or another store."
            )
        if differing:
            _write_config(path, config)
        return
    # The journal of a scan lies there before the model is loaded; its name starts with a dot.
    others = {p.name for p in path.iterdir() if p.name[0] != "."} if os.path.isdir(path) else set()
    if CONFIG_NAME in others:  # written meanwhile, by another worker
        return create_store(path, config)
    if others or os.path.isfile(path):
        raise SedError(
            f"{printable(str(path))}: is a file, or a folder with other files. Give the path of a "
            "store, or of a folder that does not exist yet."
        )
    _write_config(path, config)


def _write_config(path: Path, config: StoreConfig) -> None:
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    with written_whole(path / CONFIG_NAME) as part:
        part.write_text(json.dumps(head | config.as_dict(), indent=1) + "\n", "utf-8")


def read_store_config(path: str | os.PathLike[str]) -> StoreConfig:
    """Return what the vectors of a store are.

    Raises
    ------
    SedError
        If it is not a store, its ``store.json`` is damaged, or a newer version wrote it.
    """
    path = Path(path)
    place = path / CONFIG_NAME
    try:
        values = parse_json(place.read_text("utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        version = values.pop("format_version")
    except FileNotFoundError:
        raise SedError(
            f"{printable(str(path))}: is not an embedding store (there is no {CONFIG_NAME}). Make "
            "one with `sed embed`."
        ) from None
    except OSError as error:
        raise SedError(f"{printable(str(place))}: cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _damaged_config(place, error) from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise SedError(
            f"{printable(str(path))}: has format version {version}, and this program reads up to "
            f"{FORMAT_VERSION}. Upgrade: pip install -U sed-engine"
        )
    try:
        return StoreConfig.from_dict(values)
    except ValueError as error:
        raise _damaged_config(place, error) from error


@dataclass(frozen=True)
class StoreFile:
    """A pair of files of a store.

    Attributes
    ----------
    npy, parquet
        The files.
    vectors_at
        Position of the first vector in the .npy, in bytes.
    n_rows
        Number of rows, also of those that a later file supersedes.
    is_live
        Whether no later file has a recording of this file; shape (recordings,).
    slices
        Rows of live recordings: (first row, end row), shape (slices, 2).
    """

    npy: Path
    parquet: Path
    vectors_at: int
    n_rows: int
    is_live: NDArray[np.bool_]
    slices: NDArray[np.int64]

    @property
    def n_live(self) -> int:
        """Number of rows of live recordings."""
        return int((self.slices[:, 1] - self.slices[:, 0]).sum())

    def recordings(self) -> list[tuple[str, int, int]]:
        """Return the live recordings from the footer: name, first row, number of rows."""
        recordings, _ = read_recordings(self.parquet)
        return [entry for entry, live in zip(recordings, self.is_live, strict=True) if live]


def find_files(store: Path, dimension: int) -> list[StoreFile]:
    """Return the files of a store in the order in which later ones supersede earlier ones.

    Only footers and headers are read, a few bytes of memory per recording. Another program may
    merge or replace files meanwhile: then they are listed again.

    Raises
    ------
    SedError
        If a file is damaged, is missing, or has vectors of another width.
    """
    before = ""
    for _ in range(ATTEMPTS):
        # Recordings first: a part that is made of them meanwhile is then in the other list.
        recordings, parts = _parquet_files(store, RECORDINGS), _parquet_files(store, PARTS)
        try:
            files = _described(sorted(parts, key=part_number) + sorted(recordings), dimension)
        except SedError as error:
            # A file that was missing may be there again: replaced. What is damaged stays so.
            if str(error) == before and all(os.path.exists(path) for path in [*parts, *recordings]):
                raise
            before = str(error)
            continue
        if parts == _parquet_files(store, PARTS):
            return files
    raise SedError(
        f"{printable(str(store))}: another program is changing it. Try again when it has finished."
    )


def _described(parquets: Sequence[Path], dimension: int) -> list[StoreFile]:
    """Return files in their order, with what of them is live."""
    found: list[tuple[Path, int, int]] = []
    names, firsts, counts = [], [], []
    for parquet in parquets:
        recordings, n_rows = _read_recordings(parquet)
        vectors_at, n_vectors = read_header(parquet.with_suffix(".npy"), dimension)
        if n_vectors != n_rows and parquet.parent.name != PARTS:
            # A recording was embedded again and the program was killed between the two files.
            _log.warning(
                "%s: is not complete and is ignored. Embed the recording again.",
                printable(str(parquet)),
            )
            continue
        if n_vectors != n_rows or sum(n for _, _, n in recordings) != n_rows:
            raise damaged(parquet, f"{n_vectors} vectors for {n_rows} rows")
        found.append((parquet, vectors_at, n_rows))
        # Of two million names, two have the same 64 bits with a probability of one in 10 million.
        names.append(np.array([hash(name) for name, _, _ in recordings], np.int64))
        firsts.append(np.array([first for _, first, _ in recordings], np.int64))
        counts.append(np.array([n for _, _, n in recordings], np.int64))
    live = _last_of_each(names)
    return [
        StoreFile(parquet.with_suffix(".npy"), parquet, at, n_rows, is_live, _slices(first, n))
        for (parquet, at, n_rows), is_live, first, n in zip(
            found,
            live,
            [first[mask] for first, mask in zip(firsts, live, strict=True)],
            [count[mask] for count, mask in zip(counts, live, strict=True)],
            strict=True,
        )
    ]


def part_number(path: Path) -> int:
    """Return the number in the name of a part.

    Raises
    ------
    SedError
        If the file has another name.
    """
    if not path.stem.isdecimal():
        raise SedError(f"{printable(str(path))}: is not a file of a store. Move it away.")
    return int(path.stem)


def _parquet_files(store: Path, folder: str) -> set[Path]:
    return {*(store / folder).glob("*.parquet")}


def _last_of_each(names: Sequence[NDArray[np.int64]]) -> list[NDArray[np.bool_]]:
    """Return masks of the names that do not occur again later."""
    if not names:
        return []
    every = np.concatenate(names)
    live = np.zeros(len(every), bool)
    _, from_end = np.unique(every[::-1], return_index=True)
    live[len(every) - 1 - from_end] = True
    return np.split(live, np.cumsum([len(part) for part in names])[:-1])


def _slices(first: NDArray[np.int64], n_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (first row, end row) of runs of recordings that follow each other."""
    first, end = first[n_rows > 0], (first + n_rows)[n_rows > 0]
    if not len(first):
        return np.empty((0, 2), np.int64)
    cuts = np.flatnonzero(first[1:] != end[:-1])
    return np.stack([first[np.append(0, cuts + 1)], end[np.append(cuts, len(end) - 1)]], axis=1)


def _read_recordings(parquet: Path) -> tuple[list[tuple[str, int, int]], int]:
    try:
        return read_recordings(parquet)
    except SedError as error:
        if not isinstance(error.__cause__, Exception):  # pyarrow is missing
            raise
        raise damaged(parquet, "it cannot be read") from error


def _damaged_config(place: Path, error: Exception) -> SedError:
    return SedError(
        f"{printable(str(place))}: is damaged ({error}). Copy it again, or make the store again."
    )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
