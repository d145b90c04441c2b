"""Prometheus' own tools, which evaluate rules over synthetic series."""

import shutil
import subprocess

import pytest

from framework.core import yaml

PACKAGES = {"amtool": "prometheus-alertmanager", "prometheus": "prometheus", "promtool": "prometheus"}


@pytest.fixture(scope="session")
def run_tool():
    def run(tool, *arguments):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install {PACKAGES[tool]}")
        return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def judged(tmp_path, run_tool):
    """Run promtool's tests of rule groups, in their order; return its output on failure."""

    def judge(rules, tests, every="1m"):
        (tmp_path / "rules.yaml").write_text(yaml.dump({"groups": rules}))
        content = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": every,
            "group_eval_order": [group["name"] for group in rules],
            "tests": tests,
        }
        (tmp_path / "tests.yaml").write_text(yaml.dump(content))
        done = run_tool("promtool", "test", "rules", tmp_path / "tests.yaml")
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return judge
