"""Weights & Biases: runs on a server, or offline in a folder that ``wandb sync`` sends later."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from framework.build.tracking import Tracking
from framework.core.errors import StepError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Wandb(Tracking):
    """A run of the project ``experiment``; needs the extra ``wandb``.

    The key of an account is read from the environment, ``WANDB_API_KEY``; offline needs none.
    """

    mode: Literal["offline", "online"] = "offline"
    """Whether runs are written to ``folder`` or sent at once."""
    entity: str | None = None
    """The user or team that owns the project; None is the account's own."""
    folder: str = ".gitune"
    """Where ``wandb/`` lies; relative to the folder that ``run`` is called in."""

    def logger(self, run: str) -> "Logger":
        """Return Lightning's ``WandbLogger``, whose run has the id *run* and is resumed."""
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
