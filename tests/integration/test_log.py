"""`run log` with real Git: what each commit did, by its trailers and by its locks."""

import json
from pathlib import Path

import pytest

from framework.core.release import LOCK
from framework.gitops.lock_changes import EDITED, PROMOTED, RELEASED, REMOVED, REWRITTEN, ROLLED_BACK

WORDS = ("log", "release=one")
A, B, C = (f"sha256:{digit * 64}" for digit in "abc")


@pytest.fixture
def entries(gitops, history):
    """Return the changes that `run log` prints as JSON, newest first, after a push."""

    def read(*words):
        gitops.git(history, "push", "-q")
        done = gitops.verb(history, *WORDS, "format=json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read


def production(clone) -> Path:
    return clone / "environments" / "production" / "one" / LOCK


def test_promotions_name_their_gates_and_what_was_skipped(entries, gitops, remote):
    changes = entries("environment=production")
    assert [(change["event"], change["from"]) for change in changes] == [(PROMOTED, "dev")] * 3
    assert [(change["before"], change["digest"]) for change in changes] == [(B, C), (A, B), ("", A)]
    newest = changes[0]
    assert newest["commit"] == gitops.git(remote, "rev-parse", "main")
    assert newest["author"] == newest["committer"] == "a <a@example.org>"
    assert newest["trailers_agree"]
    assert newest["gates"]["tuned.exact_match"] == {"value": 0.75, "bound": ">= 0.5"}
    assert newest["environment_gates"]["tuned.exact_match"] == {"value": 0.75, "bound": ">= 0.7"}
    assert newest["skipped"] == "a test"
    assert "production takes releases from staging" in newest["unmet"][0]


def test_commits_of_other_tools_are_read_from_their_locks(entries, gitops, history):
    file, good = production(history), production(history).read_text()

    def commit(message):
        gitops.git(history, "add", "-A")
        gitops.git(history, "commit", "-q", "-m", message)

    gitops.git(history, "revert", "--no-edit", "HEAD")
    file.write_text(good.replace("0.75", "0.95"))
    commit("better numbers")
    file.write_text(gitops.release("one", "c").model_copy(update={"commit": "d" * 40}).text())
    commit("built again")
    gitops.git(history, "rm", "-rq", str(file.parent))
    commit("gone")
    file.parent.mkdir(parents=True)
    file.write_text(gitops.release("one", "c").text())
    commit(f"back\n\nGitune-Release: one\nGitune-Environment: production\nGitune-Digest: {A}")
    newest, gone, again, edited, reverted, *_, first = entries()
    assert (first["environment"], first["event"], first["before"]) == ("dev", RELEASED, "")
    assert (reverted["event"], reverted["before"], reverted["digest"]) == (ROLLED_BACK, C, B)
    assert reverted["subject"].startswith("Revert ")
    assert (edited["event"], edited["edits"]["metrics.tuned.exact_match"]) == (EDITED, [0.75, 0.95])
    assert (again["event"], again["digest"], again["edits"]["commit"][1]) == (REWRITTEN, C, "d" * 40)
    assert (gone["event"], gone["before"], gone["digest"]) == (REMOVED, C, "")
    # Trailers that name another digest than the lock prove nothing.
    assert (newest["event"], newest["from"], newest["digest"]) == (PROMOTED, "dev", C)
    assert not newest["trailers_agree"]
    assert A in newest["disputed"]


def test_a_merge_names_who_proposed_and_who_merged(entries, gitops, history):
    message = gitops.git(history, "show", "-s", "--format=%B", "HEAD").replace("c" * 64, "d" * 64)
    gitops.git(history, "switch", "-qc", "proposal")
    production(history).write_text(gitops.release("one", "d").text())
    gitops.git(history, "commit", "-qam", message, "--author", "P \x1b[31m <p@example.org>")
    proposal = gitops.git(history, "rev-parse", "HEAD")
    gitops.git(history, "switch", "-q", "main")
    gitops.git(history, "merge", "-q", "--no-ff", "proposal", "-m", "Merge pull request 7")
    # The same model in another lock is no new release.
    lock = gitops.release("one", "d").model_copy(update={"commit": "e" * 40})
    production(history).write_text(lock.text())
    gitops.git(history, "commit", "-qam", "described again")
    rewritten, merged, *_ = entries("environment=production")
    assert (rewritten["event"], rewritten["edits"]["commit"]) == (REWRITTEN, [gitops.commit, "e" * 40])
    assert (merged["event"], merged["from"], merged["digest"][7]) == (PROMOTED, "dev", "d")
    assert merged["commit"] == gitops.git(history, "rev-parse", "main^")
    assert (merged["proposal"], merged["author"][:2]) == (proposal, "P ")
    assert merged["merged_by"] == "a <a@example.org>"
    text = gitops.verb(history, *WORDS).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    blocks = [block.splitlines()[0].split("  ")[-1] for block in text.split("\n\n")]
    assert blocks == [
        "production",
        "production",
        "production",
        "dev",
        "production",
        "dev",
        "production",
        "dev",
    ]


def test_unknown_releases_and_shallow_clones_are_refused(gitops, history, remote, tmp_path):
    assert "there is dev, production" in gitops.refused(history, *WORDS, "environment=staging")
    assert "never in this history" in gitops.refused(history, "log", "release=other")
    gitops.git(tmp_path, "clone", "-q", "--depth=1", f"file://{remote}", str(tmp_path / "shallow"))
    assert "git fetch --unshallow" in gitops.refused(tmp_path / "shallow", *WORDS)
    gitops.git(history, "remote", "set-url", "origin", str(tmp_path / "gone.git"))
    done = gitops.verb(history, *WORDS)
    assert (done.returncode, done.stdout.count("promoted")) == (0, 3)
    assert "as last fetched" in done.stderr
