"""Denoises an image of which there is no clean version: ``python -m dip_stages.denoise noisy.png clean.png``.

The network is fitted to the image under ``protocol=recorrupted`` and stopped by the rule that goes with it; the noise
level is estimated from the image unless it is given. An image larger than a tile is done in tiles that overlap, each
a fit of its own, so that memory is that of one tile.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.tiling import ramp, tiles
from dip_stages.errors import ConfigError, DipStagesError, ImageError, Interrupted
from dip_stages.images.encoding import check_encoding, depth_of_file, write_image
from dip_stages.images.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dip_stages.config import Config

__all__ = ["compose_config", "denoise", "main", "noise_level"]


_NO_NOISE = 0.25 / 255
"""An estimate that is not even what rounding to 8 bits leaves."""


def denoise(
    image: NDArray[np.float32],
    config: Config,
    *,
    sigma: float | None = None,
    tile: int = 512,
    overlap: int = 32,
    progress: Callable[[int, int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return a noisy image denoised.

    Args:
        image: ``(H, W, C)`` float32, 1.0 being white; C is 1 or 3. It need not lie in [0, 1].
        config: The fit's; its data and its noise level are not used.
        sigma: Standard deviation of the noise on that scale; None to estimate it from the image.
        tile: Pixels a side of the largest part that is fitted at once.
        overlap: Pixels that neighbouring tiles share at least; they are blended there.
        progress: Called with tile, iteration and iterations planned of a tile, all from 1.

    Returns:
        The same shape, float32.

    Raises:
        ConfigError: If the configuration needs the clean image, or a number is out of range.
        ImageError: If no noise is found.
    """
    if config.sees_clean:
        raise ConfigError("the fit or its rule needs the clean image, which there is not", allowed="blind ones")
    sigma = noise_level(image) if sigma is None else sigma
    config = dataclasses.replace(config, noise=dataclasses.replace(config.noise, beta_max=sigma**2))
    total = np.zeros(image.shape, np.float64)
    weights = np.zeros((*image.shape[:2], 1), np.float64)
    height, width = image.shape[:2]
    for number, part in enumerate(tiles(height, width, tile, overlap), 1):
        here = np.s_[part.top : part.bottom, part.left : part.right]
        fitted = _fitted(np.ascontiguousarray(image[here]), config, number, progress)
        weight = ramp(part.top, part.bottom, height, overlap)[:, None] * ramp(part.left, part.right, width, overlap)
        total[here] += fitted * weight[..., None]
        weights[here] += weight[..., None]
    return (total / weights).astype(np.float32)


def noise_level(image: NDArray[np.float32]) -> float:
    """Return the standard deviation of an image's noise, on the image's scale, estimated from it alone.

    Args:
        image: ``(H, W, C)``.

    Raises:
        ImageError: If there is none to speak of.
    """
    from dip_stages.dip.noise import estimate_sigma

    sigma = estimate_sigma(image)
    if not sigma > _NO_NOISE:
        raise ImageError("no noise is found in the image", allowed="noise.beta_max=…, its variance on [0, 1]")
    return sigma


def _fitted(
    image: NDArray[np.float32], config: Config, tile: int, progress: Callable[[int, int, int], None] | None
) -> NDArray[np.float32]:
    """Fit each member of the ensemble to a tile and return the mean of what they come to; or let a competitor do it."""
    import torch

    from dip_stages.cells.build import build_accelerator, build_module, build_plan
    from dip_stages.cells.threads import in_lanes
    from dip_stages.denoisers.model_store import models_folder
    from dip_stages.denoisers.run import denoise_with
    from dip_stages.dip.callbacks import Steps
    from dip_stages.dip.lightning import fit, trainer_of
    from dip_stages.dip.observation import Observation, to_array, to_tensor
    from dip_stages.dip.stages import Chunks

    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    accelerator = build_accelerator(config.runtime.accelerator)
    observed = to_tensor(image)
    # There is no clean image. Whatever looked at it all the same would come to nothing but NaN.
    observation = Observation(torch.full_like(observed, torch.nan), observed, config.noise.beta_max)
    if config.competitor:
        denoised = denoise_with(
            config.competitor,
            observation,
            config.seed,
            models_folder(Path("outputs")),
            accelerator=accelerator,
            every=config.runtime.checkpoint_every,
            tell=lambda iteration, iterations, _: progress(tile, iteration, iterations) if progress else None,
        )
        return to_array(denoised.image)
    plan = build_plan(config, observation)
    members = config.ensemble.members
    done, results = [0] * members, [np.empty(0, np.float32)] * members
    telling = threading.Lock()

    def fit_one(member: int, should_stop: Callable[[], bool]) -> None:
        def tell(iteration: int) -> None:
            with telling:
                done[member] = iteration
                if progress:
                    progress(tile, sum(done), members * plan.iterations)

        module = build_module(config, plan, observation, accelerator=accelerator, member=member)
        module.should_stop = should_stop
        trainer = trainer_of(accelerator, logger=False, callbacks=[Steps(tell)])
        fit(trainer, module, Chunks(plan, config.trainer.chunk), accelerator)
        done[member] = plan.iterations  # with those that its rule spared
        chosen = module.chosen
        results[member] = to_array(chosen.output if config.average.name == "none" else chosen.average)

    in_lanes(fit_one, range(members), min(config.runtime.members_together, members))
    mean: NDArray[np.float32] = np.stack(results).mean(axis=0)
    return mean


def compose_config(path: Path, overrides: Sequence[str]) -> tuple[Config, bool]:
    """Return the configuration of the command line, and whether its noise level was given.

    Args:
        path: The image's file, whose name may be any.
        overrides: Hydra's, such as ``trainer.iterations=800``; ``protocol=recorrupted`` unless they say another.

    Raises:
        ConfigError: If one is unknown or out of range, or about what the command itself settles.
    """
    from dip_stages.config import FileData, check_extras, parse
    from dip_stages.config.overrides import compose_apart, value_override

    typed = [value_override(override) for override in overrides]
    keys = {override.partition("=")[0] for override in typed}
    if settled := sorted(key for key in keys if key.partition(".")[0] in ("data", "sweep", "outputs", "noise_seed")):
        raise ConfigError("this command settles it itself", setting=settled[0], allowed="settings of the fit")
    given = {"beta_max", "noise.beta_max"} & keys
    default = [] if {"protocol", "method"} & keys else ["protocol=recorrupted"]
    composed = compose_apart(["data=file", "data.path=x", "data.size=null", *default, *typed])
    config = parse(composed)
    check_extras(config)
    # The name is put in here, where nothing in it can be taken for an override or an interpolation.
    return dataclasses.replace(config, data=FileData(path=str(path), size=None)), bool(given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Denoise a file into another."""
    parser = argparse.ArgumentParser(
        prog="python -m dip_stages.denoise",
        description="Denoise an image of which there is no clean version.",
        epilog="Further settings as with python -m dip_stages, such as trainer.iterations=800 or ensemble.members=4.",
    )
    parser.add_argument("noisy", type=Path, help="any format that Pillow opens, grey or colour, 8 or 16 bits a channel")
    parser.add_argument("clean", type=Path, help="where the result goes: same size, depth and colours")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    parser.add_argument("--tile", type=int, default=512, help="pixels a side of what is fitted at once (512)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that neighbouring tiles share (32)")
    given = parser.parse_intermixed_args(arguments)
    keep_freed_memory()
    try:
        _denoise_file(given)
    except (Interrupted, KeyboardInterrupt):
        sys.stderr.write(f"interrupted; {given.clean} is not written\n")
        sys.exit(130)
    except (DipStagesError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


def _denoise_file(given: argparse.Namespace) -> None:
    from dip_stages.config import DDPMConfig
    from dip_stages.denoisers.model_store import check_ddpm

    config, known = compose_config(given.noisy, given.settings)
    image = read_image(given.noisy)
    depth = depth_of_file(given.noisy)
    check_encoding(given.clean, depth)
    if isinstance(config.method, DDPMConfig):
        check_ddpm(config.method, given.noisy, image.shape[2], sigma=0)
    if given.clean.exists() and given.clean.samefile(given.noisy):
        raise ImageError("is the noisy image itself", setting=given.clean, allowed="another file")
    sigma = config.noise.beta_max**0.5 if known else noise_level(image)
    height, width = image.shape[:2]
    count = len(tiles(height, width, given.tile, given.overlap))
    source = "given" if known else "estimated"
    work = config.competitor.name if config.competitor else f"at most {config.iterations} iterations"
    sys.stderr.write(
        f"{given.noisy}: {width}×{height}, {depth} bits, sigma {255 * sigma:.1f}/255 {source}; "
        f"{count} {'tile' if count == 1 else 'tiles'} of {work}\n"
    )
    sys.stderr.writelines(f"{said}\n" for said in config.unmet)
    result = denoise(image, config, sigma=sigma, tile=given.tile, overlap=given.overlap, progress=_Told(count))
    write_image(given.clean, result, depth)
    sys.stderr.write(f"{given.clean}\n")


class _Told:
    """Says how far it is, every ten seconds."""

    def __init__(self, count: int, every: float = 10.0) -> None:
        self._count, self._every, self._last = count, every, time.monotonic()

    def __call__(self, tile: int, iteration: int, iterations: int) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            sys.stderr.write(f"tile {tile}/{self._count}, iteration {iteration} of at most {iterations}\n")


if __name__ == "__main__":
    main()
