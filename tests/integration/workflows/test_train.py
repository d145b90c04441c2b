"""The workflow `train` installs the extras that the recipe needs, before it builds."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("recipe", "installed"),
    [("compression/sentiment-openvino", ".[openvino]"), ("quickstart", "."), ("no-such-recipe", None)],
)
def test_extras_of_the_recipe_are_installed(tmp_path, environ, recipe, installed) -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/train.yaml").read_text())["jobs"]["train"]["steps"]
    (position,) = (at for at, step in enumerate(steps) if "run extras" in step.get("run", ""))
    assert position < next(at for at, step in enumerate(steps) if "run +recipe" in step.get("run", ""))
    call = "import sys; sys.argv[0] = 'run'; from framework.cli.main import main; main()"
    for name, text in (("run", f'exec {sys.executable} -P -c "{call}" "$@"'), ("pip", 'echo "$*" > pip.txt')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", steps[position]["run"]],
        cwd=tmp_path,
        env={**environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "RECIPE": recipe, "LAUNCHER": "local"},
        text=True,
        capture_output=True,
    )
    assert (done.returncode == 0) == (installed is not None), done.stderr
    file = tmp_path / "pip.txt"
    assert (file.read_text().split()[-2:] if file.is_file() else None) == (installed and ["-e", installed])
