"""Proposals of uncommitted locks, with real Git."""

import pytest
import yaml

from framework.core.release import LOCK, ORIGIN


def built(gitops, clone, digit, name="one", environment="dev"):
    """Write an uncommitted lock, as `run +recipe=…` does."""
    lock = clone / "environments" / environment / name / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(gitops.release(name, digit).text())
    return lock


def test_new_lock_is_one_commit_and_leaves_the_folder_unchanged(gitops, clone, remote):
    lock = built(gitops, clone, "b")
    (lock.parent / "app.json").write_text("{}\n")
    before = gitops.state(clone)
    done = gitops.verb(clone, "propose")
    assert done.returncode == 0, done.stderr
    branch = f"train/one-dev-{'b' * 12}"
    assert f"branch {branch}" in done.stdout
    assert gitops.lock(remote, branch, "dev") == gitops.release("one", "b")
    assert gitops.git(remote, "rev-list", "--count", f"main..{branch}") == "1"
    changed = gitops.git(remote, "diff", "--name-only", "main", branch).splitlines()
    assert all(name.startswith("environments/dev/one/") for name in changed)
    # Only the lock is copied; the other files are rendered.
    assert '"namespace"' in gitops.git(remote, "show", f"{branch}:environments/dev/one/app.json")
    assert "- tuned.exact_match >= 0.5" in gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert gitops.state(clone) == before
    assert f"at {gitops.release('one', 'b').commit}. Gates" in gitops.git(
        remote, "show", "-s", "--format=%B", branch
    )
    assert "already proposed" in gitops.refused(clone, "propose")


def test_report_is_in_the_pull_request_but_not_the_commit(gitops, clone, remote, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "gh"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat > {tmp_path}/body\necho made/1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    built(gitops, clone, "b")
    report = clone / ".gitune" / "reports" / "one.md"
    report.parent.mkdir(parents=True)
    report.write_text("| what | how good |\n" * 5000)
    (clone / ".git" / "info" / "exclude").write_text(".gitune/\n")
    done = gitops.verb(clone, "propose")
    assert "pull request made/1" in done.stdout, done.stderr
    body = (tmp_path / "body").read_text()
    assert "| what | how good |" in body
    assert len(body) < 65_536  # GitHub's limit
    assert ".gitune/reports/one.md" in body.splitlines()[-1]
    message = gitops.git(remote, "show", "-s", "--format=%B", f"train/one-dev-{'b' * 12}")
    assert "how good" not in message


def test_each_lock_is_proposed_separately(gitops, clone, remote):
    built(gitops, clone, "b", "one")
    built(gitops, clone, "c", "two")
    done = gitops.verb(clone, "propose")
    assert done.returncode == 0, done.stderr
    for name, digit, other in (("one", "b", "two"), ("two", "c", "one")):
        branch = f"train/{name}-dev-{digit * 12}"
        assert gitops.lock(remote, branch, "dev", name) == gitops.release(name, digit)
        assert gitops.lock(remote, branch, "dev", other) == gitops.release(other, "a")


def test_already_proposed_lock_does_not_block_others(gitops, clone, remote):
    built(gitops, clone, "b", "one")
    assert gitops.verb(clone, "propose").returncode == 0
    built(gitops, clone, "c", "two")
    done = gitops.verb(clone, "propose")
    assert done.returncode == 1
    assert "train/one-dev-bbbbbbbbbbbb: already proposed on origin" in done.stderr
    assert gitops.lock(remote, f"train/two-dev-{'c' * 12}", "dev", "two") == gitops.release("two", "c")


def test_propose_without_changed_locks_does_nothing(gitops, clone):
    done = gitops.verb(clone, "propose")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing to propose")
    assert gitops.git(clone, "branch", "--list", "train/*") == ""


def test_changed_files_without_a_changed_lock_are_reported(gitops, clone):
    (clone / "environments" / "dev" / "one" / "app.json").write_text("{}")
    assert "environments/" in gitops.verb(clone, "propose").stdout


@pytest.mark.parametrize("name", ["one", "first"])
def test_suggested_stash_allows_the_pull(gitops, clone, remote, name):
    built(gitops, clone, "b", name)
    output = gitops.verb(clone, "propose").stdout
    command = output[output.index("git stash") :].split()
    assert command[-1] == f"environments/dev/{name}"
    gitops.git(clone, *command[1:])
    gitops.git(clone, "pull", "--quiet", "--ff-only", "origin", f"train/{name}-dev-{'b' * 12}")
    assert gitops.lock(clone, "HEAD", "dev", name) == gitops.release(name, "b")


def test_advice_after_a_direct_push_works_in_its_order(gitops, clone, remote):
    built(gitops, clone, "b")
    output = gitops.verb(clone, "propose", "push=direct").stdout
    lines = [line[line.index("git ") :].split() for line in output.splitlines() if "git " in line]
    assert [line[1] for line in lines] == ["stash", "pull"]
    for line in lines:
        gitops.git(clone, *line[1:])
    assert gitops.git(clone, "rev-parse", "HEAD") == gitops.git(remote, "rev-parse", "main")


def test_shared_objects_are_proposed_with_the_release(gitops, clone, remote):
    recipe = clone / "recipes" / "served.yaml"
    text = recipe.read_text().replace("defaults:", "defaults:\n  - override /secrets: external-secret")
    text = text.replace("deployment: {", "secrets: {store: vault}\ndeployment: {store_secret: keys, ")
    recipe.write_text(text)
    gitops.git(clone, "commit", "-qam", "Secrets")
    gitops.git(clone, "push", "-q", "origin", "main")
    built(gitops, clone, "b")
    shared = clone / "environments" / "dev" / "shared" / "externalsecret-keys.yaml"
    shared.parent.mkdir()
    shared.write_text("written by the run\n")
    done = gitops.verb(clone, "propose")
    assert done.returncode == 0, done.stderr
    place = "environments/dev/shared"
    listed = gitops.git(remote, "ls-tree", "--name-only", f"train/one-dev-{'b' * 12}", f"{place}/")
    assert listed.splitlines() == [f"{place}/app.json", f"{place}/externalsecret-keys.yaml"]
    assert done.stdout.rstrip().endswith(f"git stash push -u environments/dev/one {place}")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (
            lambda clone: (clone / "recipes" / "served.yaml").write_text("name: one\n"),
            "recipes/served.yaml: ",
        ),
        (
            lambda clone: (clone / "environments" / "dev" / "two" / "app.json").write_text("{}"),
            "environments/dev/two/app.json: ",
        ),
    ],
    ids=["a recipe", "another release"],
)
def test_other_uncommitted_changes_are_refused(gitops, clone, remote, spoil, error):
    built(gitops, clone, "b")
    spoil(clone)
    assert error in gitops.refused(clone, "propose")


@pytest.mark.parametrize(
    ("update", "told"),
    [
        ({"overrides": ("training.epochs=7",)}, "with training.epochs=7"),
        ({"clean": False}, "from a tree with changes"),
        ({"commit": None}, "outside of Git"),
        ({**dict.fromkeys(ORIGIN), "commit": f"{'c' * 40}-dirty"}, "from a tree with changes"),
    ],
    ids=["overrides", "changes", "no commit", "an earlier version's changes"],
)
def test_release_that_no_commit_gives_is_marked_or_refused(update, told, gitops, clone, remote):
    lock = built(gitops, clone, "b")
    release = gitops.release("one", "b").model_copy(update=update)
    lock.write_text(release.text())
    error = gitops.refused(clone, "propose")
    assert error.startswith("environments/dev/one/release.lock: ")
    assert told in error
    assert "source=any" in error
    assert gitops.verb(clone, "propose", "source=any").returncode == 0
    branch = f"train/one-dev-{'b' * 12}"
    assert gitops.lock(remote, branch, "dev") == release
    message = gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert "from a commit alone" in message.splitlines()[0]
    assert told in message
    trailers = gitops.git(remote, "show", "-s", "--format=%(trailers:only)", branch).splitlines()
    assert trailers[-1] == "Gitune-Source: any"


def test_overrides_are_rendered_but_not_those_of_the_environment(gitops, clone, remote):
    words = ("deployment.grace_seconds=77", "environment.namespace=mine", "environment.gates={}")
    update = {"overrides": words}
    built(gitops, clone, "b").write_text(gitops.release("one", "b").model_copy(update=update).text())
    done = gitops.verb(clone, "propose", "source=any")
    assert done.returncode == 0, done.stderr
    at = f"train/one-dev-{'b' * 12}:environments/dev/one"
    assert '"gitune-dev"' in gitops.git(remote, "show", f"{at}/app.json")
    pod = yaml.safe_load(gitops.git(remote, "show", f"{at}/deployment-one.yaml"))["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 77 + 5  # five for the endpoint to leave
    poor = gitops.release("one", "c", exact_match=0.1).model_copy(update=update)
    gitops.git(clone, "checkout", "-q", "environments")
    built(gitops, clone, "c", environment="staging").write_text(poor.text())
    assert "the gates of staging" in gitops.refused(clone, "propose", "source=any")


def test_commit_that_only_this_clone_has_is_refused_until_it_is_pushed(gitops, clone, remote):
    gitops.git(clone, "switch", "-q", "-c", "mine")
    gitops.git(clone, "commit", "-q", "--allow-empty", "-m", "Loosen a gate")
    lock = built(gitops, clone, "b")
    head = gitops.git(clone, "rev-parse", "HEAD")
    lock.write_text(gitops.release("one", "b").model_copy(update={"commit": head}).text())
    assert f"{head[:12]}, which no branch of origin has" in gitops.refused(clone, "propose")
    gitops.git(clone, "push", "-q", "origin", "mine")
    done = gitops.verb(clone, "propose")
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", f"train/one-dev-{'b' * 12}")
    assert "Gitune-Source" not in message


def test_commit_that_no_clone_has_is_refused_or_marked(gitops, clone, remote):
    lock = built(gitops, clone, "b")
    lock.write_text(gitops.release("one", "b").model_copy(update={"commit": "c" * 40}).text())
    assert "no branch of origin has" in gitops.refused(clone, "propose")
    done = gitops.verb(clone, "propose", "source=any")
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", f"train/one-dev-{'b' * 12}")
    assert "Gitune-Source: any" in message.splitlines()


def test_lock_of_an_earlier_version_is_proposed_as_unknown(gitops, clone, remote):
    lock = built(gitops, clone, "b")
    release = gitops.release("one", "b").model_copy(update=dict.fromkeys(ORIGIN))
    lock.write_text(release.text())
    assert gitops.verb(clone, "propose").returncode == 0
    branch = f"train/one-dev-{'b' * 12}"
    assert gitops.lock(remote, branch, "dev").seal == release.seal
    assert "does not record its overrides" in gitops.git(remote, "show", "-s", "--format=%B", branch)


def test_edited_lock_is_refused(gitops, clone, remote):
    lock = built(gitops, clone, "b")
    lock.write_text(lock.read_text().replace("0.75", "0.99"))
    assert "environments/dev/one/release.lock: edited" in gitops.refused(clone, "propose")


def test_release_that_misses_a_gate_is_refused(gitops, clone, remote):
    lock = built(gitops, clone, "b", environment="staging")
    lock.write_text(gitops.release("one", "b", exact_match=0.6).text())
    assert ">= 0.7" in gitops.refused(clone, "propose")
