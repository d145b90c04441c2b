"""Environments that name their signers, with real Git and keys: what was tampered with is refused by name."""

import json
import shutil

import pytest
import yaml
from signed_team import ENVIRONMENTS, accept, carried, promote, release, render, rewrite
from signing_keys import key_pair
from sigstore_instance import GITHUB, Instance

from framework.core.approval import approve, check_approval
from framework.core.release import LOCK, Release
from framework.core.sign_statement import signer
from framework.core.signers import Signers
from framework.gitops.dispatch import perform


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("ci", "operators", "attacker")}


@pytest.fixture(scope="session")
def team(original, keys, gitops_class, tmp_path_factory):
    """A team whose dev takes what CI signs, and whose other environments take what operators sign."""
    folder = tmp_path_factory.mktemp("signed")
    clone, git = folder / "clone", gitops_class.git
    shutil.copytree(original, clone)
    for name in ENVIRONMENTS:
        accept(clone, name, keys["ci" if name == "dev" else "operators"][1])
    git(clone, "add", "conf")
    git(clone, "commit", "-q", "-m", "Name the signers")
    git(folder, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(clone, "remote", "add", "origin", str(folder / "remote.git"))
    git(clone, "push", "-q", "-u", "origin", "main")
    git(clone, "remote", "set-head", "origin", "main")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        for key, value in gitops_class.SETTINGS.items():
            patch.setenv(key, value)
        # Its lock is committed already, without a signature.
        perform("propose", ["push=direct", "release=one", f"key={keys['ci'][0]}"])
    return folder


@pytest.fixture
def signed(team, gitops, tmp_path):
    """A clone of the team's repository, with a remote of its own, that a test can change."""
    for name in ("clone", "remote.git"):
        shutil.copytree(team / name, tmp_path / name)
    gitops.git(tmp_path / "clone", "remote", "set-url", "origin", str(tmp_path / "remote.git"))
    return tmp_path / "clone"


@pytest.fixture
def remote(signed):
    """The bare repository that the clone pushes to."""
    return signed.with_name("remote.git")


def test_release_is_signed_from_environment_to_environment(signed, gitops, keys, remote):
    assert promote(signed, gitops, keys).returncode == 0
    assert promote(signed, gitops, keys, "staging", "production").returncode == 0
    for name in ENVIRONMENTS:
        lock = gitops.lock(remote, "main", name)
        who = keys["ci" if name == "dev" else "operators"][1].read_text()
        assert check_approval(lock, name, Signers(keys=(who,))).number == 1
        assert lock.seal == gitops.release("one", "a").seal
    folder = signed / "environments" / "production" / "one"
    assert carried(folder) == Release.read(folder / LOCK)
    status = gitops.verb(signed, "status", "release=one", "check=true")
    assert status.returncode == 0, status.stdout + status.stderr
    assert status.stdout.count("number 1") == len(ENVIRONMENTS)
    assert "nothing to promote" in promote(signed, gitops, keys).stderr
    assert "dev/none/release.lock" in gitops.refused(signed, "propose", "release=none", "environment=dev")


@pytest.mark.slow
def test_job_promotes_as_itself_where_its_identity_is_accepted(signed, gitops, remote, monkeypatch):
    instance = Instance()
    try:
        workflow = "a/b/.github/workflows/promote.yaml@refs/heads/main"
        identity = {"issuer": GITHUB, "subject": f"https://github.com/{workflow}"}
        accepted = {"keys": [], "identities": [identity], "trust_config": instance.trust_config}
        option = signed / "conf" / "environment" / "staging.yaml"
        option.write_text(yaml.safe_dump({**yaml.safe_load(option.read_text()), "signers": accepted}))
        gitops.git(signed, "commit", "-q", "-am", "Staging takes what the workflow signs")
        gitops.git(signed, "push", "-q")
        words = ("promote", "release=one", "from=dev", "to=staging", "push=direct")
        assert identity["subject"] in gitops.refused(signed, *words)
        instance.be_github(monkeypatch, workflow)
        done = gitops.verb(signed, *words)
        assert done.returncode == 0, done.stderr
    finally:
        instance.close()
    lock = gitops.lock(remote, "main", "staging")
    assert check_approval(lock, "staging", Signers.model_validate(accepted)).signer == identity["subject"]
    status = gitops.verb(signed, "status", "release=one", "check=true")
    assert status.returncode == 0, status.stdout


TAMPERED = {
    "a metric": {"metrics": {"tuned.exact_match": 0.99}},
    "its model": {"digest": f"sha256:{'e' * 64}"},
    "changed since": {"data_digest": f"sha256:{'e' * 64}"},
    "not signed": {"approval": None},
}


def test_tampered_lock_is_refused(signed, gitops, keys):
    for reason, fields in TAMPERED.items():
        rewrite(signed, gitops, "dev", lambda lock, fields=fields: lock.model_copy(update=fields))
        assert reason in promote(signed, gitops, keys).stderr
        status = gitops.verb(signed, "status", "release=one", "check=true")
        assert status.returncode == 1
        assert reason in " ".join(status.stdout.split())
        gitops.git(signed, "reset", "-q", "--hard", "HEAD~1")
        gitops.git(signed, "push", "-q", "--force")


@pytest.mark.slow
def test_foreign_signature_is_refused_everywhere(signed, gitops, keys):
    forge = signer(str(keys["attacker"][0]), Signers())
    assert "sign with an accepted key" in promote(signed, gitops, keys, key="attacker").stderr
    rewrite(signed, gitops, "dev", lambda lock: approve(lock, "dev", 2, forge))
    assert "accepted is key" in promote(signed, gitops, keys).stderr
    assert gitops.verb(signed, "status", "release=one", "check=true").returncode == 1


@pytest.mark.slow
def test_lock_that_was_signed_once_cannot_be_put_back(signed, gitops, keys):
    old = (signed / "environments" / "dev" / "one" / LOCK).read_text()
    release(signed, gitops, keys, "b")
    rewrite(signed, gitops, "dev", lambda _: Release.parse(old, LOCK))
    assert "replayed" in promote(signed, gitops, keys).stderr
    status = gitops.verb(signed, "status", "release=one", "check=true")
    assert status.returncode == 1
    assert "replayed" in status.stdout


@pytest.mark.slow
def test_lock_that_a_revert_restored_is_signed_again(signed, gitops, keys, remote):
    assert promote(signed, gitops, keys).returncode == 0
    gitops.git(signed, "rm", "-q", "-r", "environments/staging/one", "environments/dev/one")
    gitops.git(signed, "commit", "-q", "-m", "Remove it")
    gitops.git(signed, "revert", "--no-edit", "HEAD")
    gitops.git(signed, "push", "-q")
    assert "replayed" in promote(signed, gitops, keys).stderr
    words = ("propose", "push=direct", "release=one", "environment=dev", f"key={keys['ci'][0]}")
    assert gitops.verb(signed, *words).returncode == 0
    assert promote(signed, gitops, keys).returncode == 0
    status = gitops.verb(signed, "status", "release=one", "check=true")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count("number 2") == 2


@pytest.mark.slow
def test_signature_for_one_environment_is_none_for_another(signed, gitops, keys):
    lock = Release.read(signed / "environments" / "dev" / "one" / LOCK)
    accept(signed, "staging", keys["ci"][1], keys["operators"][1])
    path = signed / "environments" / "staging" / "one"
    path.mkdir(parents=True)
    (path / LOCK).write_text(lock.text())
    render(signed, lock, "staging")
    gitops.git(signed, "add", ".")
    gitops.git(signed, "commit", "-q", "-m", "Copy")
    gitops.git(signed, "push", "-q")
    refused = promote(signed, gitops, keys, "staging", "production")
    assert "for dev, not for staging" in refused.stderr


@pytest.mark.slow
def test_folder_without_a_lock_is_refused(signed, gitops, keys):
    promote(signed, gitops, keys)
    (signed / "environments" / "staging" / "one" / LOCK).unlink()
    gitops.git(signed, "commit", "-q", "-am", "Remove the lock")
    gitops.git(signed, "push", "-q")
    assert "no such lock" in promote(signed, gitops, keys, "staging", "production").stderr
    status = gitops.verb(signed, "status", "check=true")
    assert status.returncode == 1
    assert "has no release.lock" in " ".join(status.stdout.split())


@pytest.mark.slow
def test_rollback_is_signed_anew(signed, gitops, keys, remote):
    for digit in "ab":
        if digit == "b":
            release(signed, gitops, keys, "b")
        assert promote(signed, gitops, keys).returncode == 0
    recipe = signed / "recipes" / "served.yaml"
    recipe.write_text(recipe.read_text().replace("deployment: {", "deployment: {service_port: 8080, "))
    gitops.git(signed, "commit", "-q", "-am", "Another port")
    gitops.git(signed, "push", "-q")
    words = ("rollback", "release=one", "environment=staging")
    assert "signed releases only" in gitops.refused(signed, *words)
    done = gitops.verb(signed, *words, f"key={keys['operators'][0]}")
    assert done.returncode == 0, done.stderr
    lock = gitops.lock(remote, "main", "staging")
    assert lock.digest == f"sha256:{'a' * 64}"
    assert check_approval(lock, "staging", Signers(keys=(keys["operators"][1].read_text(),))).number == 3
    # The manifests are those of then, with the lock of now.
    folder = signed / "environments" / "staging" / "one"
    assert carried(folder) == lock
    assert "8080" not in (folder / "service-one.yaml").read_text()
    # Pods and the admission policy compare the annotation with the lock: an old number starts no pod.
    workload = yaml.safe_load((folder / "deployment-one.yaml").read_text())
    for item in (workload, workload["spec"]["template"]):
        assert item["metadata"]["annotations"]["gitune.dev/approval"] == "3"
    status = gitops.verb(signed, "status", "environment=staging", "release=one", "check=true")
    assert status.returncode == 0, status.stdout


@pytest.mark.slow
def test_rollback_of_a_judged_rollout_says_that_it_takes_all_steps(signed, gitops, keys):
    recipe = signed / "recipes" / "served.yaml"
    judged = "defaults:\n  - override /rollout: blue-green\n  - override /monitoring: prometheus\n"
    recipe.write_text(recipe.read_text().replace("defaults:\n", judged))
    gitops.git(signed, "commit", "-q", "-am", "Judge it")
    gitops.git(signed, "push", "-q")
    for digit in "bc":
        release(signed, gitops, keys, digit)
        assert promote(signed, gitops, keys).returncode == 0
    words = ("rollback", "release=one", "environment=staging", f"key={keys['operators'][0]}")
    done = gitops.verb(signed, *words)
    assert done.returncode == 0, done.stderr
    # The new number is in the pods' template, so Argo Rollouts knows none of the kept pods.
    gitops.git(signed, "pull", "-q")
    rollout = yaml.safe_load((signed / "environments/staging/one/rollout-one.yaml").read_text())
    assert rollout["spec"]["template"]["metadata"]["annotations"]["gitune.dev/approval"] == "3"
    assert "kubectl argo rollouts promote one -n gitune-staging --full" in done.stdout


@pytest.mark.slow
def test_rollback_renders_anew_what_would_check_a_signature_that_is_not_there(signed, gitops, keys, remote):
    for digit in "ab":
        if digit == "b":
            release(signed, gitops, keys, "b")
        assert promote(signed, gitops, keys).returncode == 0
    option = signed / "conf" / "environment" / "staging.yaml"
    option.write_text(yaml.safe_dump({**yaml.safe_load(option.read_text()), "signers": {}}))
    gitops.git(signed, "commit", "-q", "-am", "Take unsigned releases in staging")
    gitops.git(signed, "push", "-q")
    done = gitops.verb(signed, "rollback", "release=one", "environment=staging")
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "staging").approval is None
    workload = yaml.safe_load((signed / "environments/staging/one/deployment-one.yaml").read_text())
    assert "--signers" not in json.dumps(workload)
    assert "rendered by today's recipe" in done.stdout


@pytest.mark.slow
def test_unsigned_environment_marks_what_it_hands_on(signed, gitops, keys, remote):
    option = signed / "conf" / "environment" / "dev.yaml"
    option.write_text(yaml.safe_dump({**yaml.safe_load(option.read_text()), "signers": {}}))
    gitops.git(signed, "commit", "-q", "-am", "Take unsigned releases in dev")
    gitops.git(signed, "push", "-q")
    assert "not proved" in promote(signed, gitops, keys).stderr
    words = ("release=one", "from=dev", "to=staging", "push=direct", "source=any")
    done = gitops.verb(signed, "promote", *words, f"key={keys['operators'][0]}")
    assert done.returncode == 0, done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", "main")
    assert "not signed in dev" in message.splitlines()[0]
    assert "Gitune-Source: any" in message


@pytest.mark.slow
def test_recipe_cannot_name_other_signers(signed, gitops, keys):
    recipe = signed / "recipes" / "served.yaml"
    mine = json.dumps({"keys": [keys["attacker"][1].read_text()]})
    recipe.write_text(f"{recipe.read_text()}environment: {{signers: {mine}}}\n")
    gitops.git(signed, "commit", "-q", "-am", "Sign by myself")
    gitops.git(signed, "push", "-q")
    assert promote(signed, gitops, keys, key="attacker").returncode != 0
