"""Options that tuning decides: every one plans, and an impossible pair names the override that works."""

from collections.abc import Callable
from typing import Any

import pytest

from framework.config.schema import Config
from framework.core.errors import PlanError
from framework.core.paths import SHARE
from framework.plan.build import Plan
from framework.plan.estimate import tune_memory

OPTIONS = sorted(path.stem for path in (SHARE / "conf" / "tuning").glob("*.yaml"))
UNMERGED = ("adapter", "p-tuning", "prefix", "prompt")


def test_every_required_method_is_an_option() -> None:
    asked = "full head lora rslora dora pissa adalora ia3 oft qlora prompt prefix p-tuning adapter lora-all"
    assert set(asked.split()) <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_plans(option: str, plan: Callable[..., Plan]) -> None:
    words = ("+recipe=tiny", f"tuning={option}")
    if option in UNMERGED:
        with pytest.raises(PlanError) as caught:
            plan(*words)
        problem = next(problem for problem in caught.value.problems if problem.key == "tuning")
        assert problem.overrides == ("export=transformers compression=none", "tuning=lora")
        words = (*words, "export=transformers", "compression=none")
    assert plan(*words).last.label == "publish"


@pytest.mark.parametrize("option", [option for option in OPTIONS if option != "prefix"])
def test_every_option_except_prefix_plans_a_classifier(option: str, plan: Callable[..., Plan]) -> None:
    found = plan("+recipe=sentiment", f"tuning={option}")
    assert found.step("export fp32").stage.export.engine == "onnxruntime"  # also what does not merge


def test_unsupported_task_is_rejected(plan: Callable[..., Plan]) -> None:
    with pytest.raises(PlanError) as caught:
        plan("+recipe=sentiment", "tuning=prefix")
    assert [(each.key, each.overrides) for each in caught.value.problems] == [("tuning", ("tuning=lora",))]


def test_compression_of_an_unmerged_folder_is_rejected(plan: Callable[..., Plan]) -> None:
    with pytest.raises(PlanError) as caught:
        plan("+recipe=tiny", "export=transformers", "compression=int4-weight")
    assert [problem.key for problem in caught.value.problems] == ["compression.int4-weight"]


def test_earlier_adapters_bytes_enter_the_key(plan: Callable[..., Plan], tmp_path: Any) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    words = ("+recipe=tiny", "tuning=lora", f"tuning.from_adapter={tmp_path}")
    first = plan(*words).step("tune").key
    assert plan(*words).step("tune").key == first
    (tmp_path / "adapter_config.json").write_text('{"r": 4}')
    assert plan(*words).step("tune").key != first
    with pytest.raises(PlanError, match="there is neither file nor folder"):
        plan("+recipe=tiny", "tuning=lora", f"tuning.from_adapter={tmp_path / 'nowhere'}")


def test_nf4_makes_a_model_fit(config: Callable[..., Config], plan: Callable[..., Plan]) -> None:
    words = (
        "+recipe=quickstart",
        "model.parameters=7e9",
        "environment.hardware.device=cuda",
        "environment.hardware.memory_gib=16",
        "training.micro_batch_size=1",
    )
    assert tune_memory(config(*words, "tuning=qlora")) < tune_memory(config(*words, "tuning=lora")) / 2
    with pytest.raises(PlanError) as caught:
        plan(*words, "tuning=lora")
    assert [problem.overrides[0] for problem in caught.value.problems] == ["tuning=qlora"]
    plan(*words, "tuning=qlora")
