"""Hypothesis strategies for the science core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from dip_stages.dip.archs.registry import ARCHS
from dip_stages.dip.budgets import BUDGETS
from dip_stages.dip.inputs import INPUTS
from dip_stages.dip.schedules import SCHEDULES
from dip_stages.dip.stages import PROTOCOLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

archs = st.sampled_from(sorted(ARCHS))
budget_names = st.sampled_from(sorted(BUDGETS))
inputs = st.sampled_from(INPUTS)
protocols = st.sampled_from(PROTOCOLS)
schedules = st.sampled_from(sorted(SCHEDULES))

betas = st.floats(1e-6, 0.99)
"""Noise variances that a user may ask for."""

beta_ends = st.tuples(betas, betas).map(sorted)
"""The variances of the cleanest and the noisiest stage."""

budget_settings = st.fixed_dictionaries(
    {"max_epochs": st.integers(1, 10_000), "alpha": st.floats(0, 1), "k": st.floats(0, 1000)}
)
"""What a budget takes besides its variance."""

stage_budgets = st.lists(st.integers(0, 3000), min_size=1, max_size=30).filter(any)
"""Iterations of the stages of a plan, some of them skipped, not all."""

seeds = st.integers(0, 2**32 - 1)
channels = st.sampled_from([1, 3])
sides = st.integers(16, 48)


@st.composite
def images(draw: st.DrawFn) -> NDArray[np.float32]:
    """Images as they are read: (H, W, C) float32 in [0, 1], noise or flat, any aspect, grey or colour."""
    shape = draw(sides), draw(sides), draw(channels)
    if draw(st.booleans()):
        return np.full(shape, draw(st.floats(0, 1, width=32)), np.float32)
    return np.random.default_rng(draw(seeds)).random(shape, dtype=np.float32)
