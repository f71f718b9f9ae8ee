"""Identifies the code that computes by a hash of its sources, for plans and checkpoints. Torch-free."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

from dip_stages.errors import DriftError

__all__ = ["check_code", "fingerprint"]

_COMPUTES = (
    "cells",
    "config",
    "denoisers",
    "dip",
    "images/bounds.py",
    "images/column.py",
    "images/decoding.py",
    "images/folders.py",
    "images/hub.py",
    "images/ifd.py",
    "images/netpbm.py",
    "images/opening.py",
    "images/reading.py",
    "images/signatures.py",
    "images/size.py",
    "images/sources.py",
    "images/tiff.py",
    "store/checkpoints.py",
    "store/hashing.py",
    "store/provenance.py",
    "store/records.py",
)
"""Packages and modules that a result depends on; a plan or a checkpoint of other sources is not used."""

_PACKAGE = Path(__file__).resolve().parents[1]


@functools.cache
def fingerprint() -> str:
    """Return a hash of the sources that compute and of torch's version, as this process started with them."""
    return _hash_of_sources(_PACKAGE)


def check_code(planned: str | None = None) -> None:
    """Check that this process has the code of a plan, or that the sources have not changed since it started.

    Args:
        planned: The plan's :func:`fingerprint`; None to compare the sources on disk with those that this process
            started with, before it imports more of them.

    Raises:
        DriftError: If the code differs.
    """
    if fingerprint() != (_hash_of_sources(_PACKAGE) if planned is None else planned):
        raise DriftError(
            "the code of dip_stages, or torch, changed between the plan and this worker's start; "
            "the same command plans again, with the present code"
        )


def _hash_of_sources(package: Path) -> str:
    sha = hashlib.sha256(version("torch").encode())
    for name in _COMPUTES:
        for path in sorted((package / name).rglob("*.py")) or [package / name]:
            sha.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()[:16]
