"""One alert, and the alerting rule that it becomes."""

from dataclasses import dataclass
from typing import Literal

from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.manifests.identity import Object

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Alert:
    """One alert."""

    name: str
    level: Literal["infrastructure", "service", "model", "business"]
    severity: Severity
    """``critical`` pages the person on call, ``warning`` waits for office hours."""
    query: str
    summary: str
    """One sentence; ``{{ $value }}`` is the query's result."""
    minutes: int = 0
    """How long the query must return a result before the alert fires."""

    def rule(self, release: MonitoredRelease, runbooks: str) -> Object:
        """Return the alerting rule; *runbooks* is the URL of the folder of runbooks."""
        rule: Object = {
            "alert": self.name,
            "expr": self.query,
            "labels": {**release.labels, "level": self.level, "severity": self.severity},
            "annotations": {
                "summary": f"{release.name} in {release.namespace}: {self.summary}",
                "runbook_url": f"{runbooks.rstrip('/')}/{self.name}.md",
            },
        }
        if self.minutes:
            rule["for"] = f"{self.minutes}m"
        return rule
