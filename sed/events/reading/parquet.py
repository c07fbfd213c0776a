"""Read the events of a Parquet file as columns."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.events.event_table import NO_ZONE, EventTable
from sed.events.writing.parquet import open_parquet


def read_parquet_table(path: str | os.PathLike[str]) -> EventTable:
    """Return the events that `sed.events.writing.parquet.ParquetWriter` wrote.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    SedError
        If the file cannot be read, or another program wrote it.
    """
    with open_parquet(path) as file:
        table = file.read()
        minutes = table["utc_offset_minutes"].fill_null(NO_ZONE).to_numpy().astype(np.int16)
        local_time = table["local_time"].to_numpy().astype("datetime64[us]")
        if (np.isnat(local_time) & (minutes != NO_ZONE)).any():
            raise ValueError("a zone without a time")
        files, labels = _words(table["file"]), _words(table["label"])
        onset, offset, score = (
            table[name].to_numpy().astype(np.float64) for name in ("onset", "offset", "score")
        )
    return EventTable(
        files[0], labels[0], files[1], labels[1], onset, offset, score, local_time, minutes
    )


def _words(column: Any) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the words of a column, each once in the order of the rows, and the number of each."""
    if column.null_count:
        raise ValueError("a missing name")
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    words = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    used, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return tuple(words[code] for code in used[order].tolist()), place[numbers]
