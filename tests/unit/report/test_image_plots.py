from __future__ import annotations

import numpy as np

from dip_stages.report.image_plots import _most_varied


def test_the_part_that_is_enlarged_is_where_the_image_varies_most() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[40:48, 16:24] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    rows, columns = _most_varied(image)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    assert rows.start <= 40 < 48 <= rows.stop
    assert columns.start <= 16 < 24 <= columns.stop
