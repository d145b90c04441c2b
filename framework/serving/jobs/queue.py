"""How queued jobs reach what runs them: this process, or workers behind a broker."""

from typing import Protocol


class JobQueue(Protocol):
    """Hands jobs over. It may lose them: they are handed over again from the table."""

    async def hand_over(self) -> None:
        """Hand over what is due and what there is room for; called after each new job and every second."""

    async def close(self) -> None:
        """Stop; jobs that were begun in this process are given back."""
