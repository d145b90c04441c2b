import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.compression import Exported
from framework.build.compression.int8_mixed import Int8Mixed
from framework.build.engine.bit_width import count_widths
from framework.build.export.onnx import Onnx
from framework.build.model.tiny_encoder import TinyEncoder
from framework.core.errors import StepError


@pytest.fixture(scope="module")
def exported(export_of: Callable[..., Exported]) -> Exported:
    model = TinyEncoder(name="tiny", license="x", parameters=1e5, labels=("bad", "fine", "good"), layers=1)
    return export_of(model, Onnx())


def decisions(folder: Path) -> dict[str, Any]:
    decided: dict[str, Any] = json.loads((folder / "compression.json").read_text())
    return decided


def test_sensitive_layers_stay_in_float_and_are_listed(exported: Exported, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("all", "some", "again")]
    for folder in folders:
        folder.mkdir()
    Int8Mixed(calibration_rows=3, budget=10).compress(exported, folders[0])
    first = decisions(folders[0])
    measured = first["sensitivity"]
    assert len(measured) == 3 + 6 + 2  # embeddings, one layer, pooler and head
    assert (first["float"], set(first["int8"])) == ([], set(measured))
    # Per layer, not shared by all layers with the same input.
    layer = "bert.encoder.layer.0.attention.self"
    assert measured[f"{layer}.query"] != measured[f"{layer}.value"]

    worst = max(measured, key=lambda name: measured[name])
    budget = sorted(measured.values())[-4]
    for folder in folders[1:]:
        Int8Mixed(calibration_rows=3, budget=budget).compress(exported, folder)
    decided = decisions(folders[1])
    assert decided["sensitivity"] == measured
    assert set(decided["float"]) == {name for name, moved in measured.items() if moved > budget}
    assert worst in decided["float"]
    counted = [count_widths(folder).share(8) for folder in folders]
    assert counted[0] == 1.0
    assert 0.25 < counted[1] < 1.0
    assert (folders[2] / "model.onnx").read_bytes() == (folders[1] / "model.onnx").read_bytes()


def test_budget_that_no_layer_meets_is_rejected(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"raise compression\.int8-mixed\.budget") as caught:
        Int8Mixed(calibration_rows=2, budget=1e-9).compress(exported, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()
