from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("dip_stages", "hydra_plugins")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(requirements: list[str]) -> set[str]:
    """Return the names of distributions as PyPI compares them."""
    return {normal(re.split(r"[<>=!~;\[ ]", requirement)[0]) for requirement in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


DEPENDENCIES = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(of) for name, of in PROJECT["optional-dependencies"].items() if name != "dev"}
ALLOWED = {
    "dip_stages/denoisers/classical.py": "bm3d",
    "dip_stages/denoisers/ddpm.py": "ddpm",
    "dip_stages/workers/ray.py": "ray",
    "dip_stages/workers/slurm.py": "slurm",
    "dip_stages/workers/batches.py": "slurm",
}
"""The modules that import what an extra installs; they are imported when it is asked for."""
NOT_IMPORTED = {
    "pywavelets": "scikit-image's estimate of the noise level imports it",
    "itables": "its file of DataTables is read, for the report's page",
    "tabulate": "pandas imports it for DataFrame.to_markdown",
    "hydra-joblib-launcher": "Hydra imports it: conf/hydra/launcher/joblib.yaml",
    "tensorboard": "Lightning's logger imports it",
    "wandb": "Lightning's logger imports it",
    "mlflow-skinny": "Lightning's logger imports it",
    "ipykernel": "the notebooks of examples/ run in it",
    "optuna": "examples/tune_budget.py imports it",
}


def imports() -> dict[str, set[str]]:
    """Return the distributions that each source file imports, at its top or within functions.

    A module that is not installed is taken to be called like its distribution.
    """
    distributions = packages_distributions()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {*OURS}:
                found[path.relative_to(ROOT).as_posix()].update(map(normal, distributions.get(module, [module])))
    return found


IMPORTS = imports()


@pytest.mark.parametrize("path", IMPORTS)
def test_what_a_module_imports_is_declared(path: str) -> None:
    extra = EXTRAS[ALLOWED[path]] if path in ALLOWED else set()
    assert not IMPORTS[path] - DEPENDENCIES - extra, "in pyproject.toml's dependencies, or in the module's extra"


def test_what_is_declared_is_imported_or_has_another_reason() -> None:
    imported = set().union(*IMPORTS.values())
    assert imported >= {"torch", "scikit-image", "pillow"}, "names of modules become those of distributions"
    assert DEPENDENCIES.union(*EXTRAS.values()) - imported == NOT_IMPORTED.keys()
    for path, extra in ALLOWED.items():
        assert IMPORTS[path] & EXTRAS[extra], f"{path} imports nothing of the extra {extra}"
