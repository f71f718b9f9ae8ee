"""JSON files with their own checksum, so that damage is found even where a file is still valid JSON. Torch-free."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import orjson

from dip_stages.errors import OutdatedError, RecordError
from dip_stages.store.files import write_text
from dip_stages.store.hashing import content_sha256
from dip_stages.store.text import os_reason

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_checksum", "check_schema", "parse_json", "read_content", "read_json", "with_checksum", "write_json"]

_CHECKSUM = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n}\n\Z')


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values with their checksum, whole or not at all; numbers that are not finite become null."""
    write_text(path, with_checksum(values))


def with_checksum(values: dict[str, Any]) -> str:
    """Return values, at least one, as JSON that ends in the SHA-256 of what is before it."""
    text = json.dumps(_finite(values), indent=1, allow_nan=False).removesuffix("\n}")
    return f'{text},\n "checksum": "{content_sha256(text.encode())}"\n}}\n'


def read_json(path: Path) -> dict[str, Any]:
    """Read what :func:`write_json` wrote, without the checksum.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordError: If it cannot be read, is no JSON object, or altered.
    """
    content = read_content(path)
    values = parse_json(path, content)
    check_checksum(path, content)
    return values


def read_content(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordError: If it cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a third less time than pathlib's, and there may be thousands
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:  # no file, a folder above it that is none, a disk that fails
        raise RecordError(f"cannot be read: {os_reason(error)}", setting=path) from error


def parse_json(path: Path, content: bytes) -> dict[str, Any]:
    """Return the values of a file's content, without the checksum, which is not compared.

    Raises:
        RecordError: If it is no JSON object.
    """
    try:
        values = _parsed(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"truncated or no JSON: {error}", setting=path) from error
    if not isinstance(values, dict):
        raise RecordError(f"got a JSON {type(values).__name__}", setting=path, allowed="an object")
    values.pop("checksum", None)
    return values


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"\\ud" not in content:
            raise
        # A file name that is not UTF-8 has lone surrogates, which orjson refuses; NaN is no JSON, and becomes an error.
        return json.loads(content, parse_constant=int)


def check_checksum(path: Path, content: bytes) -> None:
    """Check that a file's content is what was written.

    Raises:
        RecordError: If it is not.
    """
    end = _CHECKSUM.search(content, max(0, len(content) - 100))
    if end is None or end[1].decode() != content_sha256(content[: end.start()]):
        raise RecordError("altered since it was written: its checksum is not that of its content", setting=path)


def check_schema(path: Path, values: dict[str, Any], schema: int) -> None:
    """Check that a file's values are of our version.

    Raises:
        OutdatedError: If they are of an older one.
        RecordError: If they are of another one.
    """
    got = values.get("schema")
    if got == schema:
        return
    if isinstance(got, int) and got < schema:
        raise OutdatedError(f"of an older version of dip_stages (schema {got}, not {schema})", setting=path)
    raise RecordError(f"of another version of dip_stages (schema {got}, not {schema})", setting=path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
