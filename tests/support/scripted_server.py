"""An HTTP server on loopback that answers as a test says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """The port of the server, and the requests that it has received: method and body."""

    port: int
    requests: list[tuple[str, bytes]]


@contextmanager
def scripted_server(statuses: Iterator[int], *, port: int = 0, closing: bool = False) -> Iterator[Received]:
    """Run a server that answers each request with the next status, a redirect with itself as the target.

    If ``closing``, it closes the connection after each answer without announcing it.
    """
    requests: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            requests.append((self.command, self.rfile.read(int(self.headers["Content-Length"] or 0))))
            status = next(statuses)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = closing

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Received(server.server_port, requests)
        finally:
            server.shutdown()
            thread.join()
