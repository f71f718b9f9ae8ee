"""Denoises an array of which there is no clean version."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from dip_stages.api.arguments import as_overrides
from dip_stages.api.threads import threads_kept
from dip_stages.cells.denoising import Fitted, check_blind, denoise, noise_level, tile_count
from dip_stages.denoise import check_method, compose_config
from dip_stages.errors import ConfigError, ImageError, Interrupted
from dip_stages.images.original import Original, near_unit
from dip_stages.images.size import Size, check_size
from dip_stages.store.text import first_line
from dip_stages.sweep.tile_progress import TileProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["DenoisedImage", "denoise_image"]

_WHITE = {"float16": 1.0, "float32": 1.0, "float64": 1.0, "uint8": 255.0, "uint16": 65535.0}
"""Types of arrays, and their value of white, as scikit-image has it."""

_NAME = Path("image")
"""What messages call the array."""


class DenoisedImage(NamedTuple):
    """A denoised array, and how it was denoised.

    Attributes:
        image: Denoised, in shape and type of the noisy one.
        sigma: Standard deviation of the noise, given or estimated; white is 1.
        iteration: The iteration that the stopping rule kept; of several fits (tiles, members of an ensemble) their
            mean, rounded; None of a method that fits no network.
        curves: The loss of every fit: columns ``tile`` and ``member``, from 1; ``iteration``; ``loss``; ``kept``, the
            iteration that was kept of this fit.
    """

    image: NDArray[Any]
    sigma: float
    iteration: int | None
    curves: pd.DataFrame


@overload
def denoise_image(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    channel_axis: int | None = -1,
    seed: int = 0,
    overrides: Sequence[str] = (),
    progress: bool = False,
    full_output: Literal[False] = False,
) -> NDArray[Any]: ...


@overload
def denoise_image(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    channel_axis: int | None = -1,
    seed: int = 0,
    overrides: Sequence[str] = (),
    progress: bool = False,
    full_output: Literal[True],
) -> DenoisedImage: ...


def denoise_image(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    channel_axis: int | None = -1,
    seed: int = 0,
    overrides: Sequence[str] = (),
    progress: bool = False,
    full_output: bool = False,
) -> NDArray[Any] | DenoisedImage:
    """Denoise an image of which there is no clean version.

    A network is fitted to the image alone, under ``protocol=recorrupted`` with the stopping rule of that protocol, as
    by the command ``dip-stages-denoise``. Images of more than 512 pixels a side are denoised in overlapping tiles.

    Args:
        image: Grey ``(H, W)``, or with 1 or 3 channels. Floats (16, 32 or 64 bits) with black at 0 and white at 1,
            which noise may exceed; or ``uint8`` or ``uint16``, whose largest value is white.
        sigma: Standard deviation of the noise where white is 1, whatever the type: 25 of 255 is ``25 / 255``. None to
            estimate it from the image.
        channel_axis: The axis of the channels; ignored for an array of two axes.
        seed: Of the network's weights, its input and the noise of recorruption.
        overrides: Settings, as typed on the command line: ``["trainer.iterations=800", "ensemble.members=4"]``.
        progress: Whether to show a bar, or lines where there is no terminal, on the standard error.
        full_output: Whether to return a :class:`DenoisedImage`.

    Returns:
        The denoised image, in shape and type of the noisy one; floats are not clipped.

    Raises:
        ConfigError: If an argument or an override is not right, or the method needs the clean image.
        ImageError: If the array is no such image, has values that are not finite or far outside of 0 to 1, or no noise
            is found in it.
        MachineError: If this machine lacks the device that is asked for.
        KeyboardInterrupt: After an interruption.

    Example:
        >>> import numpy as np
        >>> from dip_stages import denoise_image
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (32, 32))
        >>> tiny = ["arch.width=4", "arch.scales=2", "trainer.iterations=200"]
        >>> denoised = denoise_image(noisy, sigma=0.1, overrides=tiny)
        >>> denoised.shape, denoised.dtype, bool(denoised.std() < noisy.std() / 2)
        ((32, 32), dtype('float64'), True)
    """
    given = _array(image)
    original = _original(given, channel_axis)
    config, sigma_in_overrides = compose_config(_NAME, [f"seed={seed}", *as_overrides(overrides)])
    check_blind(config)
    check_method(config, _NAME, original)
    sigma = _sigma(sigma, config.noise.beta_max**0.5 if sigma_in_overrides else None, original)
    fits: list[Fitted] = []
    shown = TileProgress(tile_count(original.pixels), config.iterations) if progress else nullcontext(lambda *_: None)
    with threads_kept(), shown as on_progress:
        try:
            pixels = denoise(original.pixels, config, sigma=sigma, progress=on_progress, on_fit=fits.append)
        except Interrupted as error:  # a KeyboardInterrupt that Lightning took
            raise KeyboardInterrupt from error
    denoised = _like(given, pixels, channel_axis)
    if not full_output:
        return denoised
    iteration = round(sum(fit.iteration for fit in fits) / len(fits)) if fits else None
    return DenoisedImage(denoised, sigma, iteration, _curves(fits))


def _array(image: ArrayLike) -> NDArray[Any]:
    """Return an array, unless that would lose what the image has besides its values."""
    if isinstance(image, np.ma.MaskedArray):
        raise ImageError(setting="image", got="a masked array", allowed="an array, as image.filled(0.5)")
    if getattr(image, "mode", None) == "P":
        raise ImageError(setting="image", got="an image with a palette", allowed="image.convert('RGB')")
    if isinstance(image, (str, Path)):
        allowed = "an array, as skimage.io.imread returns it; dip-stages-denoise takes files"
        raise ImageError(setting="image", got=str(image), allowed=allowed)
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        allowed = "what numpy.asarray takes"
        raise ImageError(
            f", which is no array: {first_line(error)}", setting="image", got=type(image).__name__, allowed=allowed
        ) from error


def _original(image: NDArray[Any], channel_axis: int | None) -> Original:
    """Return an array as what was read from a file would be."""
    white = _WHITE.get(image.dtype.name)
    if white is None:
        raise ImageError(setting="image.dtype", got=str(image.dtype), allowed=", ".join(_WHITE))
    channels = 1
    if image.ndim == 2:
        image = image[..., None]
    elif image.ndim == 3 and channel_axis is not None and -3 <= channel_axis < 3:
        image = np.moveaxis(image, channel_axis, -1)
        channels = image.shape[2]
    else:
        raise ImageError(
            f" with channel_axis={channel_axis}",
            setting="image.shape",
            got=image.shape,
            allowed="(H, W), or (H, W, C) with channel_axis=-1",
        )
    if channels not in (1, 3):
        raise ImageError(
            setting="image",
            got=f"{channels} channels",
            allowed="1 or 3 along channel_axis; without transparency, as in image[..., :3]",
        )
    check_size(_NAME, Size(image.shape[1], image.shape[0]))
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():  # both are NaN if a value is
        raise ImageError("got values that are not finite", setting="image", allowed="numbers")
    if white == 1.0 and not near_unit(low, high):
        raise ImageError(
            f"its values are {low:g} to {high:g}, far outside of 0 to 1",
            setting="image",
            allowed="black at 0 and white at 1, as in image / 255; or uint8, uint16",
        )
    pixels = np.ascontiguousarray(image / white, np.float32)
    return Original(pixels, "L" if channels == 1 else "RGB", image.dtype, (0.0, white))


def _sigma(given: float | None, in_overrides: float | None, original: Original) -> float:
    if given is None:
        return noise_level(original.pixels) if in_overrides is None else in_overrides
    if in_overrides is not None:
        raise ConfigError(" in the overrides too", setting="sigma", got=given, allowed="one of them")
    try:
        sigma = float(given)
    except (TypeError, ValueError):
        sigma = np.nan
    if not 0 < sigma < 1:
        allowed = "a standard deviation > 0 and < 1, white being 1, as in 25 / 255"
        raise ConfigError(setting="sigma", got=given, allowed=allowed)
    return sigma


def _like(given: NDArray[Any], pixels: NDArray[np.float32], channel_axis: int | None) -> NDArray[Any]:
    """Return pixels ``(H, W, C)`` in shape, type and scale of the array that was given."""
    white = _WHITE[given.dtype.name]
    if white > 1:
        pixels = np.rint(np.clip(pixels, 0, 1) * white)
    if given.ndim == 2:
        return pixels[..., 0].astype(given.dtype)
    assert channel_axis is not None  # noqa: S101 - checked
    return np.ascontiguousarray(np.moveaxis(pixels, -1, channel_axis), given.dtype)


def _curves(fits: Sequence[Fitted]) -> pd.DataFrame:
    import pandas as pd

    columns = ["tile", "member", "iteration", "loss", "kept"]
    rows = [
        (fit.tile, fit.member, iteration, loss, fit.iteration) for fit in sorted(fits) for iteration, loss in fit.curve
    ]
    return pd.DataFrame(rows, columns=columns)
