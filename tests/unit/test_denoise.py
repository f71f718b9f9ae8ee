from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dip_stages import denoise as module
from dip_stages.config import file_of
from dip_stages.denoise import compose_config
from dip_stages.images.encoding import depth_of_file, write_image
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

TINY = ("arch.width=4", "trainer.iterations=4", "arch.scales=2")


def test_the_command_line_makes_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a=b, ${c}.png"
    config, sigma_given = compose_config(path, ["trainer.iterations=7", "ensemble.members=2"])
    assert (config.protocol.name, config.stopping.name, config.iterations) == ("recorrupted", "residual", 14)
    assert not sigma_given
    assert file_of(config.data) == path
    assert compose_config(path, ["beta_max=0.02"])[0].noise.beta_max == 0.02
    assert compose_config(path, ["noise.beta_max=0.03"])[1]
    assert compose_config(path, ["method=baseline"])[0].method.name == "baseline"
    assert compose_config(path, ["protocol=observed"])[0].protocol.name == "observed"


@pytest.mark.parametrize(
    ("name", "grey", "depth"), [("a (1) = ö.png", False, 8), ("grey.tif", True, 16), ("deep.png", False, 16)]
)
def test_a_file_keeps_its_size_depth_and_colours(
    run: CommandLine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    depth: int,
    *,
    grey: bool,
) -> None:
    """The first in a process of its own, which takes seconds to begin."""
    clean = fit_to(read_image(bundled_path("coffee")), 40)
    image = clean + np.random.default_rng(1).normal(0, 0.1, clean.shape).astype(np.float32)
    image = np.ascontiguousarray(image[:, :36, :1] if grey else image[:, :36])
    write_image(tmp_path / name, image, depth)
    result = "result" + (tmp_path / name).suffix
    command = (name, result, TINY[0], "--tile", "64", *TINY[1:])
    if name.startswith("a"):
        done = run(*command, module="dip_stages.denoise")
        assert done.returncode == 0, done.stderr
        messages = done.stderr
    else:
        monkeypatch.chdir(tmp_path)
        module.main(command)
        messages = capsys.readouterr().err
    assert f"36×40, {depth} bits, sigma" in messages
    assert "estimated; 1 tile of at most 4 iterations" in messages
    assert depth_of_file(tmp_path / result) == depth
    assert read_image(tmp_path / result).shape == image.shape
    assert {path.name for path in tmp_path.iterdir()} == {name, result}
