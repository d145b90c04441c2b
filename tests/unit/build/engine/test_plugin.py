"""A plugin's package brings an engine and a task; its export and model options name them by dotted path."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.engine import Classifies, open_engine, require
from framework.build.evaluation.held_out import HeldOut
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.stages.evaluate import Evaluate, read_metrics
from framework.build.task import open_task
from framework.core.errors import ConfigError, ServeError
from framework.core.step import Workspace
from framework.plan.build import Plan

ENGINE = """
import numpy as np

class Constant:
    runtime = "constant"

    def classify(self, rows):
        return np.tile(np.array([0, 1, 0], np.float32), (len(rows), 1))

def open_folder(folder, threads=0):
    return Constant()
"""
TASK = """
from framework.build.task.sequence_classification import SequenceClasses

class Moods(SequenceClasses):
    name = "ourpackage.moods"
    metrics = ("share_right",)

    def measure(self, engine, rows):
        return {"share_right": super().measure(engine, rows)["accuracy"]}

TASK = Moods
"""
OPTIONS = """
from typing import ClassVar

from framework.build.export.transformers import Transformers
from framework.build.model.tiny_encoder import TinyEncoder

class ConstantExport(Transformers):
    engine: ClassVar[str] = "ourpackage.constant"
    tasks: ClassVar[tuple[str, ...]] = ("sequence-classification", "ourpackage.moods")

class MoodModel(TinyEncoder):
    task: ClassVar[str] = "ourpackage.moods"
"""
WORDS = ("+recipe=tiny", "~gates", "compression=none", "plugins=[ourpackage]", "export=constant")


@pytest.fixture(autouse=True)
def plugin(team: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    team("ourpackage/__init__.py", "")
    team("ourpackage/constant.py", ENGINE)
    team("ourpackage/moods.py", TASK)
    team("ourpackage/options.py", OPTIONS)
    team("conf/export/constant.yaml", "_target_: ourpackage.options.ConstantExport\n")
    about = "name: moods\nlicense: none\nparameters: 1e5\nlabels: [bad, good]\n"
    team("conf/model/moods.yaml", f"_target_: ourpackage.options.MoodModel\n{about}")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "ourpackage"]:
        del sys.modules[name]


def test_plugin_engine_opens_by_its_dotted_path(tmp_path: Path) -> None:
    engine = open_engine("ourpackage.constant", tmp_path)
    assert require(engine, Classifies).classify([[1], [2]]).tolist() == [[0, 1, 0], [0, 1, 0]]
    with pytest.raises(ServeError, match=r"engine 'ourpackage\.missing'"):
        open_engine("ourpackage.missing", tmp_path)
    with pytest.raises(ServeError, match="engine 'missing'"):
        open_engine("missing", tmp_path)


def test_plugin_task_opens_by_its_dotted_path(tmp_path: Path) -> None:
    task = open_task("ourpackage.moods")
    rows = [(torch.tensor([5, 6]), torch.tensor([label])) for label in (1, 1, 0, 1)]
    assert task.measure(open_engine("ourpackage.constant", tmp_path), rows) == {"share_right": 0.75}
    with pytest.raises(ConfigError, match=r"task 'ourpackage\.missing'"):
        open_task("ourpackage.missing")


def test_plan_uses_a_plugins_engine_and_task(plan: Callable[..., Plan]) -> None:
    made = plan(*WORDS, "model=moods")
    stages: dict[str, Any] = {step.label: step.stage for step in made.steps}
    assert stages["publish"].engine == "ourpackage.constant"
    assert stages["tune"].model.task == "ourpackage.moods"
    assert stages["benchmark"].task == "ourpackage.moods"


def test_evaluate_runs_a_plugins_engine(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = SequenceClassification(
        name="b", license="none", parameters=1e4, source=f"file://{tiny_bert}", labels=("a", "b", "c")
    )
    ids = torch.tensor([5, 6, 7, 8], dtype=torch.int32)
    rows = {"input_ids": ids, "labels": torch.tensor([0, 1], dtype=torch.int32)}
    lengths = {"input_lengths": torch.tensor([2, 2]), "label_lengths": torch.tensor([1, 1])}
    (tmp_path / "test").mkdir()
    save_file(rows | lengths, tmp_path / "test" / "00000.safetensors")
    stage = Evaluate(candidate="fp32", engine="ourpackage.constant", model=model, evaluation=HeldOut())
    (tmp_path / "output").mkdir()
    inputs = {"candidate": tiny_bert, "data": tmp_path, "data_model": tiny_bert}
    stage.run(inputs, tmp_path / "output", Workspace(tmp_path))
    assert read_metrics(tmp_path / "output")["fp32.accuracy"] == 0.5
