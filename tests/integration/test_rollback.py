"""Rollbacks with real Git: which release is restored, and what is printed."""

import pytest

from framework.core.release import LOCK

WORDS = ("rollback", "release=one", "environment=production")


def deployed_digit(gitops, remote):
    return gitops.lock(remote, "main", "production").digest[7]


def test_rollback_restores_the_last_release_in_one_commit(gitops, history, remote):
    before = gitops.git(remote, "rev-parse", "main")
    done = gitops.verb(history, *WORDS)
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "production") == gitops.release("one", "b")
    assert gitops.git(remote, "rev-parse", "main^") == before
    assert gitops.git(remote, "show", "-s", "--format=%(trailers:only)", "main").splitlines() == [
        "Gitune-Release: one",
        "Gitune-Environment: production",
        f"Gitune-Digest: sha256:{'b' * 64}",
        f"Gitune-Rolled-Back: sha256:{'c' * 64}",
        f"Gitune-Rendered-At: {gitops.git(remote, 'rev-parse', 'main~2')}",
    ]
    assert f"Roll one back in production: {'c' * 12} -> {'b' * 12}" in done.stdout
    assert "280 s" in done.stdout
    assert "today's recipe renders too" in done.stdout
    # The folder is the same as while b was deployed.
    same = gitops.git(remote, "diff", "--name-only", "main", "main~3", "--", "environments/production")
    assert same == ""
    assert gitops.git(history, "status", "--porcelain") == ""


def test_promoting_a_rolled_back_release_warns(gitops, history, remote):
    assert gitops.verb(history, *WORDS).returncode == 0
    rollback = gitops.git(remote, "rev-parse", "main")
    again = ("promote", "release=one", "from=dev", "to=production", "push=direct", "skip=a test")
    done = gitops.verb(history, *again)
    assert done.returncode == 0, done.stderr
    for text in (done.stderr, gitops.git(remote, "show", "-s", "--format=%b", "main")):
        assert f"{'c' * 12} was rolled back" in text
        assert rollback[:12] in text


@pytest.mark.slow
def test_rolled_back_release_is_skipped_until_promoted_again(gitops, history, remote):
    for expected in "ba":
        assert gitops.verb(history, *WORDS).returncode == 0
        assert deployed_digit(gitops, remote) == expected
    error = gitops.refused(history, *WORDS)
    assert "b" * 12 in error
    assert gitops.verb(history, *WORDS, f"to={'c' * 8}").returncode == 0  # explicitly requested
    assert deployed_digit(gitops, remote) == "c"
    for digit in "bd":  # b is promoted again, then d, which is rolled back
        gitops.put(history, gitops.release("one", digit), "production")
    gitops.git(history, "push", "-q")
    assert gitops.verb(history, *WORDS).returncode == 0
    assert deployed_digit(gitops, remote) == "b"


def test_plain_revert_counts_as_a_rollback(gitops, history, remote):
    gitops.git(history, "revert", "--no-edit", "HEAD")
    gitops.git(history, "push", "-q")
    assert deployed_digit(gitops, remote) == "b"
    assert gitops.verb(history, *WORDS).returncode == 0
    assert deployed_digit(gitops, remote) == "a"


def test_first_parent_history_decides_what_ran(gitops, history, remote):
    gitops.git(history, "branch", "second")
    gitops.git(history, "switch", "-qc", "first")
    gitops.put(history, gitops.release("one", "d"), "production")
    gitops.git(history, "switch", "-q", "second")
    gitops.put(history, gitops.release("one", "e"), "production")
    gitops.git(history, "switch", "-q", "main")
    gitops.git(history, "merge", "-q", "--no-ff", "first")
    # Git leaves the first branch out of the file's history, since the conflict was resolved for the second.
    gitops.git(history, "merge", "-q", "--no-ff", "-X", "theirs", "second")
    gitops.git(history, "push", "-q")
    assert deployed_digit(gitops, remote) == "e"
    assert gitops.verb(history, *WORDS).returncode == 0
    assert deployed_digit(gitops, remote) == "d"


def test_edited_lock_is_never_restored(gitops, history, remote):
    file = history / "environments" / "production" / "one" / LOCK
    file.write_text(file.read_text().replace("0.75", "0.95").replace("c" * 64, "d" * 64))
    gitops.git(history, "commit", "-qam", "better numbers")
    gitops.git(history, "push", "-q")
    assert gitops.verb(history, *WORDS).returncode == 0
    assert deployed_digit(gitops, remote) == "c"
    assert gitops.verb(history, *WORDS).returncode == 0
    assert deployed_digit(gitops, remote) == "b"


@pytest.fixture
def another_port(gitops, history):
    """The team's clone, whose recipe changed since its last promotion."""
    recipe = history / "recipes" / "served.yaml"
    recipe.write_text(recipe.read_text().replace("deployment: {", "deployment: {service_port: 8080, "))
    gitops.git(history, "commit", "-qam", "another port")
    gitops.git(history, "push", "-q")
    return history


def test_rollback_restores_the_manifests_of_then(gitops, another_port, remote, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    ran_at = gitops.git(remote, "rev-parse", "main~2")
    done = gitops.verb(another_port, *WORDS)
    assert done.returncode == 0, done.stderr
    place = "environments/production"
    assert gitops.git(remote, "diff", "--name-only", "main", ran_at, "--", place) == ""
    assert f"as they ran at {ran_at[:12]}" in gitops.git(remote, "show", "-s", "--format=%b", "main")
    assert "production/one/service-one.yaml" in done.stdout.split()
    assert "production/one/deployment-one.yaml" not in done.stdout.split()
    # A fresh render differs, which is no problem as long as the files are those of then.
    words = ("status", "release=one", "environment=production", "check=true")
    done = gitops.verb(another_port, *words)
    assert (done.returncode, ran_at[:12] in done.stdout) == (0, True), done.stdout
    service = another_port / place / "one" / "service-one.yaml"
    service.write_text(service.read_text().replace("80", "81"))
    assert gitops.verb(another_port, *words).returncode == 1
    gitops.git(another_port, "commit", "-qam", "edited by hand")
    assert gitops.verb(another_port, *words).returncode == 1


@pytest.mark.slow
def test_rollback_renders_anew_where_it_is_asked_or_must(gitops, another_port, remote):
    tip = gitops.git(remote, "rev-parse", "main")
    port = f"{tip}:environments/production/one/service-one.yaml"
    assert "8080" not in gitops.git(remote, "show", port)
    done = gitops.verb(another_port, *WORDS, "render=now")
    assert done.returncode == 0, done.stderr
    assert "8080" in gitops.git(remote, "show", port.replace(tip, "main"))
    assert "Rendered-At" not in gitops.git(remote, "show", "-s", "--format=%b", "main")
    option = another_port / "conf" / "environment" / "production.yaml"
    option.write_text(option.read_text().replace("gitune-production", "moved"))
    gitops.git(another_port, "commit", "-qam", "another namespace")
    gitops.git(another_port, "push", "-q")
    assert "gitune-production" in gitops.refused(another_port, *WORDS, "render=then")
    done = gitops.verb(another_port, *WORDS)
    assert done.returncode == 0, done.stderr
    assert "namespace gitune-production" in " ".join(done.stdout.split())
    assert '"moved"' in gitops.git(remote, "show", "main:environments/production/one/app.json")


@pytest.mark.slow
def test_releases_that_miss_a_gate_are_listed(gitops, history, remote):
    option = history / "conf" / "environment" / "production.yaml"
    option.write_text(option.read_text().replace("min: 0.7", "min: 0.8"))
    gitops.git(history, "commit", "-qam", "a higher bar")
    gitops.git(history, "push", "-q")
    error = gitops.refused(history, *WORDS)
    assert f"{'b' * 12}: tuned.exact_match is 0.75" in error
    assert ">= 0.8" in error


@pytest.mark.slow
def test_rollback_can_be_proposed(gitops, history, remote):
    done = gitops.verb(history, *WORDS, "push=branch")
    assert done.returncode == 0, done.stderr
    assert deployed_digit(gitops, remote) == "c"
    assert gitops.lock(remote, f"rollback/one-production-{'b' * 12}", "production").digest[7] == "b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*WORDS, "to=ffff"), "ffff; there are bbbb"),
        ((*WORDS, "to=sha256:"), f"to=sha256: matches {'b' * 12}, {'a' * 12};"),
        ((*WORDS[:2], "environment=staging"), "on main; there are dev/one"),
        ((*WORDS[:2], "environment=dev", "to=9"), "9; there are bbbbbbbbbbbb, aaaaaaaaaaaa"),
    ],
)
def test_rollback_without_a_candidate_is_refused(gitops, history, words, message):
    assert message in gitops.refused(history, *words)


@pytest.mark.slow
def test_first_release_cannot_be_rolled_back(gitops, clone):
    assert "release" in gitops.refused(clone, "rollback", "release=two", "environment=dev")


def test_shallow_clone_is_refused(gitops, history, remote, tmp_path):
    gitops.git(tmp_path, "clone", "-q", "--depth=1", f"file://{remote}", str(tmp_path / "shallow"))
    assert "git fetch --unshallow" in gitops.refused(tmp_path / "shallow", *WORDS)


@pytest.mark.slow
def test_concurrent_rollbacks_all_land(gitops, clone, remote, tmp_path, start):
    names = ("one", "two", "three")
    for name in names:
        gitops.put(clone, gitops.release(name, "b"))
    gitops.git(clone, "push", "-q")
    clones = [tmp_path / name for name in names]
    for folder in clones:
        gitops.git(tmp_path, "clone", "-q", str(remote), str(folder))
    started = [
        start(folder, "rollback", f"release={name}", "environment=dev")
        for folder, name in zip(clones, names, strict=True)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    assert [gitops.lock(remote, "main", "dev", name).digest[7] for name in names] == ["a", "a", "a"]
