"""A team's folder under Git."""

import pytest
from team_folder import ROWS, git

from framework.core.paths import SHARE


@pytest.fixture
def committed(team, tmp_path):
    """A team's folder whose recipe, rows and options are committed."""
    (tmp_path / "recipes").mkdir()
    team("recipes/x.yaml", (SHARE / "recipes" / "tiny.yaml").read_text().replace("name: tiny", "name: x"))
    team(
        "recipes/rows.yaml",
        "defaults: [tiny, override /data: files]\nname: rows\ndata: {train: rows.jsonl}\n",
    )
    team("rows.jsonl", ROWS)
    team("conf/tuning/mine.yaml", (SHARE / "conf" / "tuning" / "lora.yaml").read_text())
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path
