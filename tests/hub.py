"""A stand-in for the Hugging Face hub: data sets over HTTP, as the hub answers; and the files of such."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
    """Answers for data sets, which are folders by their names; notes what was asked."""

    protocol_version = "HTTP/1.1"
    sets: ClassVar[Mapping[str, Path]]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"/(api/)?datasets/([^/]+/[^/]+)(?:/(revision|tree|resolve)/[^/]+/?(.*))?", path)
        if found is None or found[2] not in self.sets:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body=False)
            return
        api, name, asked, inside = found.groups()
        root = self.sets[name]
        files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
        if api and asked in (None, "revision"):
            siblings = [{"rfilename": file} for file in files]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}, body=body)
        elif api and asked == "tree":
            self._json(self._inside(files, inside), body=body)
        elif not api and asked == "resolve" and inside in files:
            self._file(files[inside], body=body)
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=False)

    def _inside(self, files: dict[str, Path], folder: str) -> list[dict[str, Any]]:
        """Return what lies in a folder: files and folders, in it or at any depth."""
        parts = [part for part in folder.split("/") if part]
        paths = [file.split("/") for file in files if file.split("/")[: len(parts)] == parts]
        recursive = "recursive=true" in self.path.lower()
        names = {"/".join(path[:n]) for path in paths for n in range(len(parts) + 1, len(path) + 1)}
        if not recursive:
            names = {name for name in names if name.count("/") == len(parts)}
        return [self._entry(files, name) for name in sorted(names)]

    def _entry(self, files: dict[str, Path], name: str) -> dict[str, Any]:
        if name not in files:
            return {"type": "directory", "path": name, "oid": "1" * 40}
        return {"type": "file", "path": name, "size": files[name].stat().st_size, "oid": "0" * 40}

    def _json(self, answer: object, *, body: bool) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(self, path: Path, *, body: bool) -> None:
        content = path.read_bytes()
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
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
def a_hub(sets: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve folders as data sets; gives the endpoint, and what is asked of it."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"sets": sets, "asked": asked}))
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


def write_sets(root: Path, address: str) -> dict[str, Path]:
    """Write a data set of each form that `datasets` knows for images, and return the folders by their names.

    Args:
        root: The folder of the folders.
        address: Where the data sets will be served, for those that name images by URLs.
    """
    import datasets

    sets = {f"user/{name}": root / name for name in ("plain", "zipped", "tarred", "configs", "addresses", "odd")}
    for folder in sets.values():
        folder.mkdir()
    for folder in (sets["user/plain"] / "train", sets["user/configs"] / "one", sets["user/configs"] / "two"):
        folder.mkdir()
        for row in range(ROWS):
            (folder / f"{row}.png").write_bytes(encoded(row + (folder.name == "two")))
    configs = [f"- config_name: {name}\n  data_files: {name}/*.png\n" for name in ("one", "two")]
    (sets["user/configs"] / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    with zipfile.ZipFile(sets["user/zipped"] / "train.zip", "w") as archive:
        for row in range(ROWS):
            archive.writestr(f"{row}.png", encoded(row))
    with tarfile.open(sets["user/tarred"] / "train.tar", "w") as tar:
        for row in range(ROWS):
            for ending, content in (("png", encoded(row)), ("json", b'{"a": 1}')):
                about = tarfile.TarInfo(f"{row}.{ending}")
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
    (sets["user/addresses"] / "images").mkdir()
    (sets["user/addresses"] / "images" / "0.png").write_bytes(encoded(0))
    elsewhere = address.replace("127.0.0.1", "localhost")  # a URL that is not of the hub
    urls = [f"{elsewhere}/datasets/user/plain/resolve/main/train/{name}.png" for name in ("1", "gone")]
    lines = ["path,url,text,number", f"images/0.png,{urls[0]},words,1", f"images/gone.png,{urls[1]},words,2"]
    (sets["user/addresses"] / "train.csv").write_text("\n".join(lines) + "\n")
    image = datasets.Image()
    features = {"a/b": image, "raw": datasets.Value("binary"), "list": datasets.List(image), "parts": {"in": image}}
    rows = [
        {"a/b": content, "raw": encoded(1), "list": [encoded(2)], "parts": {"in": encoded(3)}}
        for content in (encoded(0), None, b"no image", encoded(3))
    ]
    odd = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    odd.to_parquet(sets["user/odd"] / "train.parquet")
    return sets
