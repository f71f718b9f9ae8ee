"""Checkpoints: the state of an unfinished fit or training, from which it resumes to the same bits.

A file is what ``torch.save`` writes, followed by the SHA-256 of that.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.errors import CheckpointError
from dip_stages.store.files import replacing, set_aside
from dip_stages.store.provenance import computed_on
from dip_stages.store.records import CHECKPOINT
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SCHEMA",
    "made_with",
    "read_checkpoint",
    "read_state",
    "write_checkpoint",
    "write_state",
    "write_tensors",
]

SCHEMA = 3
"""Version of the checkpoint's schema."""

_OF_FITS = {"members", "unfinished", "rows", "stages"}
_OF_ATTEMPT = {"seconds", "fit_seconds", "resumed_at"}
_KEYS = {"schema", "cell", "made_with"} | _OF_FITS | _OF_ATTEMPT


def write_checkpoint(folder: Path, values: dict[str, Any]) -> None:
    """Write ``checkpoint.pt``, whole or not at all.

    Args:
        folder: The cell's.
        values: Tensors, numbers, text, and containers of them, with the keys that :func:`read_checkpoint` checks.

    Raises:
        OSError: If it cannot be written; an earlier checkpoint is then still there.
    """
    write_state(folder / CHECKPOINT, {"schema": SCHEMA, **values})


def read_checkpoint(folder: Path, cell: str, made_with: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return the checkpoint of a cell if the cell can resume from it, else None and why not.

    A checkpoint that cannot be trusted is renamed to ``checkpoint.pt.broken``. One made with other code or on another
    kind of device is removed: resuming from it would give other bits than computing the cell without interruption.
    Files that a killed process left half written are removed too.

    Args:
        folder: The cell's; no other process may be computing the cell.
        cell: The cell's id.
        made_with: What the bits depend on besides the cell, as :func:`made_with` returns it.
    """
    path = folder / CHECKPOINT
    for temporary in folder.glob(f".{CHECKPOINT}.*"):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    try:
        values = _read(path)
    except FileNotFoundError:
        return None, None
    except CheckpointError as error:
        return None, f"{error}; set aside as {set_aside(path).name}, the cell starts again"
    if values["cell"] == cell and values["made_with"] == made_with:
        return values, None
    path.unlink()
    changed = sorted(key for key in made_with if values["made_with"].get(key) != made_with[key])
    what = f"other {', '.join(changed)}" if values["cell"] == cell else f"another cell, {values['cell']}"
    return None, f"{path.name}: made with {what}; removed, the cell starts again"


def made_with(code: str, accelerator: str, *, bfloat16: bool) -> dict[str, Any]:
    """Return what the bits of a fit depend on besides the cell: code, torch, device, precision and threads."""
    return {"code": code, "torch": str(torch.__version__), **computed_on(accelerator, bfloat16=bfloat16)}


def _read(path: Path) -> dict[str, Any]:
    values = read_state(path)
    if values.get("schema") != SCHEMA or values.keys() != _KEYS:
        raise CheckpointError("of another schema", setting=path, allowed=str(SCHEMA))
    return values


def write_state(path: Path, values: dict[str, Any]) -> None:
    """Write a state with its checksum, whole or not at all.

    Raises:
        OSError: If it cannot be written; an earlier one is then still there.
    """
    content = _packed(values)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.write(_checksum(content))


def read_state(path: Path) -> dict[str, Any]:
    """Read what :func:`write_state` wrote, without running any code that might be in it.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If it is truncated or altered.
    """
    try:
        values = _loaded(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged archives and pickles raise exceptions of any type
        why = first_line(error, default=type(error).__name__)
        raise CheckpointError(f"truncated, altered or no checkpoint: {why}", setting=path) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"got {type(values).__name__}", setting=path, allowed="a mapping")
    return values


def _loaded(path: Path) -> Any:
    content = memoryview(path.read_bytes())
    size = len(content) - hashlib.sha256().digest_size
    # The archive's own checksums do not cover its directory, where one flipped bit can give a tensor other numbers.
    if size <= 0 or content[size:] != _checksum(content[:size]):
        raise ValueError("its checksum is not that of its content")
    return torch.load(io.BytesIO(content[:size]), map_location="cpu", weights_only=True)


def write_tensors(path: Path, values: dict[str, Any]) -> None:
    """Write tensors, and containers of them, whole or not at all.

    Raises:
        OSError: If they cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(_packed(values))


def _packed(values: dict[str, Any]) -> memoryview:
    content = io.BytesIO()
    torch.save(values, content)  # not to the file itself: there torch reports a full disk as a RuntimeError
    return content.getbuffer()


def _checksum(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).digest()
