from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.tracking.mlflow import MLflow
from framework.build.tracking.tensorboard import TensorBoard
from framework.build.tracking.wandb import Wandb
from framework.build.tuning.lora import LoRA

Fit = Callable[..., Path]


def curves(folder: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_resumed_run_logs_to_the_same_folder(fit: Fit, cut_off: Callable[..., None], tmp_path: Path):
    pytest.importorskip("tensorboard")
    tracking = TensorBoard(experiment="x", folder=str(tmp_path / "boards"))
    options = {"epochs": 2, "checkpoint_every_steps": 4, "tracking": tracking}
    cut_off(5, "a", LoRA(), **options)
    logged = fit("a", LoRA(), **options)
    (run,) = (tmp_path / "boards" / "x").iterdir()
    assert run.name == "a-scratch"[:12]
    steps = curves(run)
    assert {"loss", "learning_rate", "tokens_per_second", "memory_gib"} <= set(steps)
    assert set(steps["loss"]) == set(range(1, 9))
    plain = fit("b", LoRA(), epochs=2)
    assert (logged / "log.jsonl").read_bytes() == (plain / "log.jsonl").read_bytes()


@pytest.mark.filterwarnings("ignore")  # from alembic and sqlalchemy, which MLflow uses
@pytest.mark.slow  # creating the tables takes ten seconds
def test_resumed_run_is_one_mlflow_run(fit: Fit, cut_off: Any, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    database = f"sqlite:///{tmp_path}/below/mlflow.db"

    tracking = MLflow(experiment="x", url=database)
    options = {"epochs": 2, "checkpoint_every_steps": 4, "tracking": tracking}
    cut_off(5, "a", LoRA(), **options)
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("x").experiment_id
    assert client.search_runs([experiment])[0].info.status == "FAILED"
    fit("a", LoRA(), **options)
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {point.step for point in history} == set(range(1, 9))
    assert run.data.params["training/learning_rate"] == "0.003"


@pytest.mark.filterwarnings("ignore")
def test_offline_run_needs_no_account(
    fit: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit("a", LoRA(), epochs=1, tracking=Wandb(experiment="x", folder=str(tmp_path / "wandb-folder")))
    (written,) = (tmp_path / "wandb-folder" / "wandb").glob("offline-run-*-a-scratch/run-a-scratch.wandb")
    assert b"tokens_per_second" in written.read_bytes()


def test_lost_server_does_not_end_training(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger

    def refuse(self, metrics: dict[str, float], step: int) -> None:
        raise OSError("connection lost\nwith a long story")

    monkeypatch.setattr(TensorBoardLogger, "log_metrics", refuse)
    fit("a", LoRA(), epochs=1, tracking=TensorBoard(folder=str(tmp_path / "boards")))
    assert capfd.readouterr().err.count("tracking: connection lost; training continues without it\n") == 1
