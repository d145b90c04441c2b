import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from framework.build.model import Model
from framework.build.stages.evaluate import write_metrics
from framework.build.stages.publish import Publish, PublishRelease
from framework.core import versions
from framework.core.errors import SourceError, StepError
from framework.core.filesystem import tree_digest
from framework.core.release import LOCK, ORIGIN, Release
from framework.core.step import Workspace
from framework.core.store import RECORD

WHO = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Finished artifacts in a working folder without Git."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folders = {name: tmp_path / "store" / name for name in ("shipped", "data", "evaluate", "gate")}
    for folder in folders.values():
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(json.dumps({"seconds": os.urandom(4).hex()}))
    (folders["shipped"] / "deep").mkdir()
    (folders["shipped"] / "model.onnx").write_bytes(b"graph")
    (folders["shipped"] / "deep" / "weights.bin").write_bytes(b"weights")
    (folders["shipped"] / "chat_template.jinja").write_text("template")
    for split in ("train", "test"):
        (folders["data"] / split).mkdir()
        for number in (0, 1):
            (folders["data"] / split / f"0000{number}.jsonl").write_text(f"{split} {number}")
    write_metrics(folders["evaluate"], {"tuned.exact_match": 0.75})
    write_metrics(folders["gate"], {"fp32.agreement": 1.0})
    (folders["gate"] / "gates.json").write_text('{"tuned.exact_match": ">= 0.5"}')
    return folders


def publish(
    inputs: dict[str, Path], model: Model, url: str = "file://models", plan: str = "f" * 64
) -> Release:
    output, scratch = Path("output"), Path("scratch")
    output.mkdir(exist_ok=True)
    stage = PublishRelease(
        release="tiny",
        recipe="tiny",
        publish=Publish(url=url),
        model=model,
        candidate="int4",
        engine="genai",
        plan=plan,
    )
    stage.run(inputs, output, Workspace(scratch))
    return Release.read(output / LOCK)


def test_release_says_what_was_published(inputs: dict[str, Path], tiny_model: Model) -> None:
    release = publish(inputs, tiny_model)
    assert release.metrics == {"tuned.exact_match": 0.75, "fp32.agreement": 1.0}
    assert release.gates == {"tuned.exact_match": ">= 0.5"}
    assert release.commit is None
    assert release.released == ("int4",)
    assert release.base_model == "random"
    assert release.task == "causal-lm"
    assert release.model_uri == f"file://models/{release.digest.removeprefix('sha256:')}"
    assert Path("output", LOCK).read_text() == release.text()


def shell(command: str, folder: Path) -> str:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_digest_matches_sha256sum(inputs: dict[str, Path], tiny_model: Model) -> None:
    release = publish(inputs, tiny_model)
    folder = Path(release.model_uri.removeprefix("file://"))
    files = "find . -type f ! -name SHA256SUMS -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum"
    assert release.digest == "sha256:" + shell(f"{files} | sha256sum", folder).split()[0]
    assert (folder / "SHA256SUMS").read_text() == shell(files, folder)
    assert "OK" in shell("sha256sum --check SHA256SUMS", folder)
    assert not (folder / RECORD).exists()
    joined = "for split in train test; do cat $split/*.jsonl > $split.jsonl; done"
    rows = shell(f"{joined}; sha256sum train.jsonl test.jsonl | sha256sum", inputs["data"])
    assert release.data_digest == "sha256:" + rows.split()[0]
    template = shell("sha256sum chat_template.jinja", inputs["shipped"]).split()[0]
    assert release.chat_template_digest == f"sha256:{template}"


def test_lock_is_byte_stable(inputs: dict[str, Path], tiny_model: Model) -> None:
    publish(inputs, tiny_model)
    first = Path("output", LOCK).read_bytes()
    for folder in inputs.values():
        (folder / RECORD).write_text("another run's record")
    publish(dict(reversed(inputs.items())), tiny_model)
    assert Path("output", LOCK).read_bytes() == first
    assert str(Path.cwd()).encode() not in first


def test_publishing_does_not_change_the_artifact(inputs: dict[str, Path], tiny_model: Model) -> None:
    before = tree_digest(inputs["shipped"])
    release = publish(inputs, tiny_model)
    published = Path(release.model_uri.removeprefix("file://")) / "model.onnx"
    published.chmod(0o644)
    published.write_bytes(b"changed in the model store")
    assert tree_digest(inputs["shipped"]) == before


def test_release_has_no_origin(inputs: dict[str, Path], tiny_model: Model) -> None:
    """Another commit, recipe or spelling may reuse the step."""
    for words in (["init", "-q"], [*WHO, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    release = publish(inputs, tiny_model)
    assert release.commit is None
    assert {name: getattr(release, name) for name in ORIGIN} == dict.fromkeys(ORIGIN)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_metric_is_not_published(inputs: dict[str, Path], tiny_model: Model, value: float) -> None:
    write_metrics(inputs["evaluate"], {"tuned.perplexity": value})
    with pytest.raises(StepError, match=r"publish: tuned\.perplexity is (nan|inf)"):
        publish(inputs, tiny_model)
    assert not Path("models").exists()


def test_refusing_model_store_is_a_one_line_error(inputs: dict[str, Path], tiny_model: Model) -> None:
    Path("models").write_text("a file where the store should be")
    with pytest.raises(SourceError) as caught:
        publish(inputs, tiny_model)
    assert "file://models" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("output", LOCK).exists()


def test_store_at_any_url(inputs: dict[str, Path], tiny_model: Model) -> None:
    import fsspec

    release = publish(inputs, tiny_model, url="memory://models")
    store: Any = fsspec.filesystem("memory")
    names = {path.rpartition("/")[2] for path in store.find("/models")}
    model = {"SHA256SUMS", "chat_template.jinja", "model.onnx", "weights.bin"}
    assert names == {*model, f"{release.plan}.lock"}
    assert release.digest == publish(inputs, tiny_model).digest


def test_lock_is_copied_to_the_model_store(inputs: dict[str, Path], tiny_model: Model) -> None:
    release = publish(inputs, tiny_model)
    assert Release.read(Path("models", "releases", "tiny", f"{release.plan}.lock")) == release


def test_publishing_prunes_versions_that_no_environment_needs(
    inputs: dict[str, Path], tiny_model: Model
) -> None:
    made = []
    for number in range(15):
        (inputs["shipped"] / "model.onnx").write_bytes(b"graph %d" % number)
        made.append(publish(inputs, tiny_model, plan=f"{number:064x}"))
        if number == 1:
            lock = Path("environments", "production", "tiny", LOCK)
            lock.parent.mkdir(parents=True)
            lock.write_text(made[1].text())
        versions.prune("file://models", "tiny", 12, versions.needed_by(Path("environments")))
    kept = [number for number, release in enumerate(made) if Path(release.model_uri[7:]).is_dir()]
    assert kept == [1, *range(3, 15)]
    assert len(list(Path("models", "releases", "tiny").iterdir())) == 13
