"""TensorBoard: event files, viewed with ``tensorboard --logdir``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from framework.build.tracking import Tracking
from framework.core.errors import StepError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class TensorBoard(Tracking):
    """Event files in ``<folder>/<experiment>/<run>/``; needs the extra ``track``."""

    folder: str = ".gitune/tensorboard"
    """Where event files are written; relative to the working directory."""

    def uses(self) -> Mapping[str, str]:
        """Return TensorBoard."""
        return {"tensorboard": "track"}

    def logger(self, run: str) -> "Logger":
        """Return Lightning's ``TensorBoardLogger``."""
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            return TensorBoardLogger(self.folder, name=self.experiment, version=run)
        except ModuleNotFoundError as error:
            raise StepError(
                "tracking: TensorBoard is not installed; pip install 'gitune[track]', or set tracking=none"
            ) from error
