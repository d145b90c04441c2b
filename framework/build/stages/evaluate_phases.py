"""Stage ``evaluate-phases``: one candidate on the test rows of every phase, so that forgetting is seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.stages.evaluate import Evaluate, read_metrics, write_metrics
from framework.core.step import Workspace


class EvaluatePhases(Evaluate):
    """Measure one candidate as ``Evaluate`` does, and again on the rows of every earlier phase.

    ``<candidate>.<metric>`` is on the last phase's test rows, for every candidate alike;
    ``<candidate>.<phase>_<metric>`` on an earlier one's.
    """

    name: ClassVar[str] = "evaluate-phases"
    version: ClassVar[int] = 3

    phases: tuple[str, ...]
    """The phases before the last one; the rows of each are input ``data <phase>``."""

    @staticmethod
    def metrics(phases: tuple[str, ...], measured: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of all metrics, so that a gate can be checked early.

        >>> EvaluatePhases.metrics(("general",), ("perplexity",))
        ('perplexity', 'general_perplexity')
        """
        return (*measured, *(f"{phase}_{metric}" for phase in phases for metric in measured))

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Evaluate input ``candidate``; the examples are of the last phase."""
        super().run(inputs, output, workspace)
        metrics = read_metrics(output)
        # What the tuned model measured is on the last phase's rows, and nothing to compare others with.
        own = {slot: folder for slot, folder in inputs.items() if slot != "tuned"}
        for phase in self.phases:
            folder = workspace.scratch / phase
            folder.mkdir(exist_ok=True)
            super().run({**own, "data": inputs[f"data {phase}"]}, folder, workspace)
            for name, value in read_metrics(folder).items():
                metric = name.removeprefix(f"{self.candidate}.")
                metrics[f"{self.candidate}.{phase}_{metric}"] = value
        write_metrics(output, metrics)
