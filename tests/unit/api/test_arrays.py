from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from dip_stages import DenoisedImage, denoise_image
from dip_stages.cells.denoising import noise_level
from dip_stages.errors import ConfigError, ImageError
from dip_stages.sweep.tile_progress import TileProgress

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

TINY = ("arch.width=4", "arch.scales=2", "trainer.iterations=4", "trainer.chunk=2")
SIGMA = 0.1


def noisy(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(0.5, SIGMA, shape)


@pytest.mark.parametrize(
    ("shape", "axis"), [((20, 24), -1), ((20, 24), None), ((20, 24, 1), -1), ((20, 24, 3), -1), ((3, 20, 24), 0)]
)
def test_what_comes_has_the_shape_of_what_was_given(shape: tuple[int, ...], axis: int | None) -> None:
    image = noisy(*shape)
    denoised = denoise_image(image, SIGMA, channel_axis=axis, overrides=TINY)
    assert denoised.shape == shape
    assert denoised.dtype == np.float64
    assert denoised.flags.c_contiguous
    assert np.array_equal(image, noisy(*shape))


@pytest.mark.parametrize(
    ("name", "white", "off"), [("float32", 1, 1e-6), ("float16", 1, 2e-3), ("uint8", 255, 0.51), ("uint16", 65535, 1)]
)
def test_every_type_comes_back_on_its_scale(name: str, white: int, off: float) -> None:
    image = np.rint(noisy(20, 24).clip(0, 1) * 255) / 255
    expected = denoise_image(image, SIGMA, overrides=["method=tv"])
    given = (image * white).round(0 if white > 1 else 9).astype(name)
    denoised = denoise_image(given, SIGMA, overrides=["method=tv"])
    assert denoised.dtype == name
    assert np.abs(denoised.astype(float) - expected * white).max() <= off


def test_it_is_what_the_command_writes(command_in_process: CommandLine, tmp_path: Path) -> None:
    image = (noisy(24, 24, 3).clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "noisy.png")
    done = command_in_process("noisy.png", "denoised.png", "seed=3", *TINY, module="dip_stages.denoise")
    assert done.returncode == 0, done.stderr
    denoised = denoise_image(image, seed=3, overrides=TINY)
    assert np.array_equal(denoised, np.asarray(Image.open(tmp_path / "denoised.png")))


def test_the_full_output_has_how_it_was_denoised() -> None:
    image = noisy(20, 24)
    found = denoise_image(image, overrides=[*TINY, "ensemble.members=2"], full_output=True)
    assert isinstance(found, DenoisedImage)
    assert found.sigma == noise_level(image[..., None].astype(np.float32))
    assert found.curves.member.tolist() == [1, 1, 2, 2]
    assert found.curves.iteration.tolist() == [2, 4, 2, 4]
    assert (found.curves.loss > 0).all()
    assert found.iteration == round(found.curves.drop_duplicates(["tile", "member"]).kept.mean())
    assert np.array_equal(found.image, denoise_image(image, overrides=[*TINY, "ensemble.members=2"]))


def test_a_method_without_a_network_has_neither_iteration_nor_curves() -> None:
    found = denoise_image(noisy(20, 24), SIGMA, overrides=["method=tv"], full_output=True)
    assert found.iteration is None
    assert found.curves.empty


ARRAY = "allowed: an array, as skimage.io.imread returns it; dip-stages-denoise takes files"
CHANNELS = "allowed: 1 or 3 along channel_axis; without transparency, as in image[..., :3]"
AXES = "allowed: (H, W), or (H, W, C) with channel_axis=-1"
SCALE = "allowed: a standard deviation > 0 and < 1, white being 1, as in 25 / 255"
REFUSED: list[tuple[Any, dict[str, Any], str | None]] = [
    (noisy(20, 24, 4), {}, f"image: got '4 channels'; {CHANNELS}"),
    (noisy(3, 20, 24), {}, f"image: got '24 channels'; {CHANNELS}"),
    (noisy(20, 24, 3), {"channel_axis": None}, f"image.shape: got (20, 24, 3) with channel_axis=None; {AXES}"),
    (noisy(20), {}, f"image.shape: got (20,) with channel_axis=-1; {AXES}"),
    (noisy(20, 12), {}, "image: got 12×20 pixels; allowed: at least 16 a side"),
    (noisy(0, 24), {}, "image: got 24×0 pixels; allowed: at least 16 a side"),
    (noisy(20, 24) * 255, {}, None),
    (np.full((20, 24), np.nan), {}, "image: got values that are not finite; allowed: numbers"),
    (np.zeros((20, 24), int), {}, "image.dtype: got 'int64'; allowed: float16, float32, float64, uint8, uint16"),
    (np.zeros((20, 24), bool), {}, "image.dtype: got 'bool'; allowed: float16, float32, float64, uint8, uint16"),
    ("x.png", {}, f"image: got 'x.png'; {ARRAY}"),
    (np.ma.masked_less(noisy(20, 24), 0.4), {}, "image: got 'a masked array'; allowed: an array, as image.filled(0.5)"),
    (Image.fromarray(np.zeros((20, 24), np.uint8)).convert("P"), {}, ("image: got 'an image with a palette'; allowed: "
     "image.convert('RGB')")),
    ([[1.0], [1.0, 2.0]], {}, None),
    (noisy(20, 24), {"sigma": 25}, f"sigma: got 25; {SCALE}"),
    (noisy(20, 24), {"sigma": "x"}, None),
    (noisy(20, 24), {"sigma": 0.1, "overrides": ["sigma=0.1"]}, None),
    (noisy(20, 24), {"overrides": ["stopping=oracle"]}, None),
    (noisy(20, 24), {"overrides": ["data.name=coffee"]}, None),
    (noisy(20, 24), {"overrides": ["arch.widht=3"]}, None),
    (np.zeros((20, 24)), {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("image", "arguments", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_denoised_is_refused(image: Any, arguments: dict[str, Any], sentence: str | None) -> None:
    with pytest.raises((ConfigError, ImageError)) as caught:
        denoise_image(image, **arguments)
    assert "\n" not in str(caught.value)
    if sentence:
        assert str(caught.value) == sentence


def test_an_interruption_is_pythons_own() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of xdist ignores it
    threading.Timer(1.0, signal.raise_signal, [signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            denoise_image(noisy(64, 64), SIGMA, overrides=["trainer.iterations=100000", "stopping=none"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_threads_are_left_as_they_were() -> None:
    threads = torch.get_num_threads()
    denoise_image(noisy(20, 24), SIGMA, overrides=[*TINY, f"runtime.threads={threads + 1}"])
    assert torch.get_num_threads() == threads


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TileProgress.__init__, "__defaults__", (0.0,))  # a line each time
    denoise_image(noisy(20, 24), SIGMA, overrides=TINY)
    assert capsys.readouterr() == ("", "")
    denoise_image(noisy(20, 24), SIGMA, overrides=TINY, progress=True)
    assert "tile 1/1" in capsys.readouterr().err
