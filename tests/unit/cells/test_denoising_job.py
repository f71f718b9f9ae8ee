from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.cells.denoising_job import differences, job_of

if TYPE_CHECKING:
    from tests.conftest import MakeCell


@pytest.mark.parametrize(
    ("overrides", "unlike", "sentence"),
    [
        ((), {"tile": 96}, "--tile 64 there, --tile 96 here"),
        ((), {"sigma": 0.2}, "sigma=0.1 there, sigma=0.2 here"),
        (("seed=3", "arch.width=5"), {}, "arch.width=4 there, arch.width=5 here; seed=0 there, seed=3 here"),
        (("stopping=none",), {}, "stopping=residual there, stopping=none here"),
        (("method=tv",), {}, "method=staged there, method=tv here"),
        (("data.name=camera", "seed=3"), {"sigma": 0.2}, "another image"),
        (("seed=3",), {"sigma": 0.2, "frame": 1}, "another frame"),
        ((), {"sigma": 0.2, "range": [0, 255]}, "another --range"),
    ],
)
def test_two_jobs_differ_in_what_is_typed(
    make_cell: MakeCell, overrides: tuple[str, ...], unlike: dict[str, Any], sentence: str
) -> None:
    fit: tuple[str, ...] = ("protocol=recorrupted", "arch.width=4")
    one: dict[str, Any] = {"sigma": 0.1, "tile": 64, "frame": 0, "range": [0, 1]}
    jobs = [job_of(make_cell(*fit, *more).config, **values) for more, values in (((), one), (overrides, one | unlike))]
    assert differences(*jobs) == sentence
