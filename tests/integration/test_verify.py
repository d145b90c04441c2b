"""`run verify` with real Git: a lock beside the plan of its commit."""

from pathlib import Path

import pytest
import yaml
from signing_keys import key_pair

from framework.config.compose_config import composed
from framework.core.approval import approve
from framework.core.modelstore import push
from framework.core.release import LOCK, ORIGIN, Release
from framework.core.sign_statement import signer
from framework.core.signers import Signers
from framework.core.signing import keep_signature
from framework.plan.build import make_plan
from framework.run.call import called

ROOT = Path(__file__).parents[2]
PATH = "environments/dev/one/release.lock"
ROWS = '{"prompt": "1", "completion": "odd"}\n' * 40


@pytest.fixture
def lock(gitops, clone, monkeypatch):
    """Write the lock that a run of some words leaves in the team's repository; *update* changes it."""
    recipe = "defaults: [served, override /data: files]\nname: one\ndata: {train: rows.jsonl}\n"
    (clone / "recipes" / "rows.yaml").write_text(recipe)
    (clone / "rows.jsonl").write_text(ROWS)
    gitops.git(clone, "add", ".")
    gitops.git(clone, "commit", "-q", "-m", "rows")
    monkeypatch.chdir(clone)

    def write(*words, **update):
        call = called(composed(["+recipe=rows", *words]), "run")
        plan = make_plan(call.config, call.recipe)
        stored = gitops.release("one", "b").model_copy(update={"recipe": "rows", "plan": plan.key})
        release = call.origin(plan).of(stored).model_copy(update=update)
        (clone / PATH).write_text(release.text())
        return release

    return write


def shown(output):
    """Return what agrees, differs and is unknown, by these words."""
    rows, title = {}, ""
    for line in output.splitlines()[1:]:
        title = line[:14].strip() or title
        rows[title] = [*rows.get(title, []), *(item for item in line[14:].strip(" ,").split(", ") if item)]
    return rows


@pytest.mark.parametrize(
    "words", [(), ("tuning=lora", "tuning.rank=4", "store=/s"), ("environment=staging", "seed=1")]
)
def test_commit_and_overrides_give_the_release(words, lock, gitops, clone):
    lock(*words)
    (clone / "rows.jsonl").write_text("changed since")
    before = gitops.state(clone)
    done = gitops.verb(clone, "verify", "release=one")
    assert (done.returncode, done.stderr) == (0, "")
    agrees = shown(done.stdout)["agrees"]
    assert {"config", "plan", "step read", "step tune", "step gate export"} <= {*agrees}
    assert "differs" not in shown(done.stdout)
    assert gitops.state(clone) == before


def test_lock_that_hides_an_override_differs(lock, gitops, clone):
    """As every lock of a version that did not record overrides."""
    lock("data.max_length=64", overrides=())
    done = gitops.verb(clone, "verify", "release=one", "environment=dev")
    assert done.returncode == 1
    assert PATH in done.stderr
    assert "an override is missing" in done.stderr
    assert "libraries" not in done.stderr
    rows = shown(done.stdout)
    assert {"step read", "step model"} <= {*rows["agrees"]}
    assert {"config", "plan", "step encode", "step tune"} <= {*rows["differs"]}


def test_rows_of_a_tree_with_changes_differ(lock, gitops, clone):
    (clone / "rows.jsonl").write_text(ROWS * 2)
    assert lock().clean is False
    done = gitops.verb(clone, "verify", "release=one")
    assert done.returncode == 1
    rows = shown(done.stdout)
    assert {"config", "step model"} <= {*rows["agrees"]}
    assert {"plan", "step read", "step encode"} <= {*rows["differs"]}


def test_lock_of_an_earlier_version_is_compared_by_its_plan(lock, gitops, clone):
    lock(**dict.fromkeys(ORIGIN))
    done = gitops.verb(clone, "verify", "release=one")
    assert done.returncode == 0
    rows = shown(done.stdout)
    assert (rows["agrees"], rows["unknown"]) == (["plan"], ["overrides", "config", "steps"])
    assert "differs" not in rows
    lock("seed=1", **dict.fromkeys(ORIGIN))
    done = gitops.verb(clone, "verify", "release=one")
    assert (done.returncode, "does not record overrides" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ({"commit": None}, "built outside of Git"),
        ({"commit": "1" * 40}, "does not have commit 111111111111; fetch"),
        ({"recipe": "gone"}, "gone"),
    ],
)
def test_lock_that_cannot_be_compared_is_one_line(update, error, lock, gitops, clone):
    lock(**update)
    done = gitops.verb(clone, "verify", "release=one")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{PATH}: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_libraries_are_the_cause_where_the_config_agrees(lock, gitops, clone):
    release = lock()
    lock(steps={**release.steps, "tune": "0" * 12})
    done = gitops.verb(clone, "verify", "release=one")
    assert (done.returncode, shown(done.stdout)["differs"]) == (1, ["step tune"])
    assert "libraries" in done.stderr


def test_variable_of_another_machine_is_named_as_a_cause(lock, gitops, clone, monkeypatch):
    recipe = clone / "recipes" / "rows.yaml"
    recipe.write_text(f"{recipe.read_text()}seed: ${{oc.decode:${{oc.env:TEAM_SEED}}}}\n")
    gitops.git(clone, "commit", "-q", "-a", "-m", "seed")
    monkeypatch.setenv("TEAM_SEED", "1")
    lock()
    assert gitops.verb(clone, "verify", "release=one").returncode == 0
    monkeypatch.setenv("TEAM_SEED", "2")
    done = gitops.verb(clone, "verify", "release=one")
    assert done.returncode == 1
    assert "oc.env" in done.stderr


def test_shallow_clone_is_advised_to_fetch_the_history(lock, gitops, clone, tmp_path):
    lock()
    gitops.git(clone, "commit", "-q", "-a", "-m", "lock")
    gitops.git(tmp_path, "clone", "-q", "--depth", "1", f"file://{clone}", "shallow")
    assert "git fetch --unshallow" in gitops.verb(tmp_path / "shallow", "verify", "release=one").stderr
    gitops.git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert gitops.verb(tmp_path / "shallow", "verify", "release=one").returncode == 0


def test_every_environment_is_compared(lock, gitops, clone):
    release = lock()
    other = clone / "environments" / "staging" / "one" / LOCK
    other.parent.mkdir(parents=True)
    other.write_text(release.model_copy(update={"plan": "0" * 64}).text())
    done = gitops.verb(clone, "verify", "release=one")
    assert done.returncode == 1
    assert "environments/staging/one/release.lock: " in done.stderr
    assert PATH not in done.stderr
    assert Release.read(clone / PATH) == release
    assert "no such lock on this folder; there are" in gitops.verb(clone, "verify", "release=nope").stderr


@pytest.fixture
def published(lock, tmp_path):
    """Write the lock of a small published model; return the release and the files of a key pair."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"weights")
    uri, digest = push(tmp_path / "model", f"file://{tmp_path}/store")
    return lock(model_uri=uri, digest=digest), *key_pair(tmp_path, "key")


def test_signature_of_the_model_is_named_and_checked(published, gitops, clone):
    release, private, public = published
    unsigned = gitops.verb(clone, "verify", "release=one", f"key={public}")
    assert (unsigned.returncode, "not signed by" in unsigned.stderr) == (1, True)
    assert shown(unsigned.stdout)["approval"][0] == "none"
    keep_signature(release, private.read_bytes())
    done = gitops.verb(clone, "verify", "release=one", f"key={public}")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(done.stdout)["signature"][0].startswith("valid")
    Path(release.model_uri.removeprefix("file://"), "weights.bin").write_bytes(b"weightz")
    changed = gitops.verb(clone, "verify", "release=one", f"key={public}")
    assert (changed.returncode, "weights.bin was changed" in changed.stderr) == (1, True)
    assert "step read" in shown(changed.stdout)["agrees"]


def test_approval_is_checked_where_the_environment_names_signers(published, gitops, clone):
    release, private, public = published
    path = clone / PATH
    dev = clone / "conf" / "environment" / "dev.yaml"
    option = yaml.safe_load((ROOT / dev.relative_to(clone)).read_text())
    option["signers"] = {"keys": [public.read_text()], "identities": [], "trust_config": None}
    dev.parent.mkdir(parents=True, exist_ok=True)
    dev.write_text(yaml.safe_dump(option))
    sign = signer(str(private), Signers())
    path.write_text(approve(release, "staging", 1, sign).text())
    assert "for staging, not for dev" in gitops.verb(clone, "verify", "release=one").stderr
    path.write_text(approve(release, "dev", 7, sign).text())
    done = gitops.verb(clone, "verify", "release=one")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(done.stdout)["approval"][0] == "number 7"
