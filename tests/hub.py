"""A stand-in for the Hugging Face hub: one data set of parquet files, over HTTP, as the hub answers; and such files."""

from __future__ import annotations

import io
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "3" * 40

# The columns of the course report's data set beside its images, and how many rows a stand-in has.
TEXTS = (
    "image_url", "image_alt", "id", "name", "scientific_name", "gender", "taxonomy", "region", "locality", "date",
    "usnm_no", "guid", "edan_url", "source", "image_hash",
)  # fmt: skip
NUMBERS = ("stage", "sim_score")
ROWS = 4


class Hub(BaseHTTPRequestHandler):
    """Answers for the data set ``name``, whose files ``files`` are by their paths there; notes what was asked."""

    protocol_version = "HTTP/1.1"
    name: ClassVar[str]
    files: ClassVar[dict[str, Path]]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if re.fullmatch(rf"/api/datasets/{self.name}(/revision/[^/]+)?", path):
            siblings = [{"rfilename": file} for file in self.files]
            about = {"id": self.name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            self._json(about, body=body)
        elif found := re.fullmatch(rf"/api/datasets/{self.name}/tree/[^/]+/?(.*)", path):
            self._json(self._inside(found[1]), body=body)
        elif (found := re.fullmatch(rf"/datasets/{self.name}/resolve/[^/]+/(.+)", path)) and found[1] in self.files:
            self._file(self.files[found[1]], body=body)
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=False)

    def _inside(self, folder: str) -> list[dict[str, Any]]:
        """Return what lies in a folder itself: files, and folders."""
        parts = [part for part in folder.split("/") if part]
        deeper = [file for file in self.files if file.split("/")[: len(parts)] == parts]
        names = sorted({"/".join(file.split("/")[: len(parts) + 1]) for file in deeper})
        return [self._entry(name) for name in names]

    def _entry(self, name: str) -> dict[str, Any]:
        if name not in self.files:
            return {"type": "directory", "path": name, "oid": "1" * 40}
        return {"type": "file", "path": name, "size": self.files[name].stat().st_size, "oid": "0" * 40}

    def _json(self, answer: object, *, body: bool) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(self, path: Path, *, body: bool) -> None:
        content = path.read_bytes()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{len(content)}"', "Accept-Ranges": "bytes"}
        code = 200
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, whole = int(part[1]), len(content)
            content = content[first : int(part[2] or whole - 1) + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(content) - 1}/{whole}"
            code = 206
        self._send(code, content, headers, body=body)

    def _send(self, code: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(code)
        for key, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def a_hub(name: str, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as a data set; gives the endpoint, and what is asked of it."""
    files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    asked: list[str] = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("OneHub", (Hub,), {"name": name, "files": files, "asked": asked})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def pixels(seed: int, side: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def write_butterflies(root: Path) -> Path:
    """Write a data set with the columns of the course report's, as parquet, laid out as on the hub."""
    import datasets

    texts = {name: datasets.Value("string") for name in TEXTS}
    numbers = {name: datasets.Value("float64") for name in NUMBERS}
    features = datasets.Features({**texts, "image": datasets.Image(), **numbers})
    rows = [
        {**{name: f"{name} {row}" for name in TEXTS}, **dict.fromkeys(NUMBERS, 0.5 * row)}
        | {"image": {"bytes": encoded(row), "path": None}}
        for row in range(ROWS)
    ]
    (root / "data").mkdir()
    made = datasets.Dataset.from_list(rows, features=features)
    made.to_parquet(root / "data" / "train-00000-of-00001.parquet")
    return root
