"""The workflow `drift` keeps one issue open while Git and its locks differ."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def script(name: str) -> str:
    """Return the script of the step with this id."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "drift.yaml").read_text())["jobs"]
    (step,) = (step for job in jobs.values() for step in job["steps"] if step.get("id") == name)
    return str(step["run"])


@pytest.mark.parametrize(("releases", "cut"), [(0, False), (130, False), (3000, True)])
def test_text_of_the_issue_has_both_parts_and_fits(tmp_path: Path, releases: int, cut: bool) -> None:
    lines = [f"production/release-{number}: différs" for number in range(releases)]
    text = "\n".join(["in Git", *lines, "cluster https://x", *lines, f"problems found: {releases}", ""])
    tool = tmp_path / "bin" / "run"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat {tmp_path}/printed\nexit 1\n")
    tool.chmod(0o755)
    (tmp_path / "printed").write_text(text if releases else "")
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    environ = {
        "PATH": f"{tool.parent}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    codes = []
    for name in ("status", "text"):
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script(name)]
        codes.append(subprocess.run(command, cwd=tmp_path, env=environ, check=False).returncode)
    assert codes == [1, 0]
    first, *sent, last = outputs.read_text().splitlines()
    assert first == f"text<<{last}"
    assert sent[0] == ("in Git" if releases else "run status ended with 1 and printed nothing")
    assert len("\n".join(sent)) < 65_000
    assert ("(cut here; the whole text is in the run's summary)" in sent) == cut
    if releases:
        assert sent[-1] == f"problems found: {releases}"
        assert sent[-2] == lines[-1]
        assert set(sent[1:-1]) <= {
            *lines,
            "cluster https://x",
            "(cut here; the whole text is in the run's summary)",
        }
        assert summary.read_text() == text


@pytest.mark.e2e
@pytest.mark.slow
def test_failed_setup_opens_no_issue(hub: Any) -> None:
    clone = hub.clone("editor")
    (clone / ".github" / "actions" / "setup" / "action.yaml").unlink()
    hub.commit(clone, "Break the setup", "main")
    assert hub.run("drift", "schedule", {"schedule": "17 4 * * *"}).returncode != 0
    assert hub.state().get("issues", []) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_edited_manifest_opens_an_issue_that_its_fix_closes(hub: Any) -> None:
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert hub.state()["issues"] == []

    clone = hub.clone("editor")
    (file,) = (clone / "environments" / "dev" / "quickstart").glob("service-*.yaml")
    original = file.read_text()
    file.write_text(original.replace("targetPort: http", "targetPort: other"))
    hub.commit(clone, "Edit by hand", "main")
    for _ in range(2):
        ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
        assert ran.returncode != 0
    (issue,) = hub.state()["issues"]
    assert issue["state"] == "open"
    assert file.name in issue["body"]
    assert "run render +recipe=quickstart environment=dev" in issue["body"]

    file.write_text(original)
    hub.commit(clone, "Render again", "main")
    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
    assert [issue["state"] for issue in hub.state()["issues"]] == ["closed"]
