import json
from pathlib import Path

import pytest

from framework.build.stages.evaluate import write_metrics
from framework.build.stages.gate import Gate
from framework.core.errors import GateError
from framework.core.gates import Bound
from framework.core.step import Workspace


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Path]:
    folders = {}
    for name, metrics in (
        ("base", {"base.exact_match": 0.0}),
        ("tuned", {"tuned.exact_match": 0.75, "tuned.perplexity": 1.04}),
        ("broken", {"int4.perplexity": float("nan")}),
    ):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        write_metrics(folders[name], metrics)
    return folders


def check(bounds: dict[str, Bound], measured: dict[str, Path], output: Path) -> None:
    Gate(bounds=bounds).run(measured, output, Workspace(output))


def test_passed_gates_are_written(measured: dict[str, Path], tmp_path: Path) -> None:
    bounds = {"tuned.perplexity": Bound(max=1.5), "tuned.exact_match": Bound(min=0.75)}
    check(bounds, measured, tmp_path)
    passed = json.loads((tmp_path / "gates.json").read_text())
    assert passed == {"tuned.exact_match": ">= 0.75", "tuned.perplexity": "<= 1.5"}


def test_empty_gate_passes(measured: dict[str, Path], tmp_path: Path) -> None:
    check({}, measured, tmp_path)
    assert json.loads((tmp_path / "gates.json").read_text()) == {}


def test_default_bound_holds_where_its_metric_was_measured(measured: dict[str, Path], tmp_path: Path) -> None:
    gate = Gate(bounds={}, defaults={"tuned.stops": Bound(min=0.5)})
    gate.run(measured, tmp_path, Workspace(tmp_path))
    assert json.loads((tmp_path / "gates.json").read_text()) == {}
    write_metrics(measured["base"], {"tuned.stops": 0.25})
    with pytest.raises(GateError, match=r"tuned\.stops is 0\.25.*\n.*\n  .*gates\.stops\.min=0"):
        gate.run(measured, tmp_path, Workspace(tmp_path))
    assert set(gate.gates({"tuned.stops": 0.25})) == {"tuned.stops"}


def test_every_missed_bound_is_listed_with_its_value(measured: dict[str, Path], tmp_path: Path) -> None:
    bounds = {
        "tuned.exact_match": Bound(min=0.9),
        "tuned.perplexity": Bound(min=1.1, max=2),
        "base.exact_match": Bound(max=0.5),
        "int4.perplexity": Bound(max=1e9),
    }
    with pytest.raises(GateError) as caught:
        check(bounds, measured, tmp_path)
    assert str(caught.value) == (
        "The plan stopped at a gate:\n"
        "  int4.perplexity is nan, the gate requires <= 1e+09\n"
        "  tuned.exact_match is 0.75, the gate requires >= 0.9\n"
        "  tuned.perplexity is 1.04, the gate requires >= 1.1 and <= 2\n"
        "  Train longer or on more rows, choose a weaker compression for what only a compressed candidate "
        "misses, or loosen the gate in the recipe; gates.<candidate>.<metric> is of one candidate."
    )
    assert not (tmp_path / "gates.json").exists()
    assert caught.value.exit_code == 1


def test_unmeasured_metric_never_passes(measured: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        GateError, match=r"tuned\.f1 was not measured.*\n  Measured metrics: base\.exact_match"
    ):
        check({"tuned.f1": Bound(min=0)}, measured, tmp_path)
