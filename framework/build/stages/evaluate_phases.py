"""Stage ``evaluate-phases``: measure one candidate on the test rows of every phase, to show forgetting."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.stages.evaluate import Evaluate, read_metrics, write_metrics
from framework.core.step import Workspace


class EvaluatePhases(Evaluate):
    """Measure one candidate as ``Evaluate`` does, and again on the rows of every earlier phase.

    ``<candidate>.<metric>`` is measured on the last phase's test rows, ``<candidate>.<phase>_<metric>`` on
    an earlier phase's.
    """

    name: ClassVar[str] = "evaluate-phases"
    version: ClassVar[int] = 4

    phases: tuple[str, ...]
    """The phases before the last one; each one's rows are input ``data <phase>``."""

    @staticmethod
    def metrics(phases: tuple[str, ...], measured: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of all metrics, so that a gate can be checked before anything runs.

        >>> EvaluatePhases.metrics(("general",), ("perplexity",))
        ('perplexity', 'general_perplexity')
        """
        return (*measured, *(f"{phase}_{metric}" for phase in phases for metric in measured))

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Evaluate input ``candidate``; the examples are from the last phase."""
        super().run(inputs, output, workspace)
        metrics = read_metrics(output)
        # The tuned model's metrics are of the last phase's rows, so earlier phases cannot use them.
        untuned = {slot: folder for slot, folder in inputs.items() if slot != "tuned"}
        for phase in self.phases:
            folder = workspace.scratch / phase
            folder.mkdir(exist_ok=True)
            super().run({**untuned, "data": inputs[f"data {phase}"]}, folder, workspace)
            for name, value in read_metrics(folder).items():
                metric = name.removeprefix(f"{self.candidate}.")
                metrics[f"{self.candidate}.{phase}_{metric}"] = value
        write_metrics(output, metrics)
