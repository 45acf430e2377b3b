"""A server on this machine that can break off, refuse ranges and redirect, and what it serves."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; each attribute turns on one kind of misbehavior."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.ranges = True
        self.wrong_range = False
        self.part_of_all: str | None = None  # a Content-Range for those who ask for all
        self.part_bytes = 0  # the most that a part has, if any
        self.endless = False
        self.breaks: list[int] = []  # bytes to send before each of the next answers breaks off
        self.statuses: list[int] = []  # error codes of the next answers
        self.redirect: str | None = None
        self.requests: list[str | None] = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if server.redirect is not None:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        body = server.files[self.path]
        start, end = 0, len(body)
        if server.endless:
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(body)
            return
        if not wanted and server.part_of_all is not None:
            self.send_response(206)
            self.send_header("Content-Range", server.part_of_all)
        elif wanted and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            start = 0 if server.wrong_range else start
            end = min(end, start + server.part_bytes) if server.part_bytes else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else end
        self.wfile.write(body[start:end])

    def log_message(self, *_args: object) -> None:
        pass


def make_zip(entries: dict[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Return a zip archive of the entries."""
    buffer = io.BytesIO()
    items = entries.items() if isinstance(entries, dict) else entries
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in items:
            archive.writestr(name, content)
    return buffer.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
