"""Stage ``gate``: stop the plan where a metric is outside its bound."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.stages.evaluate import read_metrics
from framework.core.errors import GateError
from framework.core.gates import Bound
from framework.core.step import Stage, Workspace


class Gate(Stage):
    """Compare metrics with bounds; writes ``gates.json`` where all pass."""

    name: ClassVar[str] = "gate"
    version: ClassVar[int] = 1
    weight_copies: ClassVar[float] = 0.0

    bounds: dict[str, Bound]
    """Bounds by flat metric name, such as ``tuned.exact_match``."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Check the metrics of every input.

        Raises:
            GateError: naming each metric that is outside, its value and its bound.
        """
        metrics: dict[str, float] = {}
        for folder in inputs.values():
            metrics |= read_metrics(folder)
        failures = []
        for name, bound in sorted(self.bounds.items()):
            if name not in metrics:
                failures.append(f"{name} was not measured; measured are {', '.join(sorted(metrics))}")
            elif not bound.admits(metrics[name]):
                failures.append(f"{name} is {metrics[name]:g}, the gate asks for {bound}")
        if failures:
            raise GateError(
                "The plan stopped at a gate:\n  "
                + "\n  ".join(failures)
                + "\n  Train longer or on more rows, or loosen the gate in the recipe."
            )
        passed = {name: str(bound) for name, bound in self.bounds.items()}
        (output / "gates.json").write_text(json.dumps(passed, indent=2, sort_keys=True) + "\n")
