"""Tasks with exports and tuning methods: unsupported pairs name an override that works."""

from collections.abc import Callable

import pytest

from framework.core.errors import PlanError
from framework.plan.build import Plan

TASKS = {
    "multi-label-classification": ("model=tiny-encoder", "model.labels=[a,b]", "model.problem=multi-label"),
    "token-classification": ("model=tiny-encoder", "model.labels=[a]", "model.problem=entities"),
    "seq2seq": ("model=tiny-t5",),
    "image-text-classification": ("model=tiny-vilt", "model.labels=[a,b]"),
}
BASE = ("+recipe=tiny", "~gates", "export=onnx-genai", "compression=int4-weight")


@pytest.mark.parametrize("task", TASKS)
def test_unsupported_export_names_one_that_works(task: str, plan: Callable[..., Plan]) -> None:
    with pytest.raises(PlanError) as caught:
        plan(*BASE, *TASKS[task])
    problem = next(problem for problem in caught.value.problems if problem.key == "export")
    fixed = plan(*BASE, *TASKS[task], *problem.overrides[0].split())
    assert fixed.step("benchmark").stage.task == task
    served = task != "image-text-classification"
    assert served != any(warning.key == "serving" for warning in fixed.warnings)


@pytest.mark.parametrize("task", TASKS)
def test_prompt_tuning_plans_only_for_supported_tasks(task: str, plan: Callable[..., Plan]) -> None:
    words = (*BASE, *TASKS[task], "export=transformers", "compression=none", "tuning=prompt")
    if task == "multi-label-classification":
        assert plan(*words).step("tune").stage.model.task == task
        return
    with pytest.raises(PlanError) as caught:
        plan(*words)
    assert ("tuning", ("tuning=lora",)) in {(each.key, each.overrides) for each in caught.value.problems}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("tuning", ["full", "head", "lora", "dora", "ia3", "oft", "adapter"])
def test_other_tuning_methods_plan(task: str, tuning: str, plan: Callable[..., Plan]) -> None:
    words = (*BASE, *TASKS[task], "export=transformers", "compression=none", f"tuning={tuning}")
    assert plan(*words).last.label == "publish"
