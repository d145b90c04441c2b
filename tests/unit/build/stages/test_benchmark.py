import json
from pathlib import Path

import pytest

from framework.build.engine import open_engine
from framework.build.stages.benchmark import BATCHES, Benchmark, Measure
from framework.build.stages.evaluate import read_metrics
from framework.build.stages.time_candidate import _batch, _best, _decode
from framework.core.errors import StepError
from framework.core.step import Workspace


def measure(task: str, engines: dict[str, str], inputs: dict[str, Path], output: Path) -> dict[str, float]:
    benchmark = Benchmark(prompt_tokens=8, new_tokens=6, repeats=2, batch_sizes=(1, 3))
    stage = Measure(benchmark=benchmark, task=task, engines=engines)
    stage.run(inputs, output, Workspace(output))
    return read_metrics(output)


def test_language_model_has_its_speeds(tiny_llama: Path, tiny_genai: Path, tmp_path: Path) -> None:
    inputs = {"tuned": tiny_llama, "fp32": tiny_genai}
    found = measure("causal-lm", {"tuned": "torch", "fp32": "genai"}, inputs, tmp_path)
    batches = json.loads((tmp_path / BATCHES).read_text())
    for candidate in inputs:
        rate, p50, p90, p99 = (
            found[f"{candidate}.decode_{name}"]
            for name in ("tokens_per_second", "p50_ms", "p90_ms", "p99_ms")
        )
        assert rate == pytest.approx(1e3 / p50, rel=0.01)
        assert p99 >= p90 >= p50 > 0
        first = found[f"{candidate}.first_token_ms"]
        assert found[f"{candidate}.prefill_tokens_per_second"] == pytest.approx(8e3 / first, rel=0.01)
        assert [batch["size"] for batch in batches[candidate]] == [1, 3]
        assert found[f"{candidate}.best_batch_size"] in (1, 3)
    assert set(found) == {f"{name}.{metric}" for name in inputs for metric in Measure.metrics("causal-lm")}
    weights = sum(path.stat().st_size for path in tiny_llama.glob("*.safetensors"))
    assert found["tuned.size_bytes"] == weights
    # Each runs in its own process: no candidate's memory includes another's libraries.
    assert 2**24 < found["fp32.peak_memory_bytes"] < found["tuned.peak_memory_bytes"] - 2**26
    assert found["fp32.load_seconds"] > 0


def test_classifier_has_its_speeds(tiny_bert: Path, tmp_path: Path) -> None:
    found = measure("sequence-classification", {"fp32": "onnxruntime"}, {"fp32": tiny_bert}, tmp_path)
    assert set(found) == {f"fp32.{metric}" for metric in Measure.metrics("sequence-classification")}
    assert found["fp32.rows_per_second"] == pytest.approx(3e3 / found["fp32.batch_p50_ms"], rel=0.01)


def test_context_too_short_to_time_is_rejected() -> None:
    class Full:
        ends = frozenset({0})

        def generate(self, prompt: list[int], new_tokens: int, sampling: object) -> list[int]:
            return [7]

    with pytest.raises(StepError, match=r"set benchmark\.prompt_tokens=32"):
        _decode(Full(), [1] * 64, 8)  # type: ignore[arg-type]


def test_unreadable_candidate_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(
        StepError, match=r"^benchmark: int8: .*model\.onnx: ONNX Runtime cannot open it"
    ) as caught:
        measure("sequence-classification", {"int8": "onnxruntime"}, {"int8": tmp_path / "broken"}, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("engine", ["torch", "genai"])
def test_batched_prompts_get_their_own_answers(engine: str, tiny_llama: Path, tiny_genai: Path) -> None:
    opened = open_engine(engine, {"torch": tiny_llama, "genai": tiny_genai}[engine])
    prompts = [[5, 6, 7, 8], [40, 30, 20, 10]]
    together = list(opened.generate_together(prompts, 5))
    for number, prompt in enumerate(prompts):
        alone = list(opened.generate(prompt, 5))
        assert [tokens[number] for tokens in together][: len(alone)] == alone


def test_best_batch_is_the_fastest_within_the_bound() -> None:
    batches = [_batch(1, [0.010, 0.012]), _batch(4, [0.020, 0.030]), _batch(16, [0.1])]
    assert _best(batches, None) == (4, pytest.approx(160))
    assert _best(batches, 15) == (1, pytest.approx(1 / 0.011))
    assert _best(batches, 1) == (0, 0)


def test_batch_sizes_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascending order"):
        Benchmark(batch_sizes=(4, 1))
