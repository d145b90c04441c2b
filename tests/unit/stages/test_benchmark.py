from pathlib import Path

import pytest

from framework.config.schema import Benchmark
from framework.core.step import Workspace
from framework.stages.benchmark import Measure, _percentile
from framework.stages.evaluate import read_metrics


def measure(task: str, engines: dict[str, str], inputs: dict[str, Path], output: Path) -> dict[str, float]:
    benchmark = Benchmark(prompt_tokens=8, new_tokens=6, repeats=2, batch_size=3)
    Measure(benchmark=benchmark, task=task, engines=engines).run(inputs, output, Workspace(output))
    return read_metrics(output)


def test_a_language_model_has_its_speeds(tiny_llama: Path, tiny_genai: Path, tmp_path: Path) -> None:
    inputs = {"tuned": tiny_llama, "fp32": tiny_genai}
    found = measure("causal-lm", {"tuned": "torch", "fp32": "genai"}, inputs, tmp_path)
    for candidate in inputs:
        rate, p50, p99 = (
            found[f"{candidate}.decode_{name}"] for name in ("tokens_per_second", "p50_ms", "p99_ms")
        )
        assert rate == pytest.approx(1e3 / p50, rel=0.01)
        assert p99 >= p50 > 0
        assert found[f"{candidate}.prefill_tokens_per_second"] > 0
        assert found[f"{candidate}.peak_memory_bytes"] > 2**24
    assert set(found) == {f"{name}.{metric}" for name in inputs for metric in Measure.metrics("causal-lm")}
    weights = sum(path.stat().st_size for path in tiny_llama.glob("*.safetensors"))
    assert found["tuned.size_bytes"] == weights


def test_a_classifier_has_its_speeds(tiny_bert: Path, tmp_path: Path) -> None:
    found = measure("sequence-classification", {"fp32": "onnxruntime"}, {"fp32": tiny_bert}, tmp_path)
    assert set(found) == {f"fp32.{metric}" for metric in Measure.metrics("sequence-classification")}
    assert found["fp32.rows_per_second"] == pytest.approx(3e3 / found["fp32.batch_p50_ms"], rel=0.01)


def test_a_percentile_is_of_the_nearest_rank() -> None:
    assert _percentile([5.0], 0.99) == 5.0
    assert _percentile([float(n) for n in range(100, 0, -1)], 0.5) == pytest.approx(50, abs=1)
    assert _percentile([float(n) for n in range(1, 101)], 0.99) in (99.0, 100.0)
