"""An HTTP server on loopback that accepts everything, and keeps what it received."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """A request: its path, its headers by lower-case name, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Sink(NamedTuple):
    """The address (``host:port``) of the server, and the requests so far."""

    address: str
    requests: list[Received]


@contextmanager
def sink() -> Iterator[Sink]:
    """Run a server that answers each POST with 200."""
    requests: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            requests.append(Received(self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Sink(f"127.0.0.1:{server.server_port}", requests)
        finally:
            server.shutdown()
            thread.join()
