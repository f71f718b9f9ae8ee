from __future__ import annotations

from pathlib import Path

from dip_stages.report import describe
from tests.reporting import a_record, axes


def test_a_single_cell_is_described_with_what_the_peak_needed() -> None:
    text = describe(a_record("x", axes("staged", protocol="clean"), 25.0), folder=Path("here"))
    assert "output     PSNR  25.00 dB  SSIM 0.5000  after 40 iterations" in text
    assert "found with the clean image" in text
    assert "guided by the clean image" in text
    assert "failed: diverged" in describe(a_record("x", axes("staged"), None), Path("here"))
