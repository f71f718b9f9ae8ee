"""Denoises one image of which there is no clean version, in overlapping tiles. Torch-free until the first tile."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dip_stages.cells.tiling import ramp, tiles
from dip_stages.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dip_stages.cells.work_folder import WorkFolder
    from dip_stages.config import Config

__all__ = ["OVERLAP", "TILE", "Fitted", "check_blind", "denoise", "noise_level", "tile_count"]

TILE, OVERLAP = 512, 32
"""Pixels a side of what is fitted at once, and pixels that neighbours share, by default."""

_NO_NOISE = 0.25 / 255
"""Largest estimate that means no noise: rounding to 8 bits alone gives a larger one."""


class Fitted(NamedTuple):
    """A fit that has ended.

    Attributes:
        tile: Its tile, from 1.
        member: Of the ensemble, from 1.
        iteration: The iteration that was kept.
        curve: Iterations and their losses.
    """

    tile: int
    member: int
    iteration: int
    curve: list[tuple[int, float]]


def denoise(
    image: NDArray[np.float32],
    config: Config,
    *,
    sigma: float | None = None,
    tile: int = TILE,
    overlap: int = OVERLAP,
    progress: Callable[[int, int, int], None] | None = None,
    work: WorkFolder | None = None,
    on_fit: Callable[[Fitted], None] | None = None,
) -> NDArray[np.float32]:
    """Return a noisy image denoised.

    Args:
        image: ``(H, W, C)`` float32, 1.0 being white; C is 1 or 3, or 4 for CMYK. Values may lie outside [0, 1].
        config: The method; its data and its noise level are not used.
        sigma: Standard deviation of the noise on that scale; None to estimate it from the image.
        tile: Largest side of a part that is fitted at once, in pixels.
        overlap: Pixels that neighbouring tiles share at least; they are blended there.
        progress: Called with tile, iteration and planned iterations of a tile, all from 1.
        work: Keeps what is done, and has what an interrupted process has kept of this job; None to keep nothing.
        on_fit: Called with each fit that ends in this process.

    Returns:
        The same shape, float32.

    Raises:
        ConfigError: If the configuration needs the clean image, or a number is out of range.
        ImageError: If no noise is found.
        Interrupted: If interrupted from the keyboard or by SIGTERM in a fit.
    """
    check_blind(config)
    sigma = noise_level(image) if sigma is None else sigma
    config = dataclasses.replace(config, noise=dataclasses.replace(config.noise, beta_max=sigma**2))
    return _in_tiles(image, config, tile, overlap, progress or (lambda *_: None), work, on_fit or (lambda _: None))


def tile_count(image: NDArray[np.float32], tile: int = TILE, overlap: int = OVERLAP) -> int:
    """Return the number of tiles of an image ``(H, W, C)``.

    Raises:
        ConfigError: If a number is out of range.
    """
    return len(tiles(image.shape[0], image.shape[1], tile, overlap))


def check_blind(config: Config) -> None:
    """Check that a fit and its rule do not need the clean image.

    Raises:
        ConfigError: If one does.
    """
    if not config.sees_clean:
        return
    problem = ", which uses the clean image, and there is none"
    if config.staged and config.protocol.name == "clean":
        raise ConfigError(problem, setting="protocol", got="clean", allowed="recorrupted, renoised, observed")
    raise ConfigError(problem, setting="stopping", got=config.stopping.name, allowed="a rule that does not, as auto")


def _in_tiles(
    image: NDArray[np.float32],
    config: Config,
    size: int,
    overlap: int,
    progress: Callable[[int, int, int], None],
    work: WorkFolder | None,
    on_fit: Callable[[Fitted], None],
) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    parts = tiles(height, width, size, overlap)
    from dip_stages.cells import blind_fit  # torch and Lightning take seconds to import

    if work is not None:
        work.begin(blind_fit.made_here(config), len(parts))
    total = np.zeros(image.shape, np.float64)
    weights = np.zeros((*image.shape[:2], 1), np.float64)
    for number, part in enumerate(parts, 1):
        here = np.s_[part.top : part.bottom, part.left : part.right]
        kept = work.tile(number) if work is not None else None
        denoised = kept.result() if kept is not None else None
        if denoised is None:
            tile = np.ascontiguousarray(image[here])

            def fitted(member: int, iteration: int, curve: list[tuple[int, float]], number: int = number) -> None:
                on_fit(Fitted(number, member, iteration, curve))

            denoised = blind_fit.denoise_tile(tile, config, functools.partial(progress, number), kept, fitted)
        weight = ramp(part.top, part.bottom, height, overlap)[:, None] * ramp(part.left, part.right, width, overlap)
        total[here] += denoised * weight[..., None]
        weights[here] += weight[..., None]
    return (total / weights).astype(np.float32)


def noise_level(image: NDArray[np.float32]) -> float:
    """Return the standard deviation of an image's noise, on the image's scale, estimated from the image.

    Args:
        image: ``(H, W, C)``.

    Raises:
        ImageError: If no noise is found.
    """
    from dip_stages.dip.noise import estimate_sigma  # imports torch

    sigma = estimate_sigma(image)
    if not sigma > _NO_NOISE:
        allowed = "sigma=…, the noise's standard deviation, white being 1"
        raise ImageError("no noise is found in the image", allowed=allowed)
    return sigma
