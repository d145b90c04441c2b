"""No tracking: metrics go to the terminal and ``log.jsonl`` only."""

from framework.build.tracking import Tracking


class NoTracking(Tracking):
    """Metrics go to the terminal and ``log.jsonl`` only."""

    def logger(self, run: str) -> None:
        """Return None."""
        return None
