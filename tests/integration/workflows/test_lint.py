"""The workflows, the Dockerfile and the pre-commit hooks pass their linters and our own rules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framework.cli.verbs import NAMES

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yaml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def read(file: Path) -> dict:
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(file.read_text()).items()}


def jobs(file: Path) -> dict[str, dict]:
    return read(file)["jobs"]


def scripts(file: Path) -> list[str]:
    """Return every script of a workflow."""
    return [step["run"] for job in jobs(file).values() for step in job["steps"] if "run" in step]


def lint(tool: str, *arguments: str) -> None:
    """Run a linter that is installed beside this interpreter."""
    command = [str(Path(sys.executable).parent / tool), *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    lint("actionlint", "-no-color", *map(str, WORKFLOWS))


def test_zizmor_finds_nothing() -> None:
    lint("zizmor", "--offline", "--no-progress", "--persona=regular", ".github")


def test_hadolint_finds_nothing() -> None:
    lint("hadolint", ".ci/Dockerfile")


@pytest.mark.parametrize("file", WORKFLOWS + ACTIONS, ids=lambda file: file.stem + file.parent.name)
def test_actions_are_pinned_by_commit_and_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if "uses: " in line and "uses: ./" not in line:
            assert PINNED.search(line), line


def test_an_action_has_one_pin() -> None:
    text = "\n".join(file.read_text() for file in WORKFLOWS + ACTIONS)
    pins = set(re.findall(r"uses: ([\w./-]+@\S+ # \S+)", text))
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_jobs_have_least_privilege_and_a_timeout(file: Path) -> None:
    content = read(file)
    assert content["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in content or any("concurrency" in job for job in content["jobs"].values())
    for name, job in content["jobs"].items():
        assert job["timeout-minutes"] > 0, name
        assert "permissions" in job or content["permissions"] == {"contents": "read"}, name


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_scripts_with_a_pipe_run_with_pipefail(file: Path) -> None:
    if any("|" in script for script in scripts(file)):
        assert read(file)["defaults"]["run"]["shell"] == "bash"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_verbs_in_scripts_exist(file: Path) -> None:
    called = {
        verb
        for script in scripts(file)
        for verb in re.findall(r"^\s*(?:.*\$\()?run ([a-z]+)\b", script, re.M)
    }
    assert called <= {*NAMES}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_scripts_stay_below_eleven_lines(file: Path) -> None:
    """Logic belongs to the command line, where it is tested."""
    for script in scripts(file):
        assert len(script.splitlines()) <= 10, script


@pytest.mark.parametrize("name", ["check", "plan", "image"])
def test_required_checks_run_for_a_merge_queue_and_are_never_skipped_by_paths(name: str) -> None:
    on = read(ROOT / f".github/workflows/{name}.yaml")["on"]
    assert on["pull_request"] is None
    assert on["merge_group"] is None
    assert name in jobs(ROOT / f".github/workflows/{name}.yaml")


def test_write_tokens_never_meet_pull_request_code() -> None:
    """Otherwise anyone who opens a pull request could write with the token."""
    for file in WORKFLOWS:
        if "pull_request" in read(file)["on"]:
            for name, job in jobs(file).items():
                writes = "write" in (job.get("permissions") or {}).values()
                pulls = "pull_request" not in job.get("if", "") or "!=" not in job.get("if", "")
                checks_out = any("checkout" in step.get("uses", "") for step in job["steps"])
                assert not (writes and pulls and checks_out), f"{file.name}: {name}"


def test_bot_tokens_are_made_right_before_their_use() -> None:
    """An app token expires after an hour; a training may take a day."""
    tokens = 0
    for file in WORKFLOWS:
        for job in jobs(file).values():
            for step, following in zip(job["steps"], job["steps"][1:], strict=False):
                if step.get("uses") == "./.github/actions/bot":
                    tokens += 1
                    expected = f"${{{{ steps.{step['id']}.outputs.token }}}}"
                    assert following["env"]["GH_TOKEN"] == expected, file
    assert tokens == 3


def test_the_signing_key_is_that_of_the_environment_and_only_where_a_lock_is_signed() -> None:
    """A key for the whole job, or of the repository, would sign production's locks from anywhere."""
    signed = {}
    for file in WORKFLOWS:
        for name, job in jobs(file).items():
            assert "GITUNE_SIGNING_KEY" not in str(job.get("env", "")), file
            for step in job["steps"]:
                if "GITUNE_SIGNING_KEY" in step.get("env", {}):
                    assert step["env"]["GITUNE_SIGNING_KEY"] == "${{ secrets.GITUNE_SIGNING_KEY }}"
                    signed.setdefault((name, str(job["environment"])), []).append(step["run"].split()[1])
    assert signed == {
        ("train", "training"): ['+recipe="$RECIPE"', "propose"],
        ("promote", "${{ inputs.to }}"): ["promote"],
        ("rollback", "rollback"): ["rollback"],
    }


def test_rollbacks_do_not_queue_behind_promotions() -> None:
    """A promotion holds its concurrency group while it waits for a reviewer."""
    groups = [
        read(ROOT / f".github/workflows/{name}.yaml")["concurrency"]["group"]
        for name in ("promote", "rollback")
    ]
    assert len({group.partition("$")[0] for group in groups} - {""}) == 2


def test_commits_to_environments_start_no_work() -> None:
    """Otherwise merging a lock would start the training that produces the next one."""
    for file in WORKFLOWS:
        push = (read(file)["on"] if isinstance(read(file)["on"], dict) else {}).get("push")
        if push and "branches" in push:
            ignored = push.get("paths-ignore", [])
            only = push.get("paths", [])
            assert "environments/**" in ignored or (only and not any(p.startswith("env") for p in only))
        elif push:
            assert set(push) == {"tags"}, file


def test_owners_of_production_are_named() -> None:
    lines = [line.split() for line in (ROOT / ".github/CODEOWNERS").read_text().splitlines()]
    owners = {words[0]: words[1:] for words in lines if words and words[0] != "#"}
    assert owners["/environments/production/"]
    assert list(owners)[-1] == "/environments/production/"  # the last match counts
    for path in owners:
        assert path == "*" or (ROOT / path.split("/")[1]).is_dir(), path


CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

- Second.

## [0.1.0] - 2026-11-30

- First.
"""


@pytest.mark.parametrize(
    ("tag", "notes"), [("v0.1.0", "- First."), ("v0.2.0", "- Second."), ("v0.3.0", None)]
)
def test_release_notes_are_the_changelog_section(tmp_path: Path, tag: str, notes: str | None) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (script,) = (s for s in scripts(ROOT / ".github/workflows/release.yaml") if "CHANGELOG" in s)
    environ = {**os.environ, "GITHUB_REF_NAME": tag}
    command = ["bash", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environ, text=True, capture_output=True, check=False)
    assert done.returncode == (0 if notes else 1), done.stderr
    if notes:
        assert (tmp_path / "notes/notes.md").read_text().strip() == notes


def test_the_build_backend_is_pinned() -> None:
    """The release workflow builds with these constraints."""
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"build", "hatchling"} <= pins


def test_dependabot_watches_every_action() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    (actions,) = (update for update in updates if update["package-ecosystem"] == "github-actions")
    assert set(actions["directories"]) == {"/", *(f"/.github/actions/{f.parent.name}" for f in ACTIONS)}


def test_pre_commit_hooks_need_no_network() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system", hook["id"]
        assert ".venv/bin/" in hook["entry"], hook["id"]
