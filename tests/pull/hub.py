"""A hub on the loopback: both APIs, and every fault that a network has."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

REPO = "some/model"


@dataclass
class Hub:
    """files by name; faults: what happens to a file's requests, the first one first; seen: (path,
    headers) of every request; status: what every request is answered with instead.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=dict)
    status: list[int] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    change: Callable[[dict], None] = lambda listing: None
    address: str = ""
    cdn: str = ""

    def asked(self, name: str) -> list[str]:
        """The Range of each request for a file, "" for all of it."""
        return [h.get("Range", "") for path, h in self.seen if path.startswith("/cdn/" + name)]

    def hugging_face(self) -> dict:
        """The listing of one API."""

        def told(name: str, data: bytes) -> dict:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            known = {"rfilename": name, "size": len(data), "blobId": blob}
            if name.endswith(".safetensors"):
                known["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            return known

        return {"sha": "c0ffee", "siblings": [told(*f) for f in self.files.items()]}

    def model_scope(self) -> dict:
        """The listing of the other."""
        files = [
            {
                "Path": name,
                "Type": "blob",
                "Size": len(data),
                "Sha256": hashlib.sha256(data).hexdigest(),
            }
            for name, data in self.files.items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": [*files, {"Type": "tree"}]}}


class Handler(BaseHTTPRequestHandler):
    """One request. The API redirects to another port for the files, as hubs do."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        """Answer."""
        hub, url = self.hub, urlsplit(self.path)
        hub.seen.append((self.path, dict(self.headers)))
        if hub.status:
            self._json({}, hub.status.pop(0))
        elif url.path == f"/api/models/{REPO}/revision/main":
            self._listing(hub.hugging_face())
        elif url.path == f"/api/v1/models/{REPO}/repo/files":
            self._listing(hub.model_scope())
        elif url.path == f"/api/v1/models/{REPO}/repo":
            self._redirect(parse_qs(url.query)["FilePath"][0])
        elif url.path.startswith(f"/{REPO}/resolve/c0ffee/"):
            self._redirect(url.path.rpartition("/")[2])
        elif url.path.startswith("/cdn/"):
            self._file(url.path.rpartition("/")[2])
        else:
            self._json({"error": "Repository not found"}, 404)

    def _listing(self, told: dict) -> None:
        self.hub.change(told)
        self._json(told)

    def _json(self, told: object, status: int = 200) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def _redirect(self, name: str) -> None:
        self.send_response(302)
        self.send_header("Location", f"{self.hub.cdn}/cdn/{name}?signature=s3cret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, name: str) -> None:
        data, faults = self.hub.files[name], self.hub.faults.get(name, [])
        fault = faults.pop(0) if faults else ""
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if fault.isdigit():
            self._json({}, int(fault))
            return
        if fault == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "no range":
            start = 0
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        sent = part[: len(part) // 2] if fault in ("drop", "short") else part
        # a short answer claims to be whole; a dropped one breaks its promise
        self.send_header("Content-Length", str(len(sent if fault == "short" else part)))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = fault == "drop"


class Server(ThreadingHTTPServer):
    """One whose clients may leave when they like."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Silence."""


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub, served at `hub.address`, and its files at another."""
    kind = type("Bound", (Handler,), {"hub": hub})
    servers = [Server(("127.0.0.1", 0), kind) for _ in range(2)]
    for s in servers:
        threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start()
    hub.address, hub.cdn = (f"http://127.0.0.1:{s.server_port}" for s in servers)
    try:
        yield hub
    finally:
        for s in servers:
            s.shutdown()
            s.server_close()
