"""SHA-256 of bytes, of files and of settings. Torch-free."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["content_sha256", "file_sha256", "settings_id"]


def content_sha256(content: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hex; computed again only where size or times have changed.

    Raises:
        OSError: If it cannot be read.
    """
    found = os.stat(path)  # noqa: PTH116 - a third of pathlib's time, and a big sweep asks at every cell
    return _file_sha256(os.fspath(path), found.st_mtime_ns, found.st_ctime_ns, found.st_size)


@functools.cache
def _file_sha256(path: str, *_state: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settings_id(settings: Mapping[str, Any]) -> str:
    """Return ten hex digits that name settings: of the SHA-256 of their JSON with sorted keys."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return content_sha256(text.encode())[:10]
