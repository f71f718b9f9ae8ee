from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from dip_stages.config import parse

if TYPE_CHECKING:
    from tests.conftest import Compose


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("noise=gaussian", "protocol=recorrupted", "monitors=all"), []),
        (("noise=poisson", "method=baseline"), []),
        (("noise=clipped", "method=baseline"), ["stopping=discrepancy"]),
        (("noise=poisson",), ["protocol=renoised"]),
        (("noise=speckle", "protocol=recorrupted"), ["protocol=recorrupted"]),
        (
            ("noise=poisson", "protocol=recorrupted", "protocol.sigma=estimate"),
            ["protocol=recorrupted", "sigma=estimate"],
        ),
        (("noise=poisson", "method=baseline", "stopping.sigma=estimate"), ["sigma=estimate"]),
        (("noise=poisson", "method=baseline", "method.input=observed", "stopping=sure"), ["stopping=sure"]),
        (("noise=poisson", "protocol=observed", "stopping=es_wmv"), []),
        (
            ("noise=clipped", "protocol=clean", "stopping=none", "monitors=all"),
            ["stopping=discrepancy", "sigma=estimate"],
        ),
    ],
)
def test_what_a_fit_assumes_of_the_noise_and_does_not_hold_is_reported(
    composing: Compose, overrides: tuple[str, ...], parts: list[str]
) -> None:
    unmet = parse(composing(*overrides)).unmet
    assert [re.sub(r"^noise=\w+: (\S+) assumes .*", r"\1", sentence) for sentence in unmet] == parts
