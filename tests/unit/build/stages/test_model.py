"""The model is checked against the export as soon as its config.json is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from framework import worker
from framework.build.export.openvino import OpenVino
from framework.build.export.transformers import Transformers
from framework.build.model import Model
from framework.build.stages.model import FetchModel
from framework.core.errors import StepError
from framework.core.job import write_job
from framework.core.step import Step, Workspace
from framework.core.store import Store


class Refusing(Transformers):
    """Supports no Llama."""

    def unsupported(self, model_config: Mapping[str, Any]) -> str:
        """Name the architecture."""
        return f"no {model_config['architectures'][0]}"


def test_unsupported_model_stops_before_training(tiny_model: Model, tmp_path: Path) -> None:
    FetchModel(model=tiny_model, seed=0, export=Transformers()).run({}, tmp_path, Workspace(tmp_path))
    with pytest.raises(StepError, match="export: no LlamaForCausalLM; set export=transformers"):
        FetchModel(model=tiny_model, seed=0, export=Refusing()).run({}, tmp_path, Workspace(tmp_path))


def test_stored_model_is_checked_before_any_step(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Transformers, "unsupported", lambda self, config: f"no {config['architectures'][0]}")
    for name in ("handle_signals", "ignore_signals", "exit_with_parent", "print_any_text"):
        monkeypatch.setattr(worker, name, lambda *arguments: None)
    step = Step("model", FetchModel(model=tiny_model, seed=0, export=Transformers()))
    folder = Store(tmp_path / "store").folder(step)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Odd"]}')
    job = tmp_path / "job.json"
    job.write_text(write_job((step,), [step], str(tmp_path / "store"), ()))
    assert worker.main(job) == StepError.exit_code
    assert "export: no Odd" in capsys.readouterr().err


def test_export_is_not_part_of_the_models_key(tiny_model: Model) -> None:
    exports = (None, Transformers(), OpenVino())
    assert (
        len({Step("model", FetchModel(model=tiny_model, seed=0, export=each)).key for each in exports}) == 1
    )
