"""Check the addresses of servers, and say why one cannot be reached."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from sed.errors import UsageError


def split_url(url: str, schemes: Sequence[str], example: str) -> SplitResult:
    """Return the parts of a URL. The error about a wrong one does not repeat its secrets.

    Raises
    ------
    UsageError
        If the scheme is none of `schemes`, or the host or port is not valid.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_usable = bool(host) and parts.port != 0 and not re.search(r"\s", url)
    # The port is not a number, or the name of the host is not valid.
    except ValueError:
        is_usable = False
    if not is_usable or parts.scheme not in schemes:
        raise UsageError(
            f"expected an address that begins with {' or '.join(schemes)}, like {example}"
        )
    return parts


def reason_of(error: OSError) -> str:
    """Return why a server cannot be reached, without its address."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, OSError):
        return f"the server cannot be reached: {inner.strerror or inner}"
    return f"the server cannot be reached: {inner}"
