from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dip_stages.cells.tiling import tiles


@given(height=st.integers(16, 900), width=st.integers(16, 900), size=st.integers(64, 300), data=st.data())
def test_tiles_cover_the_image_and_overlap(height: int, width: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    found = tiles(height, width, size, overlap)
    covered = np.zeros((height, width), bool)
    for tile in found:
        assert 0 <= tile.top < tile.bottom <= height
        assert 0 <= tile.left < tile.right <= width
        assert tile.bottom - tile.top == min(size, height)
        assert tile.right - tile.left == min(size, width)
        covered[tile.top : tile.bottom, tile.left : tile.right] = True
    assert covered.all()
    tops = sorted({(tile.top, tile.bottom) for tile in found})
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(tops))
