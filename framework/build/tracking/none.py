"""No tracking: the terminal and ``log.jsonl`` say enough."""

from framework.build.tracking import Tracking


class NoTracking(Tracking):
    """Numbers go nowhere else."""

    def logger(self, run: str) -> None:
        """Return None."""
        return None
