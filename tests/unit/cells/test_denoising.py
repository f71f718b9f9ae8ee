from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dip_stages.cells import blind_fit
from dip_stages.cells.denoising import denoise
from dip_stages.denoisers.classical import tv
from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.reading import bundled_path, fit_to, read_image
from tests.raising import refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dip_stages.config import Config
    from tests.conftest import MakeCell


def noisy_image(side: int = 48, sigma: float = 0.1, name: str = "coffee") -> tuple[NDArray[np.float32], Any]:
    clean = fit_to(read_image(bundled_path(name)), side)
    noise = np.random.default_rng(1).normal(0, sigma, clean.shape).astype(np.float32)
    return clean, clean + noise


@settings(max_examples=30)
@given(height=st.integers(16, 300), width=st.integers(16, 300), overlap=st.integers(0, 32))
def test_tiles_that_agree_are_put_together_to_what_they_agree_on(
    make_cell: MakeCell, height: int, width: int, overlap: int
) -> None:
    image = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    config = make_cell("protocol=recorrupted").config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blind_fit, "denoise_tile", lambda part, *_: part)
        np.testing.assert_allclose(denoise(image, config, sigma=0.1, tile=64, overlap=overlap), image, atol=1e-6)


def test_tiles_that_differ_are_blended_without_a_seam(make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = iter([0.0, 1.0])
    monkeypatch.setattr(blind_fit, "denoise_tile", lambda part, *_: np.full_like(part, next(levels)))
    config = make_cell("protocol=recorrupted").config
    row = denoise(np.zeros((64, 96, 1), np.float32), config, sigma=0.1, tile=64, overlap=32)[0, :, 0]
    assert (row[:32] == 0).all()
    assert (row[64:] == 1).all()
    assert 0 < np.diff(row[31:65]).max() < 0.04


def test_a_fit_of_several_tiles_and_members_reports_its_progress(make_cell: MakeCell) -> None:
    _, image = noisy_image(80)
    config = make_cell("protocol=recorrupted", "ensemble.members=2", "trainer.iterations=4", "trainer.chunk=2").config
    reports: list[tuple[int, int, int]] = []
    result = denoise(image, config, tile=64, overlap=16, progress=lambda *how_far: reports.append(how_far))
    assert result.shape == image.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert reports == [(tile, iteration, 8) for tile in range(1, 5) for iteration in (2, 4, 6, 8)]
    at_once = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, members_together=2))
    assert (denoise(image, at_once, tile=64, overlap=16) == result).all()


def test_the_noise_level_is_estimated_unless_it_is_given(make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def fitted(part: NDArray[np.float32], config: Config, *_: object) -> NDArray[np.float32]:
        seen.append(config.noise.beta_max**0.5)
        return part

    monkeypatch.setattr(blind_fit, "denoise_tile", fitted)
    _, image = noisy_image(128, 0.1)
    config = make_cell("protocol=recorrupted", "noise.beta_max=0.5").config
    denoise(image, config)
    denoise(image, config, sigma=0.2)
    assert seen == [pytest.approx(0.1, rel=0.15), pytest.approx(0.2)]


def test_a_competitor_denoises_too_at_the_level_that_it_is_given(make_cell: MakeCell) -> None:
    image = np.random.default_rng(0).normal(0.5, 0.1, (64, 80, 3)).astype(np.float32)
    config = make_cell("method=tv").config
    wanted = tv(image, 0.2, strength=0.7)
    np.testing.assert_array_equal(denoise(image, config, sigma=0.2), wanted)
    assert denoise(image, config).std() > wanted.std()  # estimated to be less


def test_what_needs_the_clean_image_or_finds_no_noise_is_refused(make_cell: MakeCell) -> None:
    flat = np.full((32, 32, 1), 0.5, np.float32)
    with refused(ImageError, names=("sigma=…",)):
        denoise(flat, make_cell("protocol=recorrupted").config)
    for section, option in (("protocol", "clean"), ("stopping", "oracle")):
        with refused(ConfigError, section, got=option, problem="uses the clean image"):
            denoise(flat, make_cell(f"{section}={option}").config, sigma=0.1)
    for tile, overlap, setting, got in ((32, 8, "tile", 32), (512, 300, "overlap", 300), (512, -1, "overlap", -1)):
        with refused(ConfigError, setting, got=got):
            denoise(flat, make_cell("protocol=recorrupted").config, sigma=0.1, tile=tile, overlap=overlap)


@pytest.mark.slow
def test_an_image_in_tiles_is_denoised(make_cell: MakeCell) -> None:
    clean, image = noisy_image(112, 0.1)
    config = make_cell("protocol=recorrupted", "arch.width=16", "trainer.iterations=300", "arch.scales=4").config
    result = denoise(image, config, tile=64, overlap=16)
    error = ((result - clean) ** 2).mean()
    assert -10 * np.log10(error) > 20 + 4
    seam = ((result - clean)[48:64] ** 2).mean()
    assert seam < 2 * error
