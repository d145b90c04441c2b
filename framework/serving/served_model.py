"""One release in a server: its engine's process, its requests, and the answers that routes ask for.

A server has one, and two while another release takes its place.
"""

from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import context_length
from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import Serving
from framework.serving.answers.answer_stack import AnswerStack
from framework.serving.answers.engine_answers import EngineAnswers
from framework.serving.engine.accepted import Accepted
from framework.serving.engine.model_worker import Settings
from framework.serving.engine.supervisor import EngineSupervisor
from framework.serving.limits import Limits
from framework.serving.telemetry.metrics import Metrics


class ServedModel:
    """A release with its own engine."""

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        folder: Path,
        release: Release,
        metrics: Metrics,
        stack: AnswerStack,
    ) -> None:
        self.release, self.folder = release, folder
        self.context = context_length(folder)
        self.accepted = Accepted(limits.max_wait_seconds)
        settings = Settings(
            str(folder),
            release.engine,
            release.task,
            serving.threads,
            serving.max_batch_size,
            serving.batch_timeout,
        )
        self._metrics = metrics
        self._generates = open_task(release.task).generates
        self.supervisor = EngineSupervisor(settings, self.accepted, self._count_step)
        self.answers = stack.over(EngineAnswers(self.accepted, metrics), release.digest)

    @property
    def is_ready(self) -> bool:
        """Whether the model answers new requests."""
        return self.supervisor.ready and self.accepted.refusal is None

    def _count_step(self, step: dict[str, Any]) -> None:
        """Count the batch of one step of generation; a classifier's texts count theirs themselves."""
        if self._generates and step["rows"]:
            self._metrics.batch_rows.observe(step["rows"])
