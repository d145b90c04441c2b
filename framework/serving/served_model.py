"""One release in a server: its engine's process, its requests, and the answers that routes ask for.

A server has one, and two while another release takes its place.
"""

from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import context_length
from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import Serving
from framework.serving.answer_stack import AnswerStack
from framework.serving.answers.engine_answers import EngineAnswers
from framework.serving.engine.accepted import Accepted
from framework.serving.engine.model_worker import Settings
from framework.serving.engine.supervisor import EngineSupervisor
from framework.serving.features import Features
from framework.serving.limits import Limits
from framework.serving.telemetry.metrics import Metrics


class ServedModel:
    """A release with its own engine."""

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        features: Features,
        stack: AnswerStack,
        metrics: Metrics,
        folder: Path,
        release: Release,
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
            {adapter.digest: str(adapter.folder) for adapter in features.adapters.values()},
        )
        self._metrics = metrics
        self._generates = open_task(release.task).generates
        self.supervisor = EngineSupervisor(settings, self.accepted, self._count_step, limits.engine_timeout)
        self.answers = stack.over(self.accepted, release)
        self.tell = EngineAnswers(self.accepted, metrics, limits.queue_timeout).tell
        """See ``Service.tell``."""

    @property
    def is_ready(self) -> bool:
        """Whether the model answers new requests."""
        return self.supervisor.ready and self.accepted.refusal is None

    def _count_step(self, step: dict[str, Any]) -> None:
        """Count one step of the engine; a classifier's texts count their batches themselves."""
        if step["rows"]:
            self._metrics.step_seconds.observe(step["seconds"])
        if self._generates and step["rows"]:
            self._metrics.batch_rows.observe(step["rows"])
