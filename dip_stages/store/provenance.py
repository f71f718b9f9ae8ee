"""How a result is computed, for its record and for checkpoints."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dip_stages.store.record_fields import Computed

__all__ = ["computed_on", "git_commit", "provenance"]


def provenance(accelerator: str, *, bfloat16: bool) -> Computed:
    """Return how a result is computed: device, precision, threads, versions and the checkout's commit."""
    return {
        **computed_on(accelerator, bfloat16=bfloat16),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "versions": dict(_versions()),
        "git_commit": git_commit(),
    }


def computed_on(accelerator: str, *, bfloat16: bool) -> Computed:
    """Return what the bits of a fit depend on besides code and versions: device, precision and threads."""
    return {
        "accelerator": accelerator,
        "device": torch.cuda.get_device_name() if accelerator == "cuda" else _cpu_name(),
        "precision": "bfloat16" if bfloat16 else "float32",
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name")
    return str(name or platform.processor() or platform.machine())


@functools.cache
def _versions() -> dict[str, str]:
    packages = ["dip_stages", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "scikit-image"]
    packages += [extra for extra in ("bm3d", "diffusers") if find_spec(extra)]
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@functools.cache
def git_commit() -> str | None:
    """Return the checkout's commit, marked where files differ from it, or None outside a checkout.

    Git runs once a process, since a process computes with the code that it imported, not with a later commit.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607 - git is on PATH or there is no commit
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
