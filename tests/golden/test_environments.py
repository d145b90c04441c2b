"""Rendering the locks in environments/ reproduces its files byte for byte."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "environments").glob("*/*/release.lock"))


def test_environments_hold_releases() -> None:
    assert LOCKS


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parts[-3]}-{lock.parts[-2]}")
def test_rendering_again_changes_nothing(run, lock: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "environments", tmp_path / "environments")
    recipe = json.loads(lock.read_text())["recipe"]
    done = run(tmp_path, "render", f"+recipe={recipe}", f"environment={lock.parts[-3]}")
    assert done.returncode == 0, done.stderr
    assert "nothing changed" in done.stdout
