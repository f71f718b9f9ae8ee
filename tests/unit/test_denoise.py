from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from dip_stages import denoise as module
from dip_stages.config import file_of
from dip_stages.denoise import compose_config
from dip_stages.images import encoding
from dip_stages.images.original import read_original
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from collections.abc import Callable
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
    with_sigma, given = compose_config(path, ["sigma=25/255"])
    assert given
    assert with_sigma.noise.beta_max == pytest.approx((25 / 255) ** 2)
    assert compose_config(path, ["method=baseline"])[0].method.name == "baseline"
    assert compose_config(path, ["protocol=observed"])[0].protocol.name == "observed"


def noisy(path: Path, mode: str, depth: int = 8, **settings: Any) -> None:
    """Write an image with noise, 36×40."""
    clean = fit_to(read_image(bundled_path("coffee")), 40)[:, :36]
    image = np.clip(clean + np.random.default_rng(1).normal(0, 0.1, clean.shape), 0, 1)
    values = np.round(image * (2**depth - 1))
    if depth == 16:
        pixels = values.astype(np.uint16)
        tifffile.imwrite(path, pixels if mode == "RGB" else pixels[..., 0], metadata=None)
    else:
        Image.fromarray(values.astype(np.uint8)).convert(mode).save(path, **settings)


@pytest.fixture
def denoised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in the test's folder, with a tiny network, and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        module.main([*arguments, *TINY])
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("name", "mode", "depth"),
    [
        ("a (1) = ö.png", "RGB", 8),
        ("grey.tif", "L", 16),
        ("deep.tif", "RGB", 16),
        ("inks.tif", "CMYK", 8),
        ("part.png", "RGBA", 8),
    ],
)
def test_a_file_keeps_its_size_depth_and_colours(
    denoised: Callable[..., str], run: CommandLine, tmp_path: Path, name: str, mode: str, depth: int
) -> None:
    """The first in a process of its own, which takes seconds to begin."""
    noisy(tmp_path / name, mode, depth)
    result = "result" + (tmp_path / name).suffix
    if name.startswith("a"):
        done = run(name, result, *TINY, module="dip_stages.denoise")
        assert done.returncode == 0, done.stderr
        messages = done.stderr
    else:
        messages = denoised(name, result)
    assert f"36×40, {depth} bits, sigma" in messages
    assert "estimated; 1 tile of at most 4 iterations" in messages
    before, after = read_original(tmp_path / name), read_original(tmp_path / result)
    assert (after.mode, after.kind, after.pixels.shape) == (before.mode, before.kind, before.pixels.shape)
    assert (after.pixels != before.pixels).any()
    assert {path.name for path in tmp_path.iterdir()} == {name, result}


def test_transparency_and_profile_come_back_as_they_were(denoised: Callable[..., str], tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_alpha = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 36, 4), dtype=np.uint8))
    with_alpha.save(tmp_path / "a.png", icc_profile=profile, dpi=(300, 300))
    denoised("a.png", "b.webp")
    with Image.open(tmp_path / "b.webp") as image:
        assert image.info["icc_profile"] == profile
        np.testing.assert_array_equal(np.asarray(image)[..., 3], np.asarray(with_alpha)[..., 3])


def test_what_the_output_does_not_hold_is_said_beforehand(denoised: Callable[..., str], tmp_path: Path) -> None:
    noisy(tmp_path / "a.png", "RGB", dpi=(300, 300))
    messages = denoised("a.png", "b.ppm").splitlines()
    assert messages[0] == "b.ppm: not kept: resolution"


def test_floats_keep_their_range(denoised: Callable[..., str], tmp_path: Path) -> None:
    clean = fit_to(read_image(bundled_path("coffee")), 40)
    image = clean + np.random.default_rng(1).normal(0, 0.1, clean.shape)
    tifffile.imwrite(tmp_path / "a.tif", (image * 255).astype(np.float32), photometric="rgb")
    with pytest.raises(SystemExit):
        denoised("a.tif", "b.tif")
    denoised("a.tif", "b.tif", "--range", "0", "255")
    result = tifffile.imread(tmp_path / "b.tif")
    assert result.dtype == np.float32
    assert 50 < result.mean() < 200


def test_a_frame_of_several_is_chosen(denoised: Callable[..., str], tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 36), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    assert denoised("a.tif", "b.png").startswith(
        "a.tif: has 3 frames; the first is denoised; for another: --frame 1 to 2\n"
    )
    assert "frames" not in denoised("a.tif", "c.png", "--frame", "2")


def test_an_output_is_replaced_only_if_asked_for(denoised: Callable[..., str], tmp_path: Path) -> None:
    noisy(tmp_path / "a.png", "L")
    (tmp_path / "b.png").write_text("of another job")
    with pytest.raises(SystemExit):
        denoised("a.png", "b.png")
    assert (tmp_path / "b.png").read_text() == "of another job"
    denoised("a.png", "b.png", "--force")
    assert read_image(tmp_path / "b.png").shape == (40, 36, 1)
    with pytest.raises(SystemExit):
        denoised("a.png", "a.png", "--force")


def test_an_output_that_appears_during_the_job_is_kept_until_forced(
    denoised: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def appear(*arguments: Any) -> None:
        (tmp_path / "b.png").write_text("of somebody")
        encoding.write_image(*arguments)

    noisy(tmp_path / "a.png", "L")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_image", appear)
        with pytest.raises(SystemExit) as left:
            denoised("a.png", "b.png")
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "b.png: has appeared since this job began; what is done is kept in b.png.work; allowed: the same command with "
        "--force to replace it, or the same command once it is moved away"
    )
    assert (tmp_path / "b.png").read_text() == "of somebody"
    (tmp_path / "b.png").chmod(0o600)
    assert denoised("a.png", "b.png", "--force").splitlines()[1:] == ["resumed: 1 of 1 tile done", "b.png"]
    assert read_image(tmp_path / "b.png").shape == (40, 36, 1)
    assert (tmp_path / "b.png").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_a_result_that_its_folder_does_not_take_is_kept_elsewhere(
    denoised: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy(tmp_path / "a.png", "L")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    write = encoding.write_image
    paths: list[Path] = []

    def full(path: Path, *arguments: Any) -> None:
        paths.append(path)
        if len(paths) == 1:
            raise OSError(28, "No space left on device")
        write(path, *arguments)

    monkeypatch.setattr(module, "write_image", full)
    with pytest.raises(SystemExit) as left:
        denoised("a.png", "b.png")
    assert left.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"b.png: cannot be written: No space left on device; the result is {paths[1]}"
    assert read_image(paths[1]).shape == (40, 36, 1)


def test_the_same_command_resumes_and_another_one_is_refused(
    denoised: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    noisy(tmp_path / "a.png", "L")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            denoised("a.png", "b.png")
    assert sorted(path.name for path in (tmp_path / "b.png.work").iterdir()) == ["job.json", "tile-1.pt"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        denoised("a.png", "b.png", "seed=3")
    (refusal,) = capsys.readouterr().err.splitlines()[1:]
    assert refusal.startswith("b.png.work: is of another job: seed=0 there, seed=3 here; allowed: ")
    assert denoised("a.png", "b.png").splitlines()[1:] == ["resumed: 1 of 1 tile done", "b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_inks_are_refused_where_colours_are_meant(
    denoised: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy(tmp_path / "a.tif", "CMYK")
    with pytest.raises(SystemExit):
        denoised("a.tif", "b.tif", "method=baseline", "loss=perceptual")
    assert capsys.readouterr().err == "a.tif: loss and method are of grey or RGB images; allowed: loss=mse of CMYK\n"
