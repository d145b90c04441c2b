import pytest
import torch

from framework.build.parallelism.single import Single
from framework.core.errors import StepError


def test_device_selects_the_accelerator() -> None:
    assert Single().trainer_arguments("cpu", "fp32", 1.0)["accelerator"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_reported() -> None:
    with pytest.raises(StepError, match=r"set environment\.hardware\.device=cpu"):
        Single().trainer_arguments("cuda", "fp32", 1.0)
