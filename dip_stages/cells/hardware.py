"""What the machine computes on: device, precision and memory layout."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from dip_stages.cells.machine import lacks_device

if TYPE_CHECKING:
    from dip_stages.config import Config

__all__ = ["build_accelerator", "devices", "wants_bfloat16", "wants_channels_last"]

_LARGE = 128 * 128
"""Pixels from which channels-last is slower in float32 on a CPU."""


def build_accelerator(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps`` for a setting that may be ``auto``.

    Raises:
        MachineError: If this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise lacks_device(name, devices(name)[1])
    return name


def devices(name: str) -> tuple[int, str]:
    """Return how many devices of a kind this process may use, and why none.

    Args:
        name: ``cuda`` or ``mps``.
    """
    if name == "mps":
        there = torch.backends.mps.is_available()
        built = torch.backends.mps.is_built()
        return int(there), "" if there else "macOS offers none" if built else "torch is built without it"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        return torch.cuda.device_count(), ""
    except (AssertionError, RuntimeError) as error:  # torch without CUDA; no driver, an old one, no GPU
        return 0, re.split(r"\. |\n", str(error))[0].rstrip(".")


def wants_bfloat16(precision: str, accelerator: str) -> bool:
    """Return whether to compute in bfloat16: ``auto`` does so where the hardware supports it."""
    if precision != "auto":
        return precision == "bfloat16"
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities() if accelerator == "cpu" else {}
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))


def wants_channels_last(config: Config, accelerator: str, size: tuple[int, int]) -> bool:
    """Return whether tensors are laid out channels-last: ``auto`` does so where it is not slower.

    In float32 on a CPU, the gradient of a convolution's weights takes up to five times as long in that layout for
    images of 128x128 pixels and more, and the rest of an iteration gains less; see ``docs/performance.md``.

    Args:
        config: The cell's.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        size: Height and width of the image.
    """
    if config.trainer.layout != "auto":
        return config.trainer.layout == "channels_last"
    float32_on_cpu = accelerator == "cpu" and not wants_bfloat16(config.trainer.precision, accelerator)
    return not (float32_on_cpu and size[0] * size[1] >= _LARGE)
