"""Calls that refuse settings of a sweep, of a launcher or of an installation; and the sentence of each."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dip_stages.config import extras, parse_sweep, paths
from dip_stages.config.runtime import LoggerConfig
from dip_stages.dip import budgets
from dip_stages.workers import ray, slurm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.unit.slips.calling import Call

RAY = "hydra_plugins.dip_stages.ray_launcher.RayLauncher"


def where_packages_are(check: Callable[[], object], *, there: bool) -> Call:
    """Return the call that looks for packages where all of them are, or none."""

    def call(_: Path, patch: pytest.MonkeyPatch) -> object:
        patch.setattr(extras, "find_spec", lambda _: ModuleSpec("there", None) if there else None)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return check()

    return call


def extras_of(method: str = "tv", logger: str = "csv") -> None:
    config = SimpleNamespace(method=SimpleNamespace(name=method), logger=LoggerConfig(logger))
    extras.check_extras(config)  # type: ignore[arg-type]


def a_sweep(**settings: object) -> Call:
    return lambda *_: parse_sweep({"sweep": {"name": "x"} | settings})


def without_the_partition() -> None:
    def batch() -> None:
        raise RuntimeError("sbatch: error: invalid partition specified: gone")

    slurm._submit(SimpleNamespace(batch=batch), [])  # type: ignore[arg-type]


# What is typed, or is on disk; the call that refuses it; the sentence.
CALLS: list[tuple[str, Call, str]] = [
    (
        "-m +sweep.more=3",
        a_sweep(more=3),
        (
            "sweep.more: no such setting; allowed: name, plan_only, retry_failed, retry_damaged, retries, "
            "detach, on_interrupt, competitors, exclude, grids"
        ),
    ),
    (
        "-m sweep.name=models",
        a_sweep(name="models"),
        "sweep.name: got 'models', where trained models are kept; allowed: another name",
    ),
    (
        "-m sweep.name=a/b",
        a_sweep(name="a/b"),
        "sweep.name: got 'a/b'; allowed: letters, digits, '.', '_' and '-'",
    ),
    (
        "-m sweep.plan_only=maybe",
        a_sweep(plan_only="maybe"),
        "sweep.plan_only: got 'maybe'; allowed: true, false",
    ),
    (
        "-m sweep.retries=-1",
        a_sweep(retries=-1),
        "sweep.retries: got -1; allowed: a whole number >= 0",
    ),
    (
        "-m sweep.on_interrupt=wait",
        a_sweep(on_interrupt="wait"),
        "sweep.on_interrupt: got 'wait'; allowed: stop, leave",
    ),
    (
        "-m sweep.competitors=tv",
        a_sweep(competitors="tv"),
        "sweep.competitors: got 'tv'; allowed: a list, as in [nlm,tv]",
    ),
    (
        "-m sweep.competitors=[staged]",
        a_sweep(competitors=["staged"]),
        "sweep.competitors: got 'staged'; allowed: nlm, tv, bm3d, ddpm, ddpm_mean",
    ),
    (
        "-m sweep.competitors=[{method: tv, seed: 3}]",
        a_sweep(competitors=[{"method": "tv", "seed": 3}]),
        "sweep.competitors: got 'seed'; allowed: method, and settings such as method.sigma",
    ),
    (
        "a sweep that is no mapping",
        lambda *_: parse_sweep({"sweep": 3}),
        "sweep: got 3; allowed: a sweep by name, as in sweep=custom",
    ),
    (
        "logger=wandb",
        where_packages_are(lambda: extras_of(logger="wandb"), there=False),
        (
            "logger: got 'wandb', which needs wandb, which is not installed; allowed: pip install 'dip_stages[wandb]' "
            "(in a checkout: pip install -e '.[wandb]'); or logger=csv, logger=none"
        ),
    ),
    (
        "logger=mlflow",
        where_packages_are(lambda: extras_of(logger="mlflow"), there=True),
        (
            "logger.tracking_uri: got None; allowed: a tracking server's address, as in "
            "logger.tracking_uri=http://localhost:5000, or the same in MLFLOW_TRACKING_URI"
        ),
    ),
    (
        "method=bm3d",
        where_packages_are(lambda: extras_of(method="bm3d"), there=False),
        (
            "method: got 'bm3d', which needs bm3d, which is not installed; allowed: pip install 'dip_stages[bm3d]' "
            "(in a checkout: pip install -e '.[bm3d]')"
        ),
    ),
    (
        "hydra/launcher=ray",
        where_packages_are(lambda: extras.check_launcher(RAY), there=False),
        (
            "hydra/launcher: got 'RayLauncher', which needs ray, which is not installed; allowed: pip install "
            "'dip_stages[ray]' (in a checkout: pip install -e '.[ray]')"
        ),
    ),
    (
        "hydra.launcher.address=127.0.0.1:1",
        lambda *_: ray._check_answers("127.0.0.1:1"),
        (
            "hydra.launcher.address: got '127.0.0.1:1', where no cluster is: [Errno 111] Connection refused; allowed:"
            " auto, host:port or ray://host:port of one that runs, null for one of this machine"
        ),
    ),
    (
        "hydra.launcher.partition=gone",
        lambda *_: without_the_partition(),
        "the cluster does not take the jobs: sbatch: error: invalid partition specified: gone",
    ),
    (
        "a broken installation",
        lambda *_: paths._shipped("conf", "gone.yaml"),
        "conf/gone.yaml: neither in ROOT/dip_stages nor in ROOT: a broken installation",
    ),
    (
        "a budget of nothing",
        lambda *_: budgets.rescale((0, 0), 10),
        "budget: got (0, 0); allowed: at least one stage with an iteration",
    ),
]
