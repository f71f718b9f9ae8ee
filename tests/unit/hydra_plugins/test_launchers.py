from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from dip_stages.config import CONF_DIR

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHERS = sorted(file.stem for file in (CONF_DIR / "hydra" / "launcher").glob("*.yaml"))


@pytest.mark.usefixtures("hydra_apart")
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launchers_file_opens_with_its_command_and_is_what_is_composed(name: str) -> None:
    first = (CONF_DIR / "hydra" / "launcher" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# python -m dip_stages -m ")
    assert f"hydra/launcher={name}" in first.split()
    # What Hydra's own packages register under these names, if they are installed too.
    ConfigStore.instance().store(group="hydra/launcher", name=name, node={"_target_": "another.package"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            composed = compose("config", [f"hydra/launcher={name}"], return_hydra_config=True)
    target = str(composed.hydra.launcher._target_)
    assert target.startswith(("hydra_plugins.dip_stages.", "hydra_plugins.hydra_joblib_launcher."))


def test_another_application_keeps_the_launchers_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "app.py").write_text(
        "import hydra\n"
        "@hydra.main(config_path='conf', config_name='config', version_base='1.3')\n"
        "def main(config):\n"
        "    print('seed', config.seed)\n"
        "main()\n"
    )
    command = [sys.executable, "app.py", "-m", "seed=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed 3" in done.stdout
