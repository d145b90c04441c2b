"""Weights & Biases: runs on its server, or offline in a folder for a later ``wandb sync``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from framework.build.tracking import Tracking
from framework.core.errors import StepError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Wandb(Tracking):
    """Runs in the project ``experiment``; needs the extra ``wandb``.

    The API key is read from the environment variable ``WANDB_API_KEY``; offline mode needs none.
    """

    mode: Literal["offline", "online"] = "offline"
    """Whether runs are written to ``folder``, or sent while they run."""
    entity: str | None = None
    """The user or team that owns the project; None uses the account's default."""
    folder: str = ".gitune"
    """Where the folder ``wandb/`` is created; relative to the working directory."""

    def uses(self) -> Mapping[str, str]:
        """Return its client."""
        return {"wandb": "wandb"}

    def logger(self, run: str) -> "Logger":
        """Return Lightning's ``WandbLogger`` for the run with the id *run*, which it resumes."""
        from lightning.pytorch.loggers import WandbLogger

        Path(self.folder).mkdir(parents=True, exist_ok=True)
        try:
            return WandbLogger(
                name=run,
                id=run,
                resume="allow",
                project=self.experiment,
                entity=self.entity,
                save_dir=self.folder,
                offline=self.mode == "offline",
            )
        except ModuleNotFoundError as error:
            raise StepError(
                "tracking: wandb is not installed; pip install 'gitune[wandb]', or set tracking=none"
            ) from error
