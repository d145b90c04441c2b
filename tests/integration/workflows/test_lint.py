"""The workflows and the image's Dockerfile, as the tools that know their rules judge them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framework.cli.main import VERBS

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yaml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def read(file: Path) -> dict:
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(file.read_text()).items()}


def jobs(file: Path) -> dict[str, dict]:
    return read(file)["jobs"]


def scripts(file: Path) -> list[str]:
    """Return every script of a workflow."""
    return [step["run"] for job in jobs(file).values() for step in job["steps"] if "run" in step]


def judged(tool: str, *words: str) -> None:
    """Run a tool that is installed beside this interpreter."""
    command = [str(Path(sys.executable).parent / tool), *words]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    judged("actionlint", "-no-color", *map(str, WORKFLOWS))


def test_zizmor_finds_nothing() -> None:
    judged("zizmor", "--offline", "--no-progress", "--persona=regular", ".github")


def test_hadolint_finds_nothing() -> None:
    judged("hadolint", ".ci/Dockerfile")


@pytest.mark.parametrize("file", WORKFLOWS + ACTIONS, ids=lambda file: file.stem + file.parent.name)
def test_actions_are_pinned_by_commit_with_their_version_beside_it(file: Path) -> None:
    for line in file.read_text().splitlines():
        if "uses: " in line and "uses: ./" not in line:
            assert PINNED.search(line), line


def test_one_action_has_one_pin() -> None:
    text = "\n".join(file.read_text() for file in WORKFLOWS + ACTIONS)
    pins = set(re.findall(r"uses: ([\w./-]+@\S+ # \S+)", text))
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_jobs_may_little_and_end(file: Path) -> None:
    content = read(file)
    assert content["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in content or any("concurrency" in job for job in content["jobs"].values())
    for name, job in content["jobs"].items():
        assert job["timeout-minutes"] > 0, name
        assert "permissions" in job or content["permissions"] == {"contents": "read"}, name


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_scripts_stop_at_the_first_failure_of_a_pipe(file: Path) -> None:
    if any("|" in script for script in scripts(file)):
        assert read(file)["defaults"]["run"]["shell"] == "bash"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_verbs_that_are_called_are_there(file: Path) -> None:
    called = {
        verb
        for script in scripts(file)
        for verb in re.findall(r"^\s*(?:.*\$\()?run ([a-z]+)\b", script, re.M)
    }
    assert called <= {*VERBS}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_what_is_decided_is_decided_by_run_and_not_in_a_workflow(file: Path) -> None:
    for script in scripts(file):
        assert len(script.splitlines()) <= 10, script


def test_a_job_with_a_write_token_runs_no_pull_requests_code() -> None:
    """Who opens a pull request could otherwise write with it."""
    for file in WORKFLOWS:
        if "pull_request" in read(file)["on"]:
            for name, job in jobs(file).items():
                writes = "write" in (job.get("permissions") or {}).values()
                pulls = "pull_request" not in job.get("if", "") or "!=" not in job.get("if", "")
                checks_out = any("checkout" in step.get("uses", "") for step in job["steps"])
                assert not (writes and pulls and checks_out), f"{file.name}: {name}"


def test_a_bots_token_is_made_for_the_step_that_uses_it() -> None:
    """An app's token lives for an hour, and a training may take a day."""
    made = 0
    for file in WORKFLOWS:
        for job in jobs(file).values():
            for step, after in zip(job["steps"], job["steps"][1:], strict=False):
                if step.get("uses") == "./.github/actions/bot":
                    made += 1
                    assert after["env"]["GH_TOKEN"] == f"${{{{ steps.{step['id']}.outputs.token }}}}", file
    assert made == 3


def test_a_rollback_waits_for_no_promotion() -> None:
    """A promotion holds its group while it waits for a reviewer."""
    groups = [
        read(ROOT / f".github/workflows/{name}.yaml")["concurrency"]["group"]
        for name in ("promote", "rollback")
    ]
    assert len({group.partition("$")[0] for group in groups} - {""}) == 2


def test_a_commit_to_environments_alone_starts_no_work() -> None:
    """A merged lock that started a training would start the next one."""
    for file in WORKFLOWS:
        push = (read(file)["on"] if isinstance(read(file)["on"], dict) else {}).get("push")
        if push:
            ignored = push.get("paths-ignore", [])
            only = push.get("paths", [])
            assert "environments/**" in ignored or (only and not any(p.startswith("env") for p in only))


def test_owners_of_production_are_named() -> None:
    lines = [line.split() for line in (ROOT / ".github/CODEOWNERS").read_text().splitlines()]
    owners = {words[0]: words[1:] for words in lines if words and words[0] != "#"}
    assert owners["/environments/production/"]
    assert list(owners)[-1] == "/environments/production/"  # the last match counts
    for path in owners:
        assert path == "*" or (ROOT / path.split("/")[1]).is_dir(), path
