from __future__ import annotations

import io
import math
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import png
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dip_stages.dip.archs.registry import ARCHS, seeded
from dip_stages.dip.budgets import BUDGETS, allocate, epoch_budget, rescale
from dip_stages.dip.metrics import psnr, quality
from dip_stages.dip.noise import generator, standard_normal
from dip_stages.dip.observation import observe, to_array, to_tensor
from dip_stages.dip.schedules import beta_schedule
from dip_stages.dip.stages import Chunks, level_noise, staged_plan
from dip_stages.errors import ImageError
from dip_stages.images.reading import MIN_SIDE, fit_to, read_image, write_png
from tests import strategies as our
from tests.raising import refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

# No deadlines: a busy machine is no failure.
many = settings(max_examples=60, deadline=None)
few = settings(max_examples=12, deadline=None)


class BudgetSettings(TypedDict):
    max_epochs: int
    alpha: float
    k: float


def encoded(kind: str) -> bytes:
    """An image of 16×20 in a file of that kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    if kind == "deep png":
        png.Writer(16, 20, greyscale=False, bitdepth=16).write(
            file, (pixels.reshape(20, -1).astype(np.uint16) * 257).tolist()
        )
    else:
        Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


FILES = {kind: encoded(kind) for kind in ("png", "deep png", "jpeg", "gif", "webp")}


@many
@given(name=our.schedules, ends=our.beta_ends, stages=st.integers(2, 100))
def test_linear_spaces_the_variances_evenly_and_scaled_linear_their_roots(
    name: str, ends: list[float], stages: int
) -> None:
    schedule = beta_schedule(name, beta_start=ends[0], beta_max=ends[1], stages=stages)
    levels = [math.sqrt(beta) for beta in schedule] if name == "scaled_linear" else schedule
    steps = [b - a for a, b in pairwise(levels)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=1e-9)


@many
@given(name=our.budget_names, beta=our.betas, formula=our.budget_settings)
def test_no_stage_gets_more_than_the_largest_budget(name: str, beta: float, formula: BudgetSettings) -> None:
    assert 0 <= epoch_budget(name, beta, **formula) <= formula["max_epochs"]


@many
@given(budgets=our.stage_budgets, total=st.integers(1, 10_000))
def test_rescaling_keeps_the_order_of_the_stages(budgets: list[int], total: int) -> None:
    by_size = sorted(zip(budgets, rescale(budgets, total), strict=True))
    assert all(before[1] <= after[1] for before, after in pairwise(by_size) if before[0] < after[0])


@many
@given(name=our.budget_names, ends=our.beta_ends, stages=st.integers(1, 20), formula=our.budget_settings)
def test_allocating_is_the_formula_stage_by_stage(
    name: str, ends: list[float], stages: int, formula: BudgetSettings
) -> None:
    levels = beta_schedule("linear", beta_start=ends[0], beta_max=ends[1], stages=stages)[::-1]
    expected = tuple(BUDGETS[name](beta, **formula) for beta in levels)
    assume(any(expected))
    assert allocate(name, levels, **formula, total=None) == expected
    assert allocate(name, levels, **formula, total=sum(expected)) == expected


@many
@given(seed=our.seeds, streams=st.lists(st.lists(st.integers(1, 2**32 - 1), max_size=3), min_size=2, max_size=2))
def test_streams_of_other_names_draw_other_numbers(seed: int, streams: list[list[int]]) -> None:
    first, second = (torch.rand(4, generator=generator(seed, *stream)) for stream in streams)
    assert torch.equal(first, second) == (streams[0] == streams[1])


@many
@given(seed=our.seeds, stages=st.integers(2, 6))
def test_a_stages_noise_does_not_depend_on_how_many_follow(seed: int, stages: int) -> None:
    shape = (1, 1, 4, 4)
    short, long = level_noise(shape, stages - 1, seed), level_noise(shape, stages, seed)
    assert all(torch.equal(a, b) for a, b in zip(short, long[:-1], strict=True))


@many
@given(image=our.images(), ends=our.beta_ends, noise_seed=our.seeds)
def test_an_observation_scales_the_same_draws_by_its_level(
    image: NDArray[np.float32], ends: list[float], noise_seed: int
) -> None:
    weak, strong = (observe(image, beta_max=beta, noise_seed=noise_seed) for beta in ends)
    ratio = math.sqrt(ends[1] / ends[0])
    noise = weak.observed - weak.clean
    torch.testing.assert_close(ratio * noise, strong.observed - strong.clean, atol=1e-6 * (1 + ratio), rtol=1e-4)
    assert torch.equal(weak.clean, to_tensor(image))


@many
@given(
    protocol=our.protocols, net_input=our.inputs, ends=our.beta_ends, budgets=our.stage_budgets, noise_seed=our.seeds
)
@example(protocol="renoised", net_input="fixed_noise", ends=[0.5, 0.5], budgets=[1, 0], noise_seed=0)
def test_targets_are_the_protocols_levels(
    protocol: str, net_input: str, ends: list[float], budgets: list[int], noise_seed: int
) -> None:
    betas = beta_schedule("linear", beta_start=ends[0], beta_max=ends[1], stages=len(budgets))[::-1]
    observed, clean = standard_normal((1, 1, 2, 2), noise_seed, 7), torch.full((1, 1, 2, 2), 0.25)
    eps = level_noise((1, 1, 2, 2), len(budgets), noise_seed)
    plan = staged_plan(
        protocol=protocol,
        net_input=net_input,
        betas=betas,
        budgets=budgets,
        observed=observed,
        level_eps=eps,
        clean=clean if protocol == "clean" else None,
        alphas=[0.5] * len(budgets) if protocol == "recorrupted" else None,
        sigma=0.1 if protocol == "recorrupted" else None,
    )
    source = clean if protocol == "clean" else observed
    last = max(index for index, budget in enumerate(budgets) if budget)
    for index, (stage, beta, draw) in enumerate(zip(plan.stages, betas, eps, strict=True)):
        if protocol in ("observed", "recorrupted") or (protocol == "renoised" and index >= last):
            assert stage.target is observed
        else:
            torch.testing.assert_close(stage.target, math.sqrt(1 - beta) * source + math.sqrt(beta) * draw)
    assert plan.sees_clean == (protocol == "clean")
    assert plan.iterations == sum(budgets)
    assert [stage.budget for stage in plan.stages] == budgets


@many
@given(budgets=our.stage_budgets, more=st.integers(1, 500), size=st.integers(1, 300))
def test_chunk_edges_do_not_depend_on_the_stages_that_follow(budgets: list[int], more: int, size: int) -> None:
    def chunks(budgets: list[int]) -> Chunks:
        image = torch.zeros(1)
        plan = staged_plan(
            protocol="observed",
            net_input="fixed_noise",
            betas=[0.1] * len(budgets),
            budgets=budgets,
            observed=image,
            level_eps=[image] * len(budgets),
        )
        return Chunks(plan, size)

    short, long = list(chunks(budgets)), list(chunks([*budgets, more]))
    assert long[: len(short)] == short


@many
@given(image=our.images(), size=st.integers(MIN_SIDE, 64), fit=st.sampled_from(["cover", "inside"]))
def test_a_resized_image_has_the_wanted_size_or_is_refused(image: NDArray[np.float32], size: int, fit: str) -> None:
    height, width, channels = image.shape
    shorter = min(height, width) * size / max(height, width)
    assume(abs(shorter - (MIN_SIDE - 0.5)) > 1e-6)
    if fit == "inside" and shorter < MIN_SIDE - 0.5:
        with refused(ImageError, "data.size", got=size, allowed="at least 16 a side"):
            fit_to(image, size, fit)
        return
    fitted = fit_to(image, size, fit)
    assert fitted.dtype == np.float32
    assert fitted.shape[2] == channels
    assert max(fitted.shape[:2]) == size
    assert fit == "inside" or min(fitted.shape[:2]) == size
    assert fit == "cover" or abs(fitted.shape[0] * width - fitted.shape[1] * height) <= max(height, width)
    assert 0 <= fitted.min() <= fitted.max() <= 1


@many
@given(image=our.images(), size=st.integers(MIN_SIDE, 48))
def test_a_cropped_image_is_a_part_of_the_image(image: NDArray[np.float32], size: int) -> None:
    height, width = image.shape[:2]
    assume(size <= min(height, width))
    top, left = (height - size) // 2, (width - size) // 2
    np.testing.assert_array_equal(fit_to(image, size, "crop"), image[top : top + size, left : left + size])


@many
@given(level=st.floats(0, 1, width=32), height=our.sides, width=our.sides, size=st.integers(MIN_SIDE, 64))
def test_resizing_keeps_a_flat_image_flat(level: float, height: int, width: int, size: int) -> None:
    fitted = fit_to(np.full((height, width, 1), level, np.float32), size)
    np.testing.assert_allclose(fitted, level, atol=1e-5)


@few
@given(image=our.images())
def test_writing_and_reading_rounds_to_8_bits(image: NDArray[np.float32]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.png"
        write_png(path, image)
        read = read_image(path)
        write_png(path, read)
        np.testing.assert_array_equal(read_image(path), read)
    np.testing.assert_allclose(read, image, atol=0.5 / 255 + 1e-6)


@many
@example(kind="deep png", changes=[], length=100)
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    length=st.integers(0, 4000),
)
def test_bytes_that_are_wrong_give_an_image_or_an_image_error(
    kind: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(FILES[kind][:length])
    for index, value in changes:
        if index < len(data):
            data[index] = value
    with tempfile.TemporaryDirectory() as folder, suppress(ImageError):
        path = Path(folder) / "x.png"
        path.write_bytes(data)
        read = read_image(path)
        assert read.shape[2] in (1, 3)
        assert min(read.shape[:2]) >= MIN_SIDE
        assert 0 <= read.min() <= read.max() <= 1


@few
@given(image=our.images(), noise_seed=our.seeds)
def test_psnr_is_that_of_the_mean_squared_error_and_both_metrics_are_symmetric(
    image: NDArray[np.float32], noise_seed: int
) -> None:
    observation = observe(image, beta_max=0.02, noise_seed=noise_seed)
    error = (to_array(observation.observed).astype(np.float64) - image) ** 2
    assert psnr(observation.observed, observation.clean).item() == pytest.approx(-10 * np.log10(error.mean()), abs=1e-3)
    there = quality(observation.observed, observation.clean)
    back = quality(observation.clean, observation.observed)
    assert (there.psnr, there.ssim) == pytest.approx((back.psnr, back.ssim), abs=1e-4)
    assert there.ssim < 1


@few
@given(arch=our.archs, height=our.sides, width=our.sides, outputs=our.channels)
def test_every_network_gives_an_image_of_its_inputs_size(arch: str, height: int, width: int, outputs: int) -> None:
    network = seeded(ARCHS[arch], generator(0), in_channels=2, out_channels=outputs, size=(height, width), width=2)
    image = network(torch.rand(1, 2, height, width))
    assert image.shape == (1, outputs, height, width)
    assert 0 < image.min() <= image.max() < 1
