"""A web server on this machine that fails in the ways that servers fail."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from train.prepare.download import DownloadConfig

QUICK = DownloadConfig(requests_per_second=1e4, retry_seconds=0.001)


@dataclass
class Page:
    """What the server does with a path: the statuses and cuts are used up one by one."""

    content: bytes = b""
    kind: str = "audio/wav"
    has_ranges: bool = True
    has_length: bool = True
    tag: str = '"1"'
    statuses: list = field(default_factory=list)  # (status, headers) before the content
    cuts: list = field(default_factory=list)  # bytes after which the connection is cut
    waits: threading.Event | None = None  # for which it waits after the first bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        page = self.server.pages.get(self.path)
        if page is None:
            return self.respond(404, {}, b"")
        if page.statuses:
            return self.respond(*page.statuses.pop(0), b"")
        start, status, headers = 0, 200, {"Content-Type": page.kind}
        if page.tag:
            headers["ETag"] = page.tag
        wanted = self.headers.get("Range", "")
        if wanted and page.has_ranges and self.headers.get("If-Range", page.tag) == page.tag:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(page.content):
                return self.respond(416, {}, b"")
            last = len(page.content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{len(page.content)}"
        self.respond(status, headers, page.content[start:], page)

    do_HEAD = do_GET

    def respond(self, status, headers, body, page=None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if page is None or page.has_length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if page is not None and page.waits is not None:
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            page.waits.wait(20)
            body = body[half:]
        if page is not None and page.cuts:
            body = body[: page.cuts.pop(0)]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.requests = []

    def handle_error(self, request, client_address):
        """A client that goes away is no fault of the server."""

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def add(self, path, content=b"", **facts):
        self.pages[path] = Page(content, **facts)
        return self.url(path)

    def ranges(self, path):
        """Return the Range of each request for a path; an empty one for the whole."""
        return [headers.get("Range", "") for name, headers in self.requests if name == path]


@contextmanager
def serving():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
