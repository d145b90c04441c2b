"""docs/reference.md and docs/data-formats.md are what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["reference", "data_formats"])
def test_generated_page_is_up_to_date(script, environ) -> None:
    done = subprocess.run(
        [sys.executable, f"docs/{script}.py", "--check"], cwd=ROOT, env=environ, check=False
    )
    assert done.returncode == 0, "run `just docs`"
