"""A small HTTP server beside the worker: metrics for Prometheus, and whether the worker lives and is ready."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stayhand.errors import ConfigurationError

# What is wrong, in a few words; None where nothing is.
Check = Callable[[], str | None]
_TIMEOUT_S = 5.0
_TEXT = "text/plain; charset=utf-8"


class HealthServer:
    """Serves ``/metrics``, ``/health/live`` and ``/health/ready`` from threads of its own; 503 says what is wrong."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, live: Check, ready: Check) -> None:
        """Listen; port 0 takes any free one.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        try:
            self._server = _server(host, port, _handler(registry, {"/health/live": live, "/health/ready": ready}))
        except OSError as error:
            raise ConfigurationError(
                f"cannot serve health and metrics on {host}:{port}: {error.strerror}; "
                "set STAYHAND_HEALTH_HOST and STAYHAND_HEALTH_PORT (0: any free port)"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def address(self) -> str:
        """``http://HOST:PORT`` as it is."""
        host, port = self._server.server_address[:2]
        shown = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and let the port go."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _server(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    return Server((host, port), handler)


def _handler(registry: CollectorRegistry, checks: dict[str, Check]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "stayhand", ""
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif check := checks.get(self.path):
                wrong = check()
                status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, _TEXT, f"{wrong or 'ok'}\n".encode())
            else:
                self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /health/live, /health/ready\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A probe each second is no news."""

    return Handler
