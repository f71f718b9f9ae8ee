"""The DDPM's noise levels are those of its formula, its draws depend on seed and iteration alone, and it learns."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dip_stages.denoisers.ddpm import DDPM, DDPMSettings, TrainingStream
from dip_stages.dip.lightning import trainer_of
from dip_stages.dip.noise import generator

TINY = DDPMSettings(
    channels=3, crop=16, width=8, timesteps=200, beta_start=0.0001, beta_end=0.1, iterations=6, batch=2, lr=0.001,
    ema=0.995, seed=0,
)  # fmt: skip


def test_streams_of_the_training_keep_their_values() -> None:
    assert dict(TrainingStream.__members__) == {"NETWORK": 0, "ITERATION": 1}


def images(count: int, seed: int, side: int = 16) -> list[torch.Tensor]:
    """Return simple images: a disc of one colour on a ground of another."""
    draws = generator(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    found = []
    for _ in range(count):
        top, left = (side * torch.rand(1, generator=draws) for _ in range(2))
        radius = side * (0.2 + 0.2 * torch.rand(1, generator=draws))
        inside = ((rows - top) ** 2 + (columns - left) ** 2 < radius**2).float()
        ground, disc = torch.rand(2, 3, 1, 1, generator=draws)
        found.append(ground + (disc - ground) * inside)
    return found


def fitted(settings: DDPMSettings, learnt: list[torch.Tensor]) -> DDPM:
    model = DDPM(settings, learnt)
    trainer_of("cpu", logger=False, callbacks=[]).fit(model, range(settings.iterations))
    return model


@settings(max_examples=25)
@given(sigma=st.floats(0.01, 0.5))
def test_denoising_begins_where_the_noise_is_that_of_the_image(sigma: float) -> None:
    model = DDPM(TINY)
    betas = torch.linspace(TINY.beta_start, TINY.beta_end, TINY.timesteps, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, dim=0)
    # On [-1, 1], where noise is twice what it is on [0, 1].
    distances = [abs(math.sqrt((1 - k) / k) - 2 * sigma) for k in kept.tolist()]
    assert distances[model.step_of(sigma)] == pytest.approx(min(distances), abs=1e-4)


def test_draws_depend_on_seed_and_iteration_alone() -> None:
    learnt = images(3, 0)
    one, other = fitted(TINY, learnt), fitted(TINY, learnt)
    torch.manual_seed(7)
    assert one.losses == other.losses
    assert len(one.losses) == TINY.iterations
    assert fitted(DDPMSettings(**{**vars(TINY), "seed": 1}), learnt).losses != one.losses
    for ours, theirs in zip(one.averaged.state_dict().values(), other.averaged.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_of_the_weights_is_exponential() -> None:
    model = DDPM(DDPMSettings(**{**vars(TINY), "ema": 0.9}), images(2, 0))
    seen: list[torch.Tensor] = []
    model.on_iteration = lambda: seen.append(next(model.network.parameters()).detach().clone())
    trainer_of("cpu", logger=False, callbacks=[]).fit(model, range(TINY.iterations))
    wanted = seen[0]
    for weights in seen[1:]:
        wanted = 0.9 * wanted + 0.1 * weights
    torch.testing.assert_close(next(model.averaged.module.parameters()), wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 30)])
def test_an_image_of_any_size_keeps_its_size(channels: int, height: int, width: int) -> None:
    model = DDPM(DDPMSettings(**{**vars(TINY), "channels": channels}))
    observed = torch.rand(1, channels, height, width)
    result = model.denoise(observed, 0.02, samples=2, draws=generator(0))
    assert result.shape == observed.shape
    assert 0 <= result.min() <= result.max() <= 1
    again = model.denoise(observed, 0.02, samples=2, draws=generator(0))
    assert torch.equal(result, again)
    expected = model.expected(observed, 0.02)
    assert expected.shape == observed.shape
    assert 0 <= expected.min() <= expected.max() <= 1


def test_where_noise_is_known_the_expected_image_is_the_clean_one() -> None:
    model = DDPM(TINY)
    clean, sigma = torch.rand(1, 3, 16, 16), 0.1
    # With a network that knows the noise at the step's own level, equation 15 gives the image back.
    kept = float(model.scheduler.alphas_cumprod[model.step_of(sigma)])
    level = math.sqrt((1 - kept) / kept)
    eps = torch.randn(clean.shape)

    class Known(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, step: int) -> Any:
            del noisy, step
            return SimpleNamespace(sample=eps)

    model.averaged = Known()  # type: ignore[assignment]
    torch.testing.assert_close(model.expected(clean + level / 2 * eps, sigma), clean, atol=1e-5, rtol=0)


def test_samples_are_images() -> None:
    steps: list[tuple[int, int]] = []
    drawn = DDPM(TINY).sample(2, generator(0), lambda *step: steps.append(step))
    assert drawn.shape == (2, 3, 16, 16)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert steps[-1] == (TINY.timesteps, TINY.timesteps)


@pytest.mark.slow
def test_it_learns_to_denoise_new_images() -> None:
    learning = DDPMSettings(**{**vars(TINY), "width": 16, "iterations": 500, "batch": 16, "lr": 0.002, "ema": 0.98})
    model = fitted(learning, images(60, 0))
    assert sum(model.losses[-50:]) < 0.5 * sum(model.losses[:50])
    sigma, gains = 0.15, []
    for number, clean in enumerate(images(8, 1)):
        observed = clean + sigma * torch.randn(clean.shape, generator=generator(2, number))
        results = (
            model.denoise(observed[None], sigma, samples=4, draws=generator(3, number))[0],
            model.expected(observed[None], sigma)[0],
        )
        before, *after = ((image - clean).square().mean() for image in (observed.clamp(0, 1), *results))
        gains.append([10 * math.log10(float(before / error)) for error in after])
    for way in zip(*gains, strict=True):
        assert sum(way) / len(way) > 3
        assert min(way) > 0
