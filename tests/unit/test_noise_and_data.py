from __future__ import annotations

import numpy as np
import pytest
import torch

from dip_stages.data import observe, to_array, to_tensor
from dip_stages.errors import ConfigError
from dip_stages.noise import generator, noised, standard_normal


def a_picture(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((40, 50, channels), dtype=np.float32)


def test_a_stream_is_named_by_its_seed_and_numbers() -> None:
    first, again = (torch.rand(5, generator=generator(3, 1, 2)) for _ in range(2))
    assert torch.equal(first, again)
    for other in ((3,), (3, 1), (3, 2, 1), (4, 1, 2)):
        assert not torch.equal(first, torch.rand(5, generator=generator(*other)))


def test_draws_leave_global_random_state_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that must be left alone
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    standard_normal((100,), 0)
    observe(a_picture(), beta_max=0.1, noise_seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002


def test_standard_normal_is_standard() -> None:
    draws = standard_normal((200_000,), 0)
    assert draws.mean().abs() < 0.01
    assert draws.var().item() == pytest.approx(1, abs=0.02)


def test_a_level_keeps_the_variance_and_an_observation_adds_to_it() -> None:
    picture, eps = torch.full((3,), 0.5), torch.ones(3)
    torch.testing.assert_close(noised(picture, 0.19, eps, keep_variance=True), torch.full((3,), 0.9 * 0.5 + 0.19**0.5))
    torch.testing.assert_close(noised(picture, 0.25, eps, keep_variance=False), torch.full((3,), 1.0))


def test_an_observation_is_the_picture_plus_unclipped_noise_of_that_variance() -> None:
    observation = observe(a_picture(), beta_max=0.04, noise_seed=0)
    noise = observation.observed - observation.clean
    assert noise.var().item() == pytest.approx(0.04, rel=0.05)
    assert observation.observed.min() < 0
    assert observation.observed.max() > 1
    assert observation.sigma == pytest.approx(0.2)


def test_the_draws_are_the_same_at_every_noise_level() -> None:
    weak, strong = (observe(a_picture(), beta_max=beta, noise_seed=3) for beta in (0.01, 0.04))
    torch.testing.assert_close(2 * (weak.observed - weak.clean), strong.observed - strong.clean, atol=1e-6, rtol=1e-5)


def test_the_draws_depend_on_picture_and_noise_seed() -> None:
    draws = [
        (o.observed - o.clean).flatten()
        for o in (
            observe(a_picture(0), beta_max=0.01, noise_seed=0),
            observe(a_picture(0), beta_max=0.01, noise_seed=1),
            observe(a_picture(1), beta_max=0.01, noise_seed=0),
        )
    ]
    assert torch.corrcoef(torch.stack(draws)).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("beta_max", [0.0, 1.0, -1.0, float("nan")])
def test_a_noise_level_out_of_range_is_refused(beta_max: float) -> None:
    with pytest.raises(ConfigError, match=r"noise\.beta_max"):
        observe(a_picture(), beta_max=beta_max, noise_seed=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensor_and_array_are_each_others_inverse(channels: int) -> None:
    picture = a_picture(channels=channels)
    tensor = to_tensor(picture)
    assert tensor.shape == (1, channels, 40, 50)
    assert tensor[0, -1, 7, 9] == picture[7, 9, -1]
    np.testing.assert_array_equal(to_array(tensor), picture)
