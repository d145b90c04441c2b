from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.tracking import Tracking
from framework.build.training.run import NO_TRACKING, Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning


@pytest.fixture
def fit(tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Train the tiny model into a folder below ``tmp_path`` and return that folder.

    A second call with the same name resumes from the scratch folder of the first.
    """

    def train(
        name: str,
        tuning: Tuning,
        seed: int = 0,
        base: Path = tiny_base,
        data: Path = tiny_data,
        tracking: Tracking = NO_TRACKING,
        **training: Any,
    ) -> Path:
        output, scratch = tmp_path / name, tmp_path / f"{name}-scratch"
        output.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        option = Supervised(**{"learning_rate": 3e-3, "precision": "fp32", **training})
        run = TrainingRun(
            model=tiny_model,
            tuning=tuning,
            parallelism=Single(),
            device="cpu",
            folders=Folders(model=base, data=data, output=output, scratch=scratch),
            seed=seed,
            tracking=tracking,
        )
        option.fit(run)
        return output

    return train


@pytest.fixture
def cut_off(fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call ``fit`` and let it fail in the step after *step*: ``cut_off(5, "name", tuning)``."""

    def train(step: int, *words: Any, **options: Any) -> None:
        from framework.build.training.module import TuneModule

        once = TuneModule.training_step

        def die(self: TuneModule, batch: Any, index: int) -> Any:
            if self.global_step == step:
                raise RuntimeError("cut off")
            return once(self, batch, index)

        with monkeypatch.context() as patch:
            patch.setattr(TuneModule, "training_step", die)
            with pytest.raises(RuntimeError, match="cut off"):
                fit(*words, **options)

    return train
