"""Checkpoints: the state of an unfinished fit, so that an interrupted cell goes on to the same bits."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.errors import CheckpointError
from dip_stages.files import replacing
from dip_stages.records import CHECKPOINT, set_aside

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SCHEMA", "resume_from", "write_checkpoint"]

SCHEMA = 1
"""Version of the checkpoint's schema."""

_KEYS = {"schema", "cell", "made_with", "module", "rows", "stages", "seconds", "fit_seconds", "resumed_at"}


def write_checkpoint(folder: Path, values: dict[str, Any]) -> None:
    """Write ``checkpoint.pt``, whole or not at all.

    Args:
        folder: The cell's.
        values: Tensors, numbers, text, and containers of them, with the keys that :func:`resume_from` wants.

    Raises:
        OSError: If it cannot be written; an earlier checkpoint is then still there.
    """
    with replacing(folder / CHECKPOINT) as temporary:
        try:
            torch.save({"schema": SCHEMA, **values}, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"{folder / CHECKPOINT}: {str(error).splitlines()[0]}") from error


def resume_from(folder: Path, cell: str, made_with: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return the checkpoint of a cell if it can be gone on from, else why not.

    One that cannot be trusted is renamed to ``checkpoint.pt.broken``; one made with other code, or on another kind of
    device, is removed, since going on from it would give other bits than computing the cell in one go.

    Args:
        folder: The cell's.
        cell: Its id.
        made_with: What the bits depend on besides the cell.
    """
    path = folder / CHECKPOINT
    try:
        values = _read(path)
    except FileNotFoundError:
        return None, None
    except CheckpointError as error:
        return None, f"{error}; set aside as {set_aside(path).name}, the cell began anew"
    if values["cell"] == cell and values["made_with"] == made_with:
        return values, None
    path.unlink()
    changed = sorted(key for key in made_with if values["made_with"].get(key) != made_with[key])
    what = f"other {', '.join(changed)}" if values["cell"] == cell else f"another cell, {values['cell']}"
    return None, f"{path.name}: made with {what}; removed, the cell began anew"


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code that might be in it.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If it is truncated, altered, or of another schema.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            spoilt = archive.testzip()  # torch checks no checksums
        if spoilt is not None:
            raise CheckpointError(f"{path}: altered since it was written, in {spoilt}")
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: truncated or no checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA or values.keys() != _KEYS:
        raise CheckpointError(f"{path}: of another schema; allowed: {SCHEMA}")
    return values
