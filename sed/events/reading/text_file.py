"""Decode text files of others: UTF-8, UTF-16 and UTF-32, and Windows-1252 where it is neither."""

from __future__ import annotations

import codecs
import os
import re
from typing import NamedTuple

from sed.errors import TableError
from sed.text import printable

# The longer marks first: that of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_UNIT_BYTES = {"utf-32-le": 4, "utf-32-be": 4, "utf-16-le": 2, "utf-16-be": 2}
# Files that are no text, and what they are.
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet table",
    b"\x1f\x8b": "compressed",
    b"RIFF": "a recording",
    b"ooBinaryFile": "a binary TextGrid",
}
_N_PROBED = 4_096  # bytes
_MOST = 0.7  # of every second byte is zero in UTF-16 of the Latin script

# Python keeps bytes that are not UTF-8 as these lone surrogates.
_BYTES = re.compile("[\udc80-\udcff]")
# Five bytes have no character in Windows-1252; browsers take them for the control characters.
_FROM_WINDOWS = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(128, 256)
}


class TextFile(NamedTuple):
    """The text of a file, and what was assumed about it.

    Attributes
    ----------
    text
        Lines end as in the file. Bytes that are not UTF-8 are lone surrogates, as in file names.
    assumed
        What is not plain about the encoding, in words.
    """

    text: str
    assumed: tuple[str, ...] = ()


def read_text_file(path: str | os.PathLike[str], n_bytes: int | None = None) -> TextFile:
    """Return the text of a file.

    Parameters
    ----------
    path
        The file.
    n_bytes
        How much of it to read; all if not given.

    Raises
    ------
    TableError
        If it cannot be read, or is no text.
    """
    name = printable(os.fspath(path))
    try:
        with open(path, "rb") as file:
            data = file.read() if n_bytes is None else file.read(n_bytes)
    except OSError as error:
        reason = error.strerror or error
        raise TableError(f"{name}: cannot be read: {reason}. Check the name.") from error
    for magic, what in _NO_TEXT.items():
        if data.startswith(magic):
            raise TableError(f"{name}: is {what}, not text. Save it as text: a table as CSV.")
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _unmarked(data)
    body = data[len(mark) :]
    if encoding == "utf-8":
        return TextFile(body.decode("utf-8", "surrogateescape"))
    if n_bytes is not None:  # the end may lie within a character
        body = body[: len(body) - len(body) % _UNIT_BYTES[encoding]]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        if n_bytes is None or error.end < len(body):
            raise TableError(
                f"{name}: begins like text in {encoding[:6].upper()}, and is none at byte "
                f"{error.start}. Save it again, as CSV in UTF-8."
            ) from error
        text = body.decode(encoding, "ignore")
    return TextFile(text, () if mark else (f"text in {encoding[:6].upper()}",))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that ends its lines as any system does."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain.removesuffix("\n").split("\n") if plain else []


def has_bytes(text: str) -> bool:
    """Return whether a text holds bytes that are not UTF-8, as lone surrogates."""
    return _BYTES.search(text) is not None


def has_surrogates(text: str) -> bool:
    """Return whether a text holds lone surrogates of any kind, which no encoding has."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def from_windows_1252(text: str) -> str:
    r"""Return text whose bytes are read as Windows-1252, if some of them are not UTF-8.

    >>> from_windows_1252("m\udce9sange")
    'mésange'
    """
    if not has_bytes(text):
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that does not stand for a byte
        return text
    return data.decode("ascii", "surrogateescape").translate(_FROM_WINDOWS)


def _unmarked(data: bytes) -> str:
    """Return the encoding of text without a mark of its encoding."""
    probed = data[: min(len(data), _N_PROBED) // 2 * 2]
    even, odd = probed[::2].count(0), probed[1::2].count(0)
    most = _MOST * len(probed) / 2
    if odd > most > even:
        return "utf-16-le"
    if even > most > odd:
        return "utf-16-be"
    return "utf-8"
