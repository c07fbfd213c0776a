"""Find the same recordings by the names that two tables have for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sed.errors import TableError
from sed.events.reading.audio_files import stem
from sed.text import printable


def match_names(names: Sequence[str], known: Sequence[str]) -> list[str | None]:
    """Return for each name the one of the same recording among those that are known, or none.

    Names are the same as they are written; else if their last parts are, without the endings of
    sounds: as many parts as both have, at least the file name. Of several names that fit one by
    their last part alone, those are the same that fit it by all parts that both have, if any do.

    >>> match_names(["found/north/a.csv", "b.wav"], ["rec/north/a", "rec/south/a", "rec/b.flac"])
    ['rec/north/a', 'rec/b.flac']

    Raises
    ------
    TableError
        If several recordings fit equally well, or names of other folders fit one.
    """
    exact = {*known}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in known:
        by_stem[_parts(name)[-1]].append(name)
    found = [name if name in exact else _best(name, by_stem) for name in names]
    fitting = {
        own
        for name, own in zip(names, found, strict=True)
        if own is not None and _is_tail(_parts(name), _parts(own))
    }
    found = [
        None if own in fitting and not _is_tail(_parts(name), _parts(own)) else own
        for name, own in zip(names, found, strict=True)
    ]
    named: dict[str, str] = {}
    for name, own in zip(names, found, strict=True):
        other = name if own is None else named.setdefault(own, name)
        if not _is_tail(_parts(name), _parts(other)):
            raise TableError(
                f"{printable(other)} and {printable(name)} may both be {printable(own or '')}. "
                "Write more of its path."
            )
    return found


def _best(name: str, by_stem: dict[str, list[str]]) -> str | None:
    parts = _parts(name)
    found = by_stem.get(parts[-1], [])
    if len(found) < 2:
        return found[0] if found else None
    common = [_n_common(parts, _parts(other)) for other in found]
    best = [other for other, n in zip(found, common, strict=True) if n == max(common)]
    if len(best) > 1:
        raise TableError(
            f"the recording {printable(name)} may be {printable(best[0])} or "
            f"{printable(best[1])}. Write more of its path."
        )
    return best[0]


def _parts(name: str) -> list[str]:
    *folders, last = name.replace("\\", "/").split("/")
    plain = stem(last)
    return [*folders, plain[:-4] if plain.lower().endswith((".csv", ".tsv", ".npz")) else plain]


def _n_common(one: Sequence[str], other: Sequence[str]) -> int:
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def _is_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    return _n_common(one, other) == min(len(one), len(other))
