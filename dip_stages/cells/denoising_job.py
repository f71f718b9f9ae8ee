"""What identifies the job of denoising an image, and in what two jobs differ. Torch-free."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from dip_stages.cells.settings import settings_of

if TYPE_CHECKING:
    from dip_stages.config import Config

__all__ = ["differences", "job_of"]

_ANOTHER_IMAGE = {"data.image": "another image", "frame": "another frame", "range": "another --range"}
"""Differences between two jobs from which others follow, such as that of the estimated noise; by their key."""
_SHOWN = 3
"""Differences between two jobs that an error names."""


def job_of(config: Config, *, sigma: float, **further: Any) -> dict[str, Any]:
    """Return what identifies the job of denoising an image: values by the name of their setting.

    Args:
        config: Its data is the image's file, which counts by its content.
        sigma: Standard deviation of the image's noise on [0, 1].
        further: What else the result depends on, such as ``tile`` and ``overlap``; JSON values.

    Raises:
        ImageError: If the image's file cannot be read.
    """
    config = dataclasses.replace(config, noise=dataclasses.replace(config.noise, beta_max=sigma**2))
    job: dict[str, Any] = json.loads(json.dumps({**_flat(settings_of(config)), **further}))
    return job


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return in what two jobs differ, in the words that are typed."""
    unlike = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    for key, sentence in _ANOTHER_IMAGE.items():
        if key in unlike:
            return sentence
    others = {key.removesuffix(".name") for key in unlike if key.endswith(".name")}  # whose settings are others
    unlike = [key for key in unlike if key.endswith(".name") or key.partition(".")[0] not in others]
    unlike = ["method.name"] if "method" in others else unlike
    named = [f"{_typed(key, found.get(key))} there, {_typed(key, wanted.get(key))} here" for key in unlike]
    more = len(named) - _SHOWN
    return "; ".join(named[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _typed(key: str, value: Any) -> str:
    """Return a setting of a job as it is typed."""
    if key == "noise.beta_max" and value is not None:
        return f"sigma={value**0.5:.4g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"--{key} {text}" if key in ("tile", "overlap") else f"{key.removesuffix('.name')}={text}"
