"""A second run builds only what changed."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.stages.benchmark import Measure
from framework.core import evidence
from framework.core.evidence import BILL, CARD, PROVENANCE
from framework.core.filesystem import sha256_of
from framework.core.release import Release
from framework.report.numbers import formatted

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = "+recipe=tiny"
IMAGE = f"deployment.image=gitune/server@sha256:{'0' * 64}"


@pytest.fixture
def folder(built_tiny: Path, tmp_path: Path) -> Path:
    """A copy of the built working folder that a test can change."""
    shutil.copytree(built_tiny, tmp_path / "work")
    return tmp_path / "work"


def built(output: str) -> list[str]:
    """Return the labels of the steps that the worker ran."""
    return re.findall(r"^\[[ \d]+/\d+\] (.+)$", output, re.MULTILINE)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "runs" not in path.parts
    }


def lock(folder: Path) -> dict[str, object]:
    release: dict[str, object] = json.loads((folder / "environments/dev/tiny/release.lock").read_text())
    return release


def artifact(folder: Path, stage: str) -> Path:
    (path,) = (folder / ".gitune" / "store" / stage).iterdir()
    return path


def test_first_run_builds_every_step_and_leaves_no_scratch(built_tiny: Path) -> None:
    store = built_tiny / ".gitune" / "store"
    assert len(list(store.glob("*/*/artifact.json"))) == 15
    assert list((store / "scratch").iterdir()) == []
    assert list((store / "jobs").iterdir()) == []
    assert list(store.glob("*/.building-*")) == []
    release = lock(built_tiny)
    assert (built_tiny / str(release["model_uri"]).removeprefix("file://") / "SHA256SUMS").is_file()


def test_evidence_of_the_release_is_beside_its_model(built_tiny: Path) -> None:
    path = built_tiny / "environments/dev/tiny/release.lock"
    release = Release.read(path)
    folder = built_tiny / evidence.address(release).removeprefix("file://")
    bill, statement = (json.loads((folder / name).read_text()) for name in (BILL, PROVENANCE))
    assert bill["metadata"]["component"]["hashes"][0]["content"] == release.digest.removeprefix("sha256:")
    assert statement["subject"][0]["digest"] == {"sha256": release.digest.removeprefix("sha256:")}
    listing = built_tiny / release.model_uri.removeprefix("file://") / "SHA256SUMS"
    assert statement["subject"][0]["digest"]["sha256"] == sha256_of(listing)
    assert statement["predicate"]["buildDefinition"]["internalParameters"]["plan"] == release.plan
    assert formatted("exact_match", release.metrics["int4.exact_match"]) in (folder / CARD).read_text()


def test_key_signs_a_model_that_is_built_already(folder: Path, run: Run) -> None:
    pytest.importorskip("OpenSSL", reason="model-signing needs pyopenssl: the extra 'sign'")
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "key.pem")]
    subprocess.run(make, check=True, capture_output=True)
    before = lock(folder)
    refused = run(folder, TINY, "publish.sign.key=none.pem")
    assert (refused.returncode, "publish.sign.key: none.pem" in refused.stderr) == (1, True)
    done = run(folder, TINY, "publish.sign.key=key.pem")
    assert (done.returncode, built(done.stdout)) == (0, []), done.stderr
    assert lock(folder) == before
    release = Release.read(folder / "environments/dev/tiny/release.lock")
    assert [*(folder / evidence.model_address(release).removeprefix("file://")).glob("model.*.sig")]


def test_second_run_does_no_work(folder: Path, run: Run) -> None:
    before = files(folder)
    done = run(folder, TINY)
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == []
    assert files(folder) == before


def test_changed_deployment_only_renders(folder: Path, run: Run) -> None:
    before = lock(folder)
    done = run(folder, TINY, "deployment.grace_seconds=77")
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == []
    # The recipe alone renders other manifests, so the lock names the override; the model is the same.
    assert lock(folder) == {
        **before,
        "overrides": ["deployment.grace_seconds=77"],
        "seal": lock(folder)["seal"],
    }
    suggested = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith("  run ")]
    asked = [words for words in suggested if words[0] in ("report", "plan")]
    assert [run(folder, *words).returncode for words in asked] == [0, 0]
    rendered = (folder / "environments/dev/tiny/deployment-tiny.yaml").read_text()
    assert (
        "terminationGracePeriodSeconds: 82" in rendered
    )  # 77, plus 5 for the pod's removal from the Service


def test_sweep_of_one_name_leaves_the_choice_to_the_user(folder: Path, run: Run) -> None:
    before = lock(folder)
    done = run(folder, "-m", TINY, "deployment.grace_seconds=77,78")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing to build, everything was cached") == 2
    assert lock(folder) == before
    commands = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  run ")]
    assert commands == [["+recipe=tiny", f"deployment.grace_seconds={seconds}"] for seconds in (77, 78)]
    assert run(folder, *commands[0]).returncode == 0
    assert lock(folder)["overrides"] == ["deployment.grace_seconds=77"]
    done = run(folder, "-m", TINY, "environment=dev,staging", "environment.namespace=x", IMAGE)
    assert done.returncode == 0, done.stderr
    assert (folder / "environments" / "staging" / "tiny" / "release.lock").is_file()


def test_changed_bound_reruns_gate_and_publish(folder: Path, run: Run) -> None:
    done = run(folder, TINY, "gates.perplexity.max=50")
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == ["gate quality", "gate export", "publish"]
    gates = lock(folder)["gates"]
    assert isinstance(gates, dict)
    assert {gates["tuned.perplexity"], gates["int4.perplexity"]} == {"<= 50"}
    assert lock(folder)["candidate"] == "int4"


def test_compressed_model_that_misses_a_bound_is_not_released(folder: Path, run: Run) -> None:
    metrics = lock(folder)["metrics"]
    assert isinstance(metrics, dict)
    # Perplexities of the two are never equal, so that one bound is met by one of them only.
    low, high = sorted((metrics["tuned.perplexity"], metrics["int4.perplexity"]))
    side = "max" if metrics["tuned.perplexity"] == low else "min"
    shutil.rmtree(folder / "environments")
    done = run(folder, TINY, f"gates.perplexity.{side}={(low + high) / 2}")
    assert done.returncode == 1
    assert "\n  int4.perplexity is " in done.stderr
    assert "tuned.perplexity is " not in done.stderr
    assert built(done.stdout) == ["gate quality", "gate export"]
    assert not (folder / "environments").exists()


def test_changed_training_keeps_model_and_data(folder: Path, run: Run) -> None:
    done = run(folder, "plan", TINY, "training.learning_rate=1e-3")
    assert done.returncode == 0, done.stderr
    state = dict(re.findall(r"^(\S.*?)\s{2,}(cached|run)\b", done.stdout, re.MULTILINE))
    assert {label for label, status in state.items() if status == "cached"} == {
        "model",
        "read",
        "encode",
        "evaluate base",
    }
    assert state["tune"] == "run"
    assert "learning_rate 0.003 -> 0.001" in done.stdout


def test_missed_gate_is_one_error_and_leaves_no_release(folder: Path, run: Run) -> None:
    shutil.rmtree(folder / "environments")
    done = run(folder, TINY, "gates.exact_match.min=0.99")
    assert done.returncode == 1
    assert "\n  tuned.exact_match is " in done.stderr
    assert ">= 0.99" in done.stderr
    assert "Traceback" not in done.stderr
    assert built(done.stdout) == ["gate quality"]
    assert not (folder / "environments").exists()
    assert list((folder / ".gitune/store").glob("*/.building-*")) == []


def test_build_is_subject_to_the_environments_gates(folder: Path, run: Run) -> None:
    done = run(folder, TINY, "environment=staging", IMAGE, "environment.gates.exact_match.min=0.99")
    assert done.returncode == 1
    assert "int4.exact_match is " in done.stderr
    assert "tuned.exact_match" not in done.stderr
    assert "gates of staging" in done.stderr
    assert not (folder / "environments" / "staging").exists()


def test_model_missing_from_the_store_is_published_again(folder: Path, run: Run) -> None:
    before = lock(folder)
    shutil.rmtree(folder / ".gitune" / "models")
    done = run(folder, TINY)
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == ["publish"]
    assert lock(folder) == before
    published = folder / ".gitune" / "models" / before["digest"].removeprefix("sha256:")
    (published / "tokenizer.json").unlink()  # an incomplete model counts as missing
    assert built(run(folder, TINY).stdout) == ["publish"]
    assert (published / "tokenizer.json").is_file()


@pytest.mark.slow
def test_altered_artifact_is_reported_with_the_fix(folder: Path, run: Run) -> None:
    weights = artifact(folder, "tune") / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(bytes(body))
    for verb in ((), ("plan",)):
        done = run(folder, *verb, TINY)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "model.safetensors" in done.stderr
    shutil.rmtree(weights.parent)
    done = run(folder, TINY)
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == ["tune"]  # the artifacts of later steps are still valid


def test_folder_moved_elsewhere_is_still_built(folder: Path, run: Run, tmp_path: Path) -> None:
    folder.rename(tmp_path / "moved")
    done = run(tmp_path / "moved", TINY)
    assert done.returncode == 0, done.stderr
    assert built(done.stdout) == []


@pytest.mark.slow
def test_release_does_not_depend_on_the_folder(built_tiny: Path, run: Run, tmp_path: Path) -> None:
    """A build in another folder produces the same model bit for bit."""
    done = run(tmp_path, TINY, "store=elsewhere/store")
    assert done.returncode == 0, done.stderr
    here, there = lock(built_tiny), lock(tmp_path)
    for name in ("digest", "plan", "data_digest", "chat_template_digest", "gates"):
        assert here[name] == there[name], name
    timed = {*Measure.metrics("causal-lm")} - {"size_bytes"}
    metrics: Any = here["metrics"]
    same = {name: value for name, value in metrics.items() if name.partition(".")[2] not in timed}
    assert {"int4.size_bytes", "int4.exact_match"} <= set(same)
    assert same == {name: there["metrics"][name] for name in same}  # type: ignore[index]
    assert str(tmp_path) not in (tmp_path / "environments/dev/tiny/release.lock").read_text()
