"""Puts together what watches, logs and traces the answers of one server."""

from framework.core.release import Release
from framework.serving.answers import Answers
from framework.serving.answers.logged_answers import LoggedAnswers
from framework.serving.answers.traced_answers import TracedAnswers
from framework.serving.answers.watched_answers import WatchedAnswers
from framework.serving.drift_options import usual
from framework.serving.features import Features
from framework.serving.request_log.log_writer import LogWriter
from framework.serving.telemetry.drift_watch import DriftWatch
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.traces import Tracing


class Observed:
    """The parts of ``Features`` that observe, running."""

    def __init__(self, features: Features, metrics: Metrics, release: Release) -> None:
        """Start them.

        Raises:
            ServeError: a log's folder, a collector's address or a package is missing.
        """
        self._features = features
        self._watch = DriftWatch(features.drift.window, usual(features.drift))
        metrics.watch_drift(self._watch)
        log = features.request_log
        self.log = None if log is None else LogWriter(log, metrics)
        """Takes rows; None if nothing is logged."""
        traces = features.traces
        self.tracing = None if traces is None else Tracing(traces, release)
        """Makes spans; None if nothing is traced."""

    def wrap(self, answers: Answers, release: Release) -> Answers:
        """Return *answers* of *release* with everything that watches them around it."""
        answers = WatchedAnswers(answers, self._watch)
        if self.log is not None and self._features.request_log is not None:
            answers = LoggedAnswers(answers, self.log, self._features.request_log.share, release)
        return answers if self.tracing is None else TracedAnswers(answers, release)

    def close(self) -> None:
        """Write and send what waits; it takes some seconds at most."""
        if self.log is not None:
            self.log.close()
        if self.tracing is not None:
            self.tracing.close()
