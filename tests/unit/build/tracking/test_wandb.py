from pathlib import Path
from typing import Any

import pytest

from framework.build.tracking.wandb import Wandb
from framework.core.errors import StepError


def test_missing_wandb_is_reported(tmp_path: Path, monkeypatch: Any) -> None:
    from lightning.pytorch.loggers import wandb

    monkeypatch.setattr(wandb, "_WANDB_AVAILABLE", False)
    with pytest.raises(StepError, match=r"pip install 'gitune\[wandb\]', or set tracking=none"):
        Wandb(folder=str(tmp_path)).logger("a")
