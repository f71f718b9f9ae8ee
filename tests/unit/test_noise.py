from __future__ import annotations

import pytest
import torch

from dip_stages.noise import generator, standard_normal
from dip_stages.stages import STAGE_STREAM, level_noise


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
    # A fit's input jitter is such a stream: with seed = noise_seed it must not be the noise of the first target.
    assert not torch.equal(level_noise((1, 3, 8, 8), 1, 0)[0], standard_normal((1, 3, 8, 8), 0, STAGE_STREAM))


def test_drawing_more_draws_the_same_first() -> None:
    assert torch.equal(standard_normal((64,), 5, 1), standard_normal((8, 8), 5, 1).flatten())


def test_draws_are_float32_on_the_cpu_whatever_the_default() -> None:
    draws = standard_normal((4,), 0)
    assert (draws.dtype, draws.device.type) == (torch.float32, "cpu")
