"""Stage ``gate``: stop the plan if a metric is out of bounds."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from framework.build.stages.evaluate import read_metrics
from framework.core.errors import GateError
from framework.core.gates import Bound, unmet
from framework.core.step import Stage, Workspace


class Gate(Stage):
    """Compare metrics with bounds; writes ``gates.json`` if all pass."""

    name: ClassVar[str] = "gate"
    version: ClassVar[int] = 2
    weight_copies: ClassVar[float] = 0.0

    bounds: dict[str, Bound]
    """Bounds by flat metric name, such as ``tuned.exact_match``."""
    defaults: dict[str, Bound] = Field(default={})
    """Bounds of the framework, which apply where their metric was measured: documents have no ``stops``."""

    def gates(self, measured: Collection[str]) -> Mapping[str, Bound]:
        """Return the bounds, and the defaults of what was measured."""
        return {name: bound for name, bound in self.defaults.items() if name in measured} | self.bounds

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Check the metrics of every input.

        Raises:
            GateError: names each metric that is out of bounds, with its value and its bound.
        """
        metrics: dict[str, float] = {}
        for folder in inputs.values():
            metrics |= read_metrics(folder)
        bounds = self.gates(metrics)
        if failures := unmet(bounds, metrics):
            if not self.bounds.keys() <= metrics.keys():
                failures.append(f"Measured metrics: {', '.join(sorted(metrics))}.")
            failures.append(
                "Train longer or on more rows, choose a weaker compression for what only a compressed "
                "candidate misses, or loosen the gate in the recipe; gates.<candidate>.<metric> is of one "
                "candidate."
            )
            if unmet({name: bound for name, bound in bounds.items() if name in self.defaults}, metrics):
                failures.append("The bound of stops holds in every recipe; gates.stops.min=0 lifts it.")
            raise GateError("\n  ".join(["The plan stopped at a gate:", *failures]))
        passed = {name: str(bound) for name, bound in bounds.items()}
        (output / "gates.json").write_text(json.dumps(passed, indent=2, sort_keys=True) + "\n")
