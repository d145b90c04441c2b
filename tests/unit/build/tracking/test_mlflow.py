import sys
from pathlib import Path

import pytest

from framework.build.tracking.mlflow import MLflow
from framework.core.errors import ReleaseError, StepError
from framework.core.release import Release

RELEASE = Release(
    name="tiny",
    recipe="tiny",
    plan="0" * 64,
    model_uri="file://.gitune/models/abc",
    digest=f"sha256:{'1' * 64}",
    engine="genai",
    task="causal-lm",
    base_model="tiny",
    base_model_license="Apache-2.0",
    data_digest=f"sha256:{'2' * 64}",
    chat_template_digest=None,
    metrics={"tuned.exact_match": 0.75},
    gates={},
    commit=None,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database URL; the first client creates the tables, which takes seconds."""
    pytest.importorskip("mlflow")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/below/mlflow.db"


@pytest.mark.filterwarnings("ignore")
def test_release_is_registered_once(database: str) -> None:
    from mlflow import MlflowClient

    tracking = MLflow(url=database)
    second = RELEASE.model_copy(update={"digest": f"sha256:{'3' * 64}"})
    for release in (RELEASE, RELEASE, second, RELEASE):
        tracking.register(release)
    versions = MlflowClient(database).search_model_versions("name = 'tiny'")
    assert {version.tags["digest"] for version in versions} == {RELEASE.digest, second.digest}
    assert len(versions) == 2
    assert {version.source for version in versions} == {RELEASE.model_uri}
    assert versions[0].tags["tuned.exact_match"] == "0.75"


@pytest.mark.filterwarnings("ignore")
def test_unusable_url_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (tmp_path / "no.db").write_text("this is no database, but text long enough to look at" * 20)
    tracking = MLflow(url=f"sqlite:///{tmp_path}/no.db")
    with pytest.raises(StepError, match=r"^tracking: sqlite:.*; check tracking.url, or set tracking=none$"):
        tracking.logger("a")
    with pytest.raises(ReleaseError, match="set tracking=none"):
        tracking.register(RELEASE)


def test_missing_mlflow_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StepError, match=r"pip install 'gitune\[track\]'"):
        MLflow(url=f"sqlite:///{tmp_path}/x.db").logger("a")
