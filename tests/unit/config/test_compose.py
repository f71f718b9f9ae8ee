from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages.denoise import compose_config
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = "aseqdip, baseline, bm3d, custom, ddpm, ddpm_mean, nlm, staged, tv"
ARCHS = "custom, dncnn, resnet, unet, unet_published"
SECTIONS = "arch, average, beta_max, budget, experiment, logger, loss, method, monitors, noise, preset, protocol, scheduler, stopping, trainer, ensemble, runtime, seed, sigma"  # fmt: skip  # noqa: E501
READ = "a number, a word, a [list] or a {mapping}; a text with other characters as in"


def sentence(overrides: Sequence[str]) -> str:
    with pytest.raises(ConfigError) as refusal:
        compose_config(Path("a.png"), overrides)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("typed", "refusal"),
    [
        ("method=foo", f"method: got 'foo'; allowed: {METHODS}"),
        ("method=Staged", f"method: got 'Staged' (did you mean staged?); allowed: {METHODS}"),
        ("arch=unett", f"arch: got 'unett' (did you mean unet?); allowed: {ARCHS}"),
        ("arch=3", f"arch: got '3'; allowed: {ARCHS}"),
        ("arch=[unet,dncnn]", f"arch: got '[unet,dncnn]'; allowed: {ARCHS}"),
        ("arch=null", f"arch: got 'null'; allowed: {ARCHS}"),
        ("beta_max=high", "beta_max: got 'high'; allowed: b0.01, b0.02, or a number"),
        ("seed=1,2", "seed: got '1,2'; allowed: one value; several are for sweeps: python -m dip_stages -m"),
        ("seed=range(3)", "seed: got 'range(3)'; allowed: one value; several are for sweeps: python -m dip_stages -m"),
        ("sigma=0.1,0.2", "sigma: got '0.1,0.2'; allowed: one value; several are for sweeps: python -m dip_stages -m"),
        (
            "arch=unet,dncnn",
            "arch: got 'unet,dncnn'; allowed: one value; several are for sweeps: python -m dip_stages -m",
        ),
        ("~trainer.lr=", "trainer.lr: cannot be removed; allowed: trainer.lr=…, or leave it out for its default"),
        ("~arch", "arch: cannot be removed; allowed: arch=…, or leave it out for its default"),
        (
            "trainer.iterations=[1",
            f"trainer.iterations: got '[1', which cannot be read; allowed: {READ} trainer.iterations='\"a, b\"'",
        ),
        ("loss=mse,", f"loss: got 'mse,', which cannot be read; allowed: {READ} loss='\"a, b\"'"),
        ("ensemble=3", "ensemble: got '3'; allowed: ensemble.members=…"),
        ("archh=unet", f"archh: no such group or setting (did you mean arch?); allowed: {SECTIONS}"),
        ("ensembel=3", f"ensembel: no such group or setting (did you mean ensemble?); allowed: {SECTIONS}"),
        (
            "+archh.width=3",
            f"archh: no such group or setting, and nothing refers to it (did you mean arch?); allowed: {SECTIONS}",
        ),
        ("data.size=64", "data.size: not a setting of this command: the image is the input"),
        ("+data.size=64", "+data.size: not a setting of this command: the image is the input"),
        ("outputs=here", "outputs: not a setting of this command: the output is the second name"),
        ("noise_seed=1", "noise_seed: not a setting of this command: no noise is added"),
        ("sweep=smoke", "sweep: not a setting of this command: it is of sweeps"),
        ("hydra/launcher=x", "hydra/launcher: not a setting of this command: Hydra runs no job here"),
    ],
)
def test_a_slip_is_found_before_hydra_and_in_plain_words(typed: str, refusal: str) -> None:
    assert sentence([typed]) == refusal


@pytest.mark.parametrize(
    ("typed", "refusal"),
    [
        (["trainer.iterations=abc"], "trainer.iterations: got 'abc'; allowed: a whole number"),
        (["trainer.rollback.attempts=1.5"], "trainer.rollback.attempts: got 1.5; allowed: a whole number"),
        (["trainer.lr=null"], "trainer.lr: got 'null'; allowed: a number"),
        (["runtime.threads=[1]"], "runtime.threads: got [1]; allowed: a whole number or null"),
        (["runtime.cuda_graphs=maybe"], "runtime.cuda_graphs: got 'maybe'; allowed: true or false"),
        (["arch=dncnn", "arch.scales=2"], "arch.scales: no such setting of arch=dncnn; allowed: depth, name, width"),
        (
            ["arch=custom", "arch._target_=lab.nets.Deep", "arch.depth=2"],
            "arch.depth: a setting of your own is added; to type: +arch.depth=…",
        ),
        (["archh.width=3"], f"archh.width: no such group (did you mean arch?); allowed: {SECTIONS}"),
        (["arch@x=unet"], f"arch@x: no such group (did you mean arch?); allowed: {SECTIONS}"),
    ],
)
def test_what_hydra_and_omegaconf_refuse_is_put_in_plain_words(typed: list[str], refusal: str) -> None:
    assert sentence(typed) == refusal


@pytest.mark.parametrize("other", ["sigma=0.2", "noise.beta_max=0.02", "beta_max=0.02", "beta_max=b0.02"])
def test_a_noise_level_that_is_given_twice_is_refused(other: str) -> None:
    problem = f"sigma=0.1 and {other}: the noise level is given more than once; allowed: one of them"
    assert sentence(["sigma=0.1", "seed=1", other]) == problem
