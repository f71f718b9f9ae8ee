"""How a result was computed, for its record."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

__all__ = ["provenance"]


def provenance(accelerator: str, *, bfloat16: bool) -> dict[str, Any]:
    """Return how a result is computed: device, precision, threads, versions and the checkout's commit."""
    packages = ["torch", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "scikit-image"]
    packages += [extra for extra in ("bm3d", "diffusers") if find_spec(extra)]
    device = torch.cuda.get_device_name() if accelerator == "cuda" else _cpu_name()
    return {
        "accelerator": accelerator,
        "device": device,
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "precision": "bfloat16" if bfloat16 else "float32",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("dip_stages", *packages)},
        "git_commit": _git_commit(),
    }


def _cpu_name() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name")
    return str(name or platform.processor() or platform.machine())


def _git_commit() -> str | None:
    """Return the checkout's commit, marked where files differ from it, or None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607 - git is on PATH or there is no commit
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
