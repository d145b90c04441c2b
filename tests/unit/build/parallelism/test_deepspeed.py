import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.parallelism.deepspeed import DeepSpeed


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"gradient_cliping": 1.0}, "'gradient_cliping' is not a key of DeepSpeed's config; did you mean"),
        ({"train_batch_size": 8}, "'train_batch_size' is decided by training.micro_batch_size"),
        ({"fp16": {"enabled": True}}, "'fp16' is decided by training.precision=fp16"),
        (
            {"zero_optimization": {"stage": 1}},
            "'zero_optimization.stage' is decided by parallelism=deepspeed-1, -2 or -3",
        ),
        ({"zero_optimization": 3}, "'zero_optimization' should be an object"),
    ],
)
def test_what_deepspeed_would_not_take_or_the_recipe_decides(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DeepSpeed(config=config)
    assert said in str(caught.value)


def test_a_file_of_another_tool_is_taken_but_for_what_the_recipe_decides(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    zero = {"stage": "auto", "reduce_bucket_size": 1000, "allgather_bucket_size": "auto"}
    file.write_text(json.dumps({"train_batch_size": "auto", "zero_optimization": zero, "timers": {}}))
    option = DeepSpeed(
        stage=3, config_file=str(file), config={"zero_optimization": {"reduce_bucket_size": 5}}
    )
    assert option.problems() == []
    made = option.engine_config("bf16", 0.5)
    assert made["zero_optimization"] == {
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": 5,
        "stage": 3,
    }
    assert made["gradient_clipping"] == 0.5
    assert made["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert "train_batch_size" not in made


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "is not a JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"optimizer": {"type": "Adam"}}', "'optimizer' is decided by training.learning_rate"),
    ],
)
def test_a_file_is_checked_before_anything_runs(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(content)
    (problem,) = DeepSpeed(config_file=str(file)).problems()
    assert problem.key == "parallelism.config_file"
    assert str(file) in problem.reason
    assert said in problem.reason


def test_where_what_is_shared_out_waits(tmp_path: Path) -> None:
    third = DeepSpeed(stage=3, offload="nvme", nvme_path=tmp_path).engine_config("fp32", 0.0)
    place = {"device": "nvme", "nvme_path": str(tmp_path)}
    assert third["zero_optimization"]["offload_optimizer"] == place
    assert third["zero_optimization"]["offload_param"] == place
    second = DeepSpeed(stage=2, offload="cpu").engine_config("fp32", 0.0)["zero_optimization"]
    assert second["offload_optimizer"] == {"device": "cpu"}
    assert "offload_param" not in second
    with pytest.raises(ValidationError, match="needs 'stage: 3'"):
        DeepSpeed(stage=2, offload="nvme")
