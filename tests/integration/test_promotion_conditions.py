"""Promotions that an environment's conditions refuse or let pass, with real Git."""

import json

import yaml

ONWARD = ("promote", "release=one", "from=staging", "to=production", "push=direct")


def configure(gitops, clone, **promotion):
    """Set the conditions of production, and push."""
    file = clone / "conf" / "environment" / "production.yaml"
    option = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**option, "promotion": {**option["promotion"], **promotion}}))
    gitops.git(clone, "commit", "-qam", "Conditions of production")
    gitops.git(clone, "push", "-q")


def stage(gitops, clone, digit):
    """Commit a release to staging, and push."""
    gitops.put(clone, gitops.release("one", digit), "staging")
    gitops.git(clone, "push", "-q")


def test_environment_cannot_be_skipped_without_a_reason(gitops, clone, remote):
    words = ("promote", "release=one", "from=dev", "to=production", "push=direct")
    error = gitops.refused(clone, *words)
    assert "run promote release=one from=dev to=staging" in error
    assert "staging, which has none" in error
    for bad in ("skip= ", "skip=a\nGitune-Digest: x", f"skip={'a' * 201}"):
        assert "command line 'skip=" in gitops.verb(clone, *words, bad).stderr
    done = gitops.verb(clone, *words, "skip=hotfix of an outage")
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", "main")
    for text in (done.stderr, message):
        assert "hotfix of an outage" in text
        assert "staging, which has none" in text
    assert "run promote" not in message
    assert gitops.git(remote, "show", "-s", "--format=%(trailers:only)", "main").count("\n") == 2
    assert gitops.lock(remote, "main", "production").digest[7] == "a"


def test_release_that_was_rolled_back_there_goes_no_further(gitops, clone, remote):
    for digit in "cb":
        stage(gitops, clone, digit)
    gitops.put(clone, gitops.release("one", "b"))
    gitops.git(clone, "push", "-q")
    assert gitops.verb(clone, "rollback", "release=one", "environment=staging").returncode == 0
    rollback = gitops.git(remote, "rev-parse", "main")[:12]
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=production", "push=direct")
    assert f"has {'c' * 12} since a rollback in {rollback}, not {'b' * 12}" in error
    # The one that runs in staging goes on.
    assert gitops.verb(clone, *ONWARD).returncode == 0
    assert gitops.lock(remote, "main", "production").digest[7] == "c"


def test_release_goes_on_from_the_environment_before_only(gitops, clone, remote):
    stage(gitops, clone, "a")  # dev has it too
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=production")
    assert "run promote release=one from=staging to=production" in error


def test_build_for_a_later_environment_is_not_proposed(gitops, clone, remote):
    lock = clone / "environments" / "production" / "one" / "release.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(gitops.release("one", "b").text())
    error = gitops.refused(clone, "propose")
    steps = [f"run promote release=one from={path}" for path in ("dev to=staging", "staging to=production")]
    assert f"build it with environment=dev, then {steps[0]}, then {steps[1]}" in error
    done = gitops.verb(clone, "propose", "skip=the first release")
    assert done.returncode == 0, done.stderr
    branch = f"train/one-production-{'b' * 12}"
    assert "the first release" in gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert gitops.git(remote, "show", "-s", "--format=%(trailers:only)", branch).count("\n") == 2


def test_conditions_of_the_environment_are_in_the_commit(gitops, clone, remote, tmp_path):
    measured = tmp_path / "measured.json"
    verify = {"failures": {"max": 0.01}}
    configure(gitops, clone, soak="1s", metrics_from=str(measured), verify=verify)
    stage(gitops, clone, "b")
    assert "measured.json cannot be read" in gitops.refused(clone, *ONWARD)
    measured.write_text(json.dumps({"digest": f"sha256:{'b' * 64}", "metrics": {"failures": 0.0}}))
    done = gitops.verb(clone, *ONWARD)
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%b", "main")
    assert "failures is 0, production requires <= 0.01 in staging." in message
    assert "production requires 1s" in message


LOOSE = """\
environment:
  gates: {tuned.exact_match: {min: 0}, exact_match: {min: 0}}
  promotion: {after: dev, soak: null, metrics_from: null}
"""


def write_recipe(gitops, clone, text):
    file = clone / "recipes" / "served.yaml"
    file.write_text(f"{file.read_text()}{text}")
    gitops.git(clone, "commit", "-qam", "Recipe")
    gitops.git(clone, "push", "-q")


def test_recipe_cannot_loosen_what_its_environment_requires(gitops, clone, remote):
    configure(gitops, clone, soak="9d")
    write_recipe(gitops, clone, LOOSE)
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=production", "push=direct")
    assert "takes releases from staging, which has none" in error
    stage(gitops, clone, "a")
    assert "production requires 9d" in gitops.refused(clone, *ONWARD)
    bad = gitops.release("one", "b")
    bad = bad.model_copy(update={"metrics": dict.fromkeys(bad.metrics, 0.1)})
    gitops.put(clone, bad, "staging")
    gitops.git(clone, "push", "-q")
    assert "requires >= 0.7" in gitops.refused(clone, *ONWARD, "skip=only conditions")


def test_recipe_can_add_to_what_its_environment_requires(gitops, clone, remote):
    stage(gitops, clone, "a")
    write_recipe(gitops, clone, "environment: {promotion: {soak: 8d}, gates: {exact_match: {max: 0.72}}}\n")
    assert "<= 0.72" in gitops.refused(clone, *ONWARD)
    file = clone / "recipes" / "served.yaml"
    file.write_text(file.read_text().replace("max: 0.72", "max: 0.9"))
    gitops.git(clone, "commit", "-qam", "Recipe")
    gitops.git(clone, "push", "-q")
    assert "production requires 8d" in gitops.refused(clone, *ONWARD)


def test_missed_gate_is_named(gitops, clone, remote):
    gitops.put(clone, gitops.release("one", "b", exact_match=0.6))
    gitops.git(clone, "push", "-q")
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "tuned.exact_match is 0.6," in error
    assert ">= 0.7" in error


def test_bare_gate_binds_the_released_candidate(gitops, clone, remote):
    def built(int4):
        metrics = {"tuned.exact_match": 1.0, "int4.exact_match": int4}
        lock = gitops.release("one", "b").model_copy(update={"candidate": "int4", "metrics": metrics})
        gitops.put(clone, lock)
        gitops.git(clone, "push", "-q")

    built(0.6)
    words = ("promote", "release=one", "from=dev", "to=staging")
    assert "int4.exact_match is 0.6, the gate requires >= 0.7" in gitops.refused(clone, *words)
    built(0.72)
    done = gitops.verb(clone, *words)
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", f"promote/one-staging-{'b' * 12}")
    assert "int4.exact_match is 0.72, the gate requires >= 0.7." in message
    assert "tuned.exact_match" not in message
