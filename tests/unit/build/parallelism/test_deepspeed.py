import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.parallelism.deepspeed import DeepSpeed


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"gradient_cliping": 1.0}, "'gradient_cliping' is not a key of DeepSpeed's config; did you mean"),
        ({"train_batch_size": 8}, "'train_batch_size' is set by training.micro_batch_size"),
        ({"fp16": {"enabled": True}}, "'fp16' is set by training.precision=fp16"),
        (
            {"zero_optimization": {"stage": 1}},
            "'zero_optimization.stage' is set by parallelism=deepspeed-1, -2 or -3",
        ),
        ({"zero_optimization": 3}, "'zero_optimization' should be an object"),
    ],
)
def test_unknown_keys_and_keys_of_the_recipe_are_rejected(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DeepSpeed(config=config)
    assert expected in str(caught.value)


def test_config_file_is_merged_with_config(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    zero = {"stage": "auto", "reduce_bucket_size": 1000, "allgather_bucket_size": "auto"}
    file.write_text(json.dumps({"train_batch_size": "auto", "zero_optimization": zero, "timers": {}}))
    option = DeepSpeed(
        stage=3, config_file=str(file), config={"zero_optimization": {"reduce_bucket_size": 5}}
    )
    assert option.problems() == []
    engine = option.engine_config("bf16", 0.5)
    assert engine["zero_optimization"] == {
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": 5,
        "stage": 3,
    }
    assert engine["gradient_clipping"] == 0.5
    assert engine["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert "train_batch_size" not in engine


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]", "is not a JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"optimizer": {"type": "Adam"}}', "'optimizer' is set by training.learning_rate"),
    ],
)
def test_config_file_is_checked_before_the_run(content: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(content)
    (problem,) = DeepSpeed(config_file=str(file)).problems()
    assert problem.key == "parallelism.config_file"
    assert str(file) in problem.reason
    assert expected in problem.reason


def test_offload_sets_deepspeeds_devices(tmp_path: Path) -> None:
    third = DeepSpeed(stage=3, offload="nvme", nvme_path=tmp_path).engine_config("fp32", 0.0)
    target = {"device": "nvme", "nvme_path": str(tmp_path)}
    assert third["zero_optimization"]["offload_optimizer"] == target
    assert third["zero_optimization"]["offload_param"] == target
    second = DeepSpeed(stage=2, offload="cpu").engine_config("fp32", 0.0)["zero_optimization"]
    assert second["offload_optimizer"] == {"device": "cpu"}
    assert "offload_param" not in second
    with pytest.raises(ValidationError, match="'stage: 3'"):
        DeepSpeed(stage=2, offload="nvme")
