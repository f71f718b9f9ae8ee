"""Denoises an image of which there is no clean version: ``dip-stages-denoise noisy.png clean.png``.

The network is fitted to the image under ``protocol=recorrupted``, with the stopping rule of that protocol. The noise
level is estimated from the image unless it is given. An image larger than a tile is denoised in overlapping tiles,
each by a fit of its own, so memory does not grow with the image.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.denoise"))

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.denoising import denoise, noise_level
from dip_stages.cells.machine import check_machine
from dip_stages.cells.tiling import tiles
from dip_stages.cells.work_folder import WorkFolder, check_free, job_of
from dip_stages.console import program
from dip_stages.errors import ConfigError, DipStagesError, ImageError, Interrupted
from dip_stages.images.encoding import check_encoding, depth_of_file, write_image
from dip_stages.images.opening import FORMAT_NAMES
from dip_stages.images.reading import read_image
from dip_stages.names import printable
from dip_stages.store.text import plural
from dip_stages.sweep.tile_progress import TileProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dip_stages.config import Config

__all__ = ["compose_config", "denoise", "main", "noise_level"]


def compose_config(path: Path, overrides: Sequence[str]) -> tuple[Config, bool]:
    """Return the configuration of the command line, and whether its noise level was given.

    Args:
        path: The image's file.
        overrides: Hydra's, such as ``trainer.iterations=800``; the default is ``protocol=recorrupted``.

    Raises:
        ConfigError: If one is unknown, out of range, or of a setting that the command itself makes.
    """
    from dip_stages.config import FileData, check_extras, parse
    from dip_stages.config.overrides import compose_apart, value_override

    typed = [value_override(override) for override in overrides]
    keys = {override.partition("=")[0] for override in typed}
    if made := sorted(key for key in keys if key.partition(".")[0] in ("data", "sweep", "outputs", "noise_seed")):
        raise ConfigError("this command sets it itself", setting=made[0], allowed="settings of the fit")
    given = {"beta_max", "noise.beta_max"} & keys
    default = [] if {"protocol", "method"} & keys else ["protocol=recorrupted"]
    composed = compose_apart(["data=file", "data.path=x", "data.size=null", *default, *typed])
    config = parse(composed)
    check_extras(config)
    # The path is set here, where Hydra does not interpret its characters.
    return dataclasses.replace(config, data=FileData(path=str(path), size=None)), bool(given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a noisy image and write it denoised."""
    parser = argparse.ArgumentParser(
        prog=program("dip_stages.denoise"),
        description="Denoise an image of which there is no clean version.",
        epilog=f"Further settings as with {program()}, such as trainer.iterations=800 or ensemble.members=4.",
    )
    parser.add_argument("noisy", type=Path, help=f"{FORMAT_NAMES}; 8 or 16 bits a channel")
    parser.add_argument("clean", type=Path, help="the result's file: same size, depth and colours")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    parser.add_argument("--tile", type=int, default=512, help="pixels a side of what is fitted at once (512)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that neighbouring tiles share (32)")
    given = parser.parse_intermixed_args(arguments)
    keep_freed_memory()
    try:
        _denoise_file(given)
    except Interrupted as error:  # a KeyboardInterrupt that Lightning took
        raise KeyboardInterrupt from error
    except (DipStagesError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


def _denoise_file(given: argparse.Namespace, *, force: bool = False) -> None:
    from dip_stages.config import DDPMConfig
    from dip_stages.denoisers.model_store import check_ddpm

    config, sigma_given = compose_config(given.noisy, given.settings)
    image = read_image(given.noisy)
    depth = depth_of_file(given.noisy)
    check_encoding(given.clean, depth)
    if isinstance(config.method, DDPMConfig):
        check_ddpm(config.method, given.noisy, image.shape[2], sigma=0)
    if given.clean.exists() and given.clean.samefile(given.noisy):
        raise ImageError("is the noisy image itself", setting=given.clean, allowed="another file")
    check_free(given.clean, force=force)
    if config.on_device:
        check_machine(config.runtime.accelerator)
    sigma = config.noise.beta_max**0.5 if sigma_given else noise_level(image)
    height, width = image.shape[:2]
    count = len(tiles(height, width, given.tile, given.overlap))
    source = "given" if sigma_given else "estimated"
    work = config.competitor.name if config.competitor else f"at most {config.iterations} iterations"
    sys.stderr.write(
        f"{printable(given.noisy)}: {width}×{height}, {depth} bits, sigma {255 * sigma:.1f}/255 {source}; "
        f"{plural(count, 'tile')} of {work}\n"
    )
    sys.stderr.writelines(f"{assumption}\n" for assumption in config.unmet)
    job = job_of(config, sigma=sigma, tile=given.tile, overlap=given.overlap)
    with (
        TileProgress(count, config.iterations) as progress,
        WorkFolder(given.clean, job, force=force, note=progress.note) as work,
    ):
        result = denoise(
            image, config, sigma=sigma, tile=given.tile, overlap=given.overlap, progress=progress, work=work
        )
        write_image(work.draft, result, depth)
        work.finish()
    sys.stderr.write(f"{printable(given.clean)}\n")
