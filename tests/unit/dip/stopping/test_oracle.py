from __future__ import annotations

import numpy as np
import pytest

from dip_stages.dip.stopping.oracle import Oracle
from tests.rules import assert_kept, choice_of, images, views


@pytest.mark.parametrize("of", ["output", "average"])
def test_the_oracle_keeps_the_nearest_to_the_clean_image_and_needs_it(of: str) -> None:
    outputs, clean = images(20), images(1, seed=9)[0]
    seen = views(outputs, ends=[10])
    choice = choice_of(rule := Oracle(clean, of), seen)
    distances = [float((getattr(view, of) - clean).square().mean()) for view in seen]
    assert choice.iteration == int(np.argmin(distances)) + 1
    assert rule.needs_clean
    assert_kept(choice, seen)
