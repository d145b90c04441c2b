import pytest

from framework.build.tracking.tensorboard import TensorBoard
from framework.core.errors import StepError


def test_missing_tensorboard_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.loggers import tensorboard

    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(tensorboard, "_TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(StepError, match=r"pip install 'gitune\[track\]', or set tracking=none"):
        TensorBoard().logger("a")
