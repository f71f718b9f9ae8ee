"""Denoises an image of which there is no clean version: ``dip-stages-denoise noisy.png denoised.png``.

The network is fitted to the image under ``protocol=recorrupted``, with the stopping rule of that protocol. The noise
level is estimated from the image unless it is given. An image larger than a tile is denoised in overlapping tiles,
each by a fit of its own, so memory does not grow with the image.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.denoise", resumes=False))

import dataclasses
import difflib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.denoising import OVERLAP, TILE, check_blind, denoise, noise_level, tile_count
from dip_stages.cells.denoising_job import job_of
from dip_stages.cells.machine import check_machine
from dip_stages.cells.tiling import MIN_TILE
from dip_stages.cells.work_folder import WorkFolder, check_free
from dip_stages.config.denoise_arguments import parse_arguments, to_type
from dip_stages.errors import ConfigError, DipStagesError, ImageError, Interrupted, check_range
from dip_stages.images.encoding import check_output, left_out, write_image
from dip_stages.images.original import Original, depth_name, read_original
from dip_stages.names import printable
from dip_stages.store.text import os_reason, plural
from dip_stages.sweep.tile_progress import TileProgress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dip_stages.config import Config

__all__ = ["check_method", "compose_config", "denoise", "main", "noise_level"]

_NOISE_LEVELS = ("sigma", "beta_max", "noise.beta_max")

_REFUSED = {
    "data": "the image is the input",
    "noise_seed": "no noise is added",
    "outputs": "the output is the second name",
    "sweep": "it is of sweeps",
    "objective": "it is of sweeps",
    "failed_objective": "it is of sweeps",
    "hydra": "Hydra runs no job here",
}
"""Sections that the command does not take, and why."""


def compose_config(path: Path, overrides: Sequence[str]) -> tuple[Config, bool]:
    """Return the configuration of the command line, and whether its noise level was given.

    Args:
        path: The image's file.
        overrides: Hydra's, such as ``trainer.iterations=800``; the default is ``protocol=recorrupted``.

    Raises:
        ConfigError: If one is unknown, out of range, or of a setting that the command itself makes.
    """
    from dip_stages.config import FileData, check_extras, parse
    from dip_stages.config.compose import compose_apart
    from dip_stages.config.own import own_options

    keys = [override.partition("=")[0] for override in overrides]
    levels = [override for override, key in zip(overrides, keys, strict=True) if key in _NOISE_LEVELS]
    if len(levels) > 1:
        raise ConfigError(f"{' and '.join(levels)}: the noise level is given more than once", allowed="one of them")
    default = [] if {"protocol", "method"} & {*keys} else ["protocol=recorrupted"]
    given = ["data=file", "data.path=x", "data.size=null", *default]
    composed = compose_apart(overrides, given=given, refused=_REFUSED)
    config = parse(composed)
    check_extras(config)
    for option in own_options(config):
        option.check()
    # The path is set here, where Hydra does not interpret its characters.
    return dataclasses.replace(config, data=FileData(path=str(path), size=None)), bool(levels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a noisy image and write it denoised."""
    keep_freed_memory()
    try:
        given = parse_arguments(arguments, tile=TILE, overlap=OVERLAP)
        _denoise_file(given)
    except Interrupted as error:  # a KeyboardInterrupt that Lightning took
        raise KeyboardInterrupt from error
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"{printable(error.filename or given.output)}: {os_reason(error)}\n")
        sys.exit(2)


def _denoise_file(given: argparse.Namespace) -> None:
    config, sigma_given = compose_config(given.input, given.settings)
    check_blind(config)
    original = _read(given)
    _check_output(given, original)
    check_method(config, given.input, original)
    sigma = config.noise.beta_max**0.5 if sigma_given else _estimated(given.input, original)
    height, width = original.pixels.shape[:2]
    check_range("--tile", given.tile, at_least=MIN_TILE)
    check_range("--overlap", given.overlap, at_least=0, at_most=given.tile // 2)
    count = tile_count(original.pixels, given.tile, given.overlap)
    by = config.competitor.name if config.competitor else f"at most {config.iterations} iterations"
    sys.stderr.write(
        f"{printable(given.input)}: {width}×{height}, {depth_name(original.kind)}, sigma {255 * sigma:.1f}/255 "
        f"{'given' if sigma_given else 'estimated'}; {plural(count, 'tile')} of {by}\n"
    )
    sys.stderr.writelines(f"{assumption}\n" for assumption in config.unmet)
    tiling = {"tile": given.tile, "overlap": given.overlap}
    job = job_of(config, sigma=sigma, **tiling, frame=original.frame, range=original.limits)
    with (
        TileProgress(count, config.iterations) as progress,
        WorkFolder(given.output, job, force=given.force, note=progress.note) as work,
    ):
        result = denoise(original.pixels, config, sigma=sigma, **tiling, progress=progress, work=work)
        try:
            write_image(work.draft, result, original, given.quality)
            work.finish()
        except OSError as error:  # a long job is not lost
            raise _saved_elsewhere(given, result, original, error) from error
    sys.stderr.write(f"{printable(given.output)}\n")


def _saved_elsewhere(
    given: argparse.Namespace, result: NDArray[np.float32], original: Original, error: OSError
) -> ImageError:
    """Write a result that its folder does not take into the temporary folder, and return an error that says so."""
    path = Path(tempfile.mkdtemp(prefix="dip-stages-")) / given.output.name
    write_image(path, result, original, given.quality)
    return ImageError(f"cannot be written: {os_reason(error)}; the result is {path}", setting=given.output)


def _read(given: argparse.Namespace) -> Original:
    """Read the input, and say which of its images that is if there are several."""
    if not given.input.exists():
        raise ImageError(f"no such file{_instead(given)}", setting=given.input)
    check_range("--frame", given.frame or 0, at_least=0)
    original = read_original(given.input, frame=given.frame or 0, limits=given.range and tuple(given.range))
    if original.frames > 1 and given.frame is None:
        sys.stderr.write(
            f"{printable(given.input)}: has {original.frames} frames; the first is denoised; for another: "
            f"--frame 1 to {original.frames - 1}\n"
        )
    return original


def _instead(given: argparse.Namespace) -> str:
    """Return what to type where there is no input."""
    folder, output = given.input.parent, given.output
    there = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    near = [name for name in difflib.get_close_matches(given.input.name, there) if folder / name != output]
    if output.is_file() and not (near and given.force):
        return f", but {output} is there: the input comes first; {to_type(given, output, given.input)}"
    return f"; {to_type(given, given.input.with_name(near[0]) if near else 'IMAGE', output)}"


def _check_output(given: argparse.Namespace, original: Original) -> None:
    """Check that the output can be written, and say what it cannot hold."""
    output = given.output
    if given.quality is not None:
        check_range("--quality", given.quality, at_least=1, at_most=100)
    check_output(output, original, given.quality)
    if output.exists() and output.samefile(given.input):
        raise ImageError("is the input itself", setting=output, allowed="another output")
    check_free(output, force=given.force)
    if names := left_out(output, original.metadata):
        sys.stderr.write(f"{printable(output)}: not kept: {', '.join(names)}\n")


def check_method(config: Config, path: Path, original: Original) -> None:
    """Check that the method can denoise such an image, on this machine.

    Args:
        config: The method.
        path: The image's name, for messages.
        original: The image.

    Raises:
        ImageError: If it cannot.
        ModelError: If a trained model is another than the one wanted.
        MachineError: If this machine lacks the device that is asked for.
    """
    from dip_stages.config import DDPMConfig
    from dip_stages.denoisers.model_store import check_ddpm

    if original.mode.startswith("CMYK") and (isinstance(config.method, DDPMConfig) or config.loss.name != "mse"):
        raise ImageError("loss and method are of grey or RGB images", setting=path, allowed="loss=mse of CMYK")
    if isinstance(config.method, DDPMConfig):
        check_ddpm(config.method, path, original.pixels.shape[2], sigma=0)
    if config.on_device:
        check_machine(config.runtime.accelerator)


def _estimated(path: Path, original: Original) -> float:
    try:
        return noise_level(original.pixels)
    except ImageError as error:
        error.setting = str(path)
        raise
