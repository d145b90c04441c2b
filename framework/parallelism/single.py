"""One process on one device."""

from typing import Any

from framework.parallelism import Parallelism


class Single(Parallelism):
    """No parallelism: the first GPU where there is one, else the CPU."""

    def trainer_arguments(self) -> dict[str, Any]:
        """Ask Lightning for one device of the best kind that is there."""
        return {"accelerator": "auto", "devices": 1, "num_nodes": 1}
