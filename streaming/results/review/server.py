"""Serve the page of a review in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable

from sed.errors import MissingExtraError
from streaming.results.review.session import ReviewSession
from streaming.web.http_server import HOST, PORT, HttpServer


def serve_review(
    session: ReviewSession,
    host: str = HOST,
    port: int = PORT,
    *,
    token: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> HttpServer:
    """Serve the page of a review until the server that is returned is closed.

    Parameters
    ----------
    session
        The review.
    host, port
        The address; port 0 is any free port.
    token
        Required from every client; needed if other machines can reach the address.
    report
        Called with the text of an unexpected error.

    Raises
    ------
    MissingExtraError
        If the packages of the `web` extra are not installed.
    UsageError
        If other machines could connect without a token, or the token is empty.
    SedError
        If the address is in use, or does not belong to this machine.
    """
    try:
        from streaming.results.review.routes import ReviewRoutes
    except ImportError as error:
        raise MissingExtraError("the page", "web") from error
    application = ReviewRoutes(session, report).application()
    return HttpServer(application, host, port, token=token, on_failure=report)
