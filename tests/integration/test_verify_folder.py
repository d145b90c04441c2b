"""`run verify folder=` on a machine without Git and recipe: only the folder, and whom the user trusts."""

import functools
import hashlib
import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from signing_keys import key_pair
from sigstore_instance import GITHUB, Instance, token

from framework.config.compose_config import composed
from framework.config.load import load
from framework.core import evidence
from framework.core.approval import approve
from framework.core.keyless import signed_keyless
from framework.core.modelstore import push
from framework.core.release import LOCK, Release
from framework.core.sign_statement import signer
from framework.core.signers import Signers
from framework.core.signing import keep_keyless_signature, keep_signature
from framework.plan.build import make_plan
from framework.report.evidence import evidence as evidence_of
from framework.report.materials import gather_materials

TINY = Release.read(Path(__file__).parents[1] / "golden" / "tiny.lock")
WORKFLOW = "a/b/.github/workflows/promote.yaml@refs/heads/main"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a lock that is approved for staging, its model store, and two key pairs."""
    root = tmp_path_factory.mktemp("made")
    (root / "model" / "onnx").mkdir(parents=True)
    (root / "model" / "onnx" / "weights.bin").write_bytes(b"weights")
    (root / "model" / "a config.json").write_text("{}")
    uri, digest = push(root / "model", f"file://{root}/store")
    release = TINY.model_copy(update={"model_uri": uri, "digest": digest})
    config = load(composed(["+recipe=tiny"]))
    materials = gather_materials(config, make_plan(config, "test"))
    evidence.keep(evidence.address(release), evidence_of(release, materials))
    for name in ("ours", "theirs"):
        key_pair(root, name)
    keep_signature(release, (root / "ours.pem").read_bytes())
    (root / "lock").mkdir()
    signed = approve(release, "staging", 2, signer(str(root / "ours.pem"), Signers()))
    (root / "lock" / LOCK).write_text(signed.text())
    return root


@pytest.fixture
def copy(made, tmp_path):
    """A copy of all that, to tamper with, and the name of its model."""
    shutil.copytree(made, tmp_path / "copy")
    release = Release.read(tmp_path / "copy" / "lock" / LOCK)
    return tmp_path / "copy", release.digest.removeprefix("sha256:")


@pytest.fixture
def verify(gitops, tmp_path):
    """Run the verb in an empty folder; return exit code, verdicts by claim, and standard error."""
    (tmp_path / "empty").mkdir()

    def run(*words):
        done = gitops.verb(tmp_path / "empty", "verify", *words)
        rows = [line[2:].split(maxsplit=2) for line in done.stdout.splitlines()[1:] if line[2:3].strip()]
        return done.returncode, {claim: verdict for verdict, claim, _ in rows}, done.stderr

    return run


def test_key_proves_a_lock_and_its_model_without_git(made, run, environ, monkeypatch, tmp_path):
    monkeypatch.setitem(environ, "PATH", str(tmp_path))
    done = run(tmp_path, "verify", f"folder={made}/lock", f"key={made}/ours.pub")
    assert (done.returncode, done.stderr) == (0, "")
    proved = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  proved")]
    assert proved == ["seal", "approval", "model", "signature", "evidence"]
    assert "staging" in done.stdout


def test_without_a_key_nothing_of_the_signer_is_proved(made, verify):
    code, verdicts, _ = verify(f"folder={made}/lock")
    assert code == 0
    proved = {claim for claim, verdict in verdicts.items() if verdict == "proved"}
    assert proved == {"seal", "model", "evidence"}
    assert {verdicts[claim] for claim in ("approval", "signature", "origin", "metrics")} == {"unproved"}


def test_foreign_key_proves_nothing(made, verify):
    code, verdicts, error = verify(f"folder={made}/lock", f"key={made}/theirs.pub")
    assert (code, verdicts["approval"]) == (1, "refuted")
    assert "accepted is key" in error


def test_environment_of_the_approval_is_compared(made, verify):
    ours = f"key={made}/ours.pub"
    assert verify(f"folder={made}/lock", ours, "environment=staging")[0] == 0
    code, verdicts, error = verify(f"folder={made}/lock", ours, "environment=production")
    assert (code, verdicts["approval"], "for staging" in error) == (1, "refuted", True)


def test_private_key_in_place_of_a_public_one_is_named_with_the_command(made, verify):
    code, _, error = verify(f"folder={made}/lock", f"key={made}/ours.pem")
    assert (code, "-pubout" in error) == (2, True)


def test_unsigned_lock_is_refuted_where_an_environment_is_asked_for(copy, verify):
    root, _ = copy
    lock = root / "lock" / LOCK
    lock.write_text(Release.read(lock).model_copy(update={"approval": None}).text())
    words = (f"folder={root}/lock", f"key={root}/ours.pub")
    assert verify(*words)[0] == 0  # the key signed the model
    code, verdicts, _ = verify(*words, "environment=staging")
    assert (code, verdicts["approval"], verdicts["signature"]) == (1, "refuted", "proved")


def test_tampered_metric_is_refuted_with_a_seal_made_again(copy, verify):
    root, _ = copy
    path = root / "lock" / LOCK
    text = path.read_text()
    assert '"tuned.exact_match": 0.75' in text
    path.write_text(text.replace('"tuned.exact_match": 0.75', '"tuned.exact_match": 0.99'))
    assert verify(f"folder={root}/lock")[:2] == (1, {"seal": "refuted"})
    path.write_text(text)
    better = {name: 0.99 for name in Release.read(path).metrics}
    path.write_text(Release.read(path).model_copy(update={"metrics": better}).text())
    code, verdicts, error = verify(f"folder={root}/lock", f"key={root}/ours.pub")
    assert (code, verdicts["seal"], verdicts["approval"]) == (1, "proved", "refuted")
    assert "metric" in error


def tamper_bytes(model):
    (model / "onnx" / "weights.bin").write_bytes(b"weightz")
    return "onnx/weights.bin was changed"


def add_file(model):
    (model / "payload.py").write_text("import os")
    return "payload.py was added"


def add_file_to_the_list_too(model):
    (model / "payload.py").write_text("")
    with (model / "SHA256SUMS").open("a") as listing:
        listing.write(f"{hashlib.sha256(b'').hexdigest()}  payload.py\n")
    return "payload.py was added"


def remove_file(model):
    (model / "a config.json").unlink()
    return "a config.json is missing"


def add_linked_folder(model):
    (model / "more").symlink_to(model.parent)
    return "more was added"


def replace_by_link(model):
    (model.parent / "a config.json").write_bytes((model / "a config.json").read_bytes())
    remove_file(model)
    (model / "a config.json").symlink_to(model.parent / "a config.json")
    return "a config.json was changed"


_TAMPERINGS = [
    tamper_bytes,
    add_file,
    add_file_to_the_list_too,
    remove_file,
    add_linked_folder,
    replace_by_link,
]


@pytest.mark.parametrize("tamper", _TAMPERINGS)
def test_tampered_model_is_refuted_by_lock_list_and_signature(tamper, copy, verify):
    root, name = copy
    model = root / "store" / name
    reason = tamper(model)
    for words in ((f"folder={model}",), (f"folder={root}/lock", f"model={model}")):
        assert verify(*words)[:2][0] == 1
        code, verdicts, error = verify(*words, f"key={root}/ours.pub")
        assert (code, verdicts["model"], verdicts["signature"]) == (1, "refuted", "refuted")
        assert reason in error


def test_published_model_and_a_copy_without_its_list(copy, verify):
    root, name = copy
    model, ours = root / "store" / name, f"key={root}/ours.pub"
    assert verify(f"folder={model}", ours)[:2] == (0, {"model": "proved", "signature": "proved"})
    assert verify(f"folder=file://{model}/", ours)[0] == 0
    (bundle,) = (root / "store" / "evidence" / name).glob("*.sig")
    plain = shutil.copytree(model, root / "plain", ignore=shutil.ignore_patterns("SHA256SUMS"))
    assert verify(f"folder={plain}")[:2] == (0, {"model": "unproved", "signature": "unproved"})
    code, _, error = verify(f"folder={plain}", ours)
    assert (code, "signed nothing" in error) == (1, True)
    code, verdicts, _ = verify(f"folder={plain}", ours, f"signature={bundle}")
    assert (code, verdicts["signature"]) == (0, "proved")
    foreign = verify(f"folder={plain}", f"key={root}/theirs.pub", f"signature={bundle}")
    assert foreign[:2] == (1, {"model": "unproved", "signature": "refuted"})


@pytest.fixture
def served(made):
    """The address of the model store on a web server that lists its folders."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=made / "store")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_model_on_a_web_server_is_proved(made, served, verify):
    name = Release.read(made / "lock" / LOCK).digest.removeprefix("sha256:")
    code, verdicts, _ = verify(f"folder={served}/{name}", f"key={made}/ours.pub")
    assert (code, verdicts) == (0, {"model": "proved", "signature": "proved"})


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("bom.cdx.json", '"gitune:recipe"', '"gitune:other"'),
        ("provenance.intoto.json", '"recipe": "tiny"', '"recipe": "large"'),
        ("README.md", "## Evaluation", "## Evaluation by others"),
        ("README.md", "\n", "{"),
    ],
)
def test_evidence_of_another_release_is_refuted(name, old, new, copy, verify):
    root, _ = copy
    release = Release.read(root / "lock" / LOCK)
    kept = root / "store" / evidence.address(release).rpartition("/store/")[2] / name
    text = kept.read_text()
    assert old in text
    kept.write_text(text.replace(old, new))
    model = root / "store" / release.digest.removeprefix("sha256:")
    code, verdicts, error = verify(f"folder={root}/lock", f"model={model}")
    assert (code, verdicts["evidence"], name in error) == (1, "refuted", True)


def test_identity_proves_a_lock_and_its_model(copy, verify, tmp_path):
    root, _ = copy
    release = Release.read(root / "lock" / LOCK)
    instance = Instance()
    try:
        sign = lambda text: signed_keyless(text, token(WORKFLOW), instance.trust_config)  # noqa: E731
        (root / "lock" / LOCK).write_text(approve(release, "production", 3, sign).text())
        model = f"file://{root}/store/{release.digest.removeprefix('sha256:')}"
        moved = release.model_copy(update={"model_uri": model})
        keep_keyless_signature(moved, token(WORKFLOW), instance.trust_config)
    finally:
        instance.close()
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps(instance.trust_config))
    words = [f"folder={root}/lock", f"model={model}", f"issuer={GITHUB}", f"trust_config={trust}"]
    code, verdicts, error = verify(*words, f"identity=https://github.com/{WORKFLOW}")
    assert (code, error) == (0, "")
    assert {verdicts[claim] for claim in ("approval", "model", "evidence")} == {"proved"}
    code, verdicts, error = verify(*words, "identity=https://github.com/a/evil/x.yaml@refs/heads/main")
    assert (code, verdicts["approval"], "promote.yaml" in error) == (1, "refuted", True)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "folder="),
        (("release=a", "folder=b"), "'folder='"),
        (("release=a", "signature=c"), "'signature='"),
        (("folder=nowhere",), "nowhere"),
        (("folder=.", "identity=a"), "'issuer='"),
        (("folder=.", "key=none.pub"), "key=none.pub"),
        (("folder=.", "identity=a", "issuer=b"), "issuer=b"),
        (("folder=.", "identity=a", "issuer=https://b", "trust_config=none"), "trust_config=none"),
    ],
)
def test_wrong_words_are_named(words, error, verify):
    code, verdicts, text = verify(*words)
    assert (code in (1, 2), verdicts, error in text) == (True, {}, True), text
