from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dip_stages.dip.noise import (
    DrawingFrom,
    FitStream,
    ObservationStream,
    estimate_sigma,
    generator,
    noised,
    spawned,
    standard_normal,
)
from dip_stages.dip.observation import observe
from dip_stages.dip.stages import level_noise


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3,), (3, 0)),
        ((3, 2), (3, 2, 0)),
        ((0,), (0, 0, 0)),
        ((1, 2), (1 + 2 * 2**32,)),
        ((0, 1, 2), (0, 2, 1)),
        ((1, 0), (0, 1)),
    ],
)
def test_other_names_are_other_streams(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    assert not torch.equal(torch.rand(8, generator=generator(*first)), torch.rand(8, generator=generator(*second)))


def test_the_noisiest_level_shares_no_draw_with_a_stream_named_by_one_number() -> None:
    # The jitter of a fit is such a stream: with seed = noise_seed it must not be the noise of the first target.
    assert not torch.equal(
        level_noise((1, 3, 8, 8), 1, 0)[0], standard_normal((1, 3, 8, 8), 0, ObservationStream.STAGE)
    )


def test_streams_keep_their_values() -> None:
    # Another value is another draw: every record and every golden number would change.
    assert dict(ObservationStream.__members__) == {"OBSERVATION": 1, "STAGE": 2}
    assert dict(FitStream.__members__) == {
        "NETWORK": 0, "INPUT": 1, "JITTER": 2, "PROBE": 3, "MEMBER": 4, "SAMPLING": 5, "HELD_OUT": 6, "OWN": 7,
    }  # fmt: skip


@pytest.mark.parametrize("stream", [*ObservationStream, *FitStream])
def test_a_stream_draws_what_its_number_draws(stream: int) -> None:
    named, numbered = (torch.rand(4, generator=generator(3, number, 1)) for number in (stream, int(stream)))
    assert torch.equal(named, numbered)
    assert spawned(3, stream) == spawned(3, int(stream))


def test_drawing_more_draws_the_same_first() -> None:
    assert torch.equal(standard_normal((64,), 5, 1), standard_normal((8, 8), 5, 1).flatten())


def test_draws_are_float32_on_the_cpu_with_any_default() -> None:
    draws = standard_normal((4,), 0)
    assert (draws.dtype, draws.device.type) == (torch.float32, "cpu")


def an_image(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((40, 50, channels), dtype=np.float32)


def test_a_stream_is_named_by_its_seed_and_numbers() -> None:
    first, again = (torch.rand(5, generator=generator(3, 1, 2)) for _ in range(2))
    assert torch.equal(first, again)
    for other in ((3,), (3, 1), (3, 2, 1), (4, 1, 2)):
        assert not torch.equal(first, torch.rand(5, generator=generator(*other)))


def test_draws_leave_global_random_state_unchanged() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that must not change
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    standard_normal((100,), 0)
    observe(an_image(), beta_max=0.1, noise_seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002


def test_standard_normal_is_standard() -> None:
    draws = standard_normal((200_000,), 0)
    assert draws.mean().abs() < 0.01
    assert draws.var().item() == pytest.approx(1, abs=0.02)


def test_a_level_keeps_the_variance_and_an_observation_adds_to_it() -> None:
    image, eps = torch.full((3,), 0.5), torch.ones(3)
    torch.testing.assert_close(noised(image, 0.19, eps, keep_variance=True), torch.full((3,), 0.9 * 0.5 + 0.19**0.5))
    torch.testing.assert_close(noised(image, 0.25, eps, keep_variance=False), torch.full((3,), 1.0))


def test_a_flat_image_has_no_noise() -> None:
    for value in (0.0, 0.25, 77 / 255):
        assert estimate_sigma(np.full((32, 32, 3), value, np.float32)) == pytest.approx(0, abs=1e-6)


def test_inside_the_context_torch_draws_from_the_generator_and_leaves_the_global_state_unchanged() -> None:
    torch.manual_seed(3)
    wanted = [torch.nn.Conv2d(2, 3, 3).weight, torch.randn(4), torch.empty(5).uniform_()]
    torch.manual_seed(4)
    before = torch.get_rng_state()
    with DrawingFrom(torch.Generator().manual_seed(3)):
        drawn = [torch.nn.Conv2d(2, 3, 3).weight, torch.randn(4), torch.empty(5).uniform_()]
    assert all(map(torch.equal, drawn, wanted))
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_that_are_made_in_several_threads_at_once_are_those_made_alone() -> None:
    def made(seed: int) -> torch.Tensor:
        with DrawingFrom(torch.Generator().manual_seed(seed)):
            layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(20)))
        return torch.nn.utils.parameters_to_vector(layers.parameters())

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(made, range(16)))
    assert all(torch.equal(network, made(seed)) for seed, network in enumerate(together))
