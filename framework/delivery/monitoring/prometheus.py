"""Prometheus Operator and Grafana: what scrapes a release, what alerts, and what shows it."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.environment import Environment, Namespace
from framework.delivery.monitoring import Monitoring, grafana
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.routing import alertmanager_config
from framework.delivery.monitoring.selectors import Watched
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.identity import ARM, Identity, Object
from framework.manifests.values import LabelKey, LabelValue, ObjectName, Peer
from framework.manifests.workload import Workload

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class Prometheus(Monitoring):
    """A ServiceMonitor, a PrometheusRule, and dashboards on four levels.

    The cluster needs Prometheus Operator with at least 22 days of retention, for the baselines; for the
    infrastructure level kube-state-metrics and, with GPUs, dcgm-exporter; for the dashboards a Grafana
    with its sidecar. See docs/observability.md.
    """

    prometheus_url: Url = "http://prometheus-operated.monitoring.svc:9090"
    """Where Prometheus answers inside the cluster, for rollouts and autoscalers that ask it."""
    prometheus_namespace: Namespace = "monitoring"
    """Where Prometheus runs, which the release's network policy lets in whoever else may call."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels by which your Prometheus Operator selects its objects, such as
    ``{release: kube-prometheus-stack}``; empty where it takes all."""
    scrape_seconds: Annotated[int, Field(ge=5, le=60)] = 15
    """Seconds between two scrapes."""
    bounds: Bounds = Bounds()
    """How much is too much."""
    runbooks: Url = "https://gitune.dev/runbooks"
    """Where people who get an alert find ``docs/runbooks/``: your Git host's address of that folder."""
    certificate_namespaces: tuple[Namespace, ...] = ("gateway",)
    """Namespaces whose certificates are watched besides the release's own: the Gateway's."""
    alert_secret: ObjectName | None = None
    """The Secret whose keys ``critical`` and ``warning`` hold the webhooks that alerts are sent to; None
    leaves the routing to the cluster's Alertmanager."""
    dashboards: bool = True
    """Whether to render dashboards, which needs ``pip install 'gitune[monitoring]'``."""
    dashboard_label: LabelKey = "grafana_dashboard"
    """The label, with the value ``1``, that Grafana's sidecar looks for."""
    dashboard_folder: str = "Gitune"
    """The folder of Grafana that they go to."""
    log_retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days for which Loki is to keep the logs of the release's namespace."""

    @property
    def query_url(self) -> str:
        """Where PromQL is answered inside the cluster."""
        return self.prometheus_url

    @property
    def callers(self) -> tuple[Peer, ...]:
        """The namespace of Prometheus."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.prometheus_namespace}),)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The Secret of the webhooks, if there is one."""
        return () if self.alert_secret is None else (self.alert_secret,)

    def problems(self) -> list[Problem]:
        """Return dashboards whose builder is not installed."""
        if not self.dashboards or grafana.is_installed():
            return []
        reason, advice = "requires grafana-foundation-sdk", "pip install 'gitune[monitoring]'"
        return [Problem("monitoring.dashboards", reason, ("monitoring.dashboards=false",), advice)]

    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return the ServiceMonitor, the rules, the log retention, and what else is wanted."""
        identity = workload.identity
        watched = Watched.of(identity, workload.signals, self.certificate_namespaces)
        found = [self._scraped(workload), self._rules(identity, watched), self._log_retention(identity)]
        if self.dashboards:
            shown = boards(watched, self.bounds)
            found.append(grafana.config_map(identity, shown, self.dashboard_label, self.dashboard_folder))
        if self.alert_secret is not None:
            found.append(alertmanager_config(identity, self.alert_secret))
        return found

    def _scraped(self, workload: Workload) -> Object:
        """Return what scrapes the pods behind every Service of the release.

        Each series gets the label ``release``; ``service`` tells a canary's from the stable version's,
        and ``gitune_dev_arm`` the arms of an A/B test.
        """
        identity = workload.identity
        endpoint = {
            "interval": f"{self.scrape_seconds}s",
            "path": "/metrics",
            "port": workload.metrics_port,
            "relabelings": [{"action": "replace", "replacement": identity.name, "targetLabel": "release"}],
        }
        spec = {
            "endpoints": [endpoint],
            "namespaceSelector": {"matchNames": [identity.namespace]},
            "podTargetLabels": [ARM],
            "selector": {"matchLabels": dict(identity.selector)},
        }
        return identity.object("monitoring.coreos.com/v1", "ServiceMonitor", labels=self.labels, spec=spec)

    def _rules(self, identity: Identity, watched: Watched) -> Object:
        raised = [alert.rule(watched, self.runbooks) for alert in alerts(watched, self.bounds)]
        spec = {
            "groups": [
                *groups(watched, self.bounds.band_sigmas),
                {"name": "gitune.alerts", "rules": raised},
            ]
        }
        return identity.object("monitoring.coreos.com/v1", "PrometheusRule", labels=self.labels, spec=spec)

    def _log_retention(self, identity: Identity) -> Object:
        """Return Loki's runtime override of a tenant that is named as the namespace.

        Loki reads one such file; docs/observability.md says how it gets there.
        """
        hours = f"{24 * self.log_retention_days}h"
        text = f"overrides:\n  {identity.namespace}:\n    retention_period: {hours}\n"
        return identity.object(
            "v1",
            "ConfigMap",
            name=f"{identity.name}-log-retention",
            labels={"gitune.dev/loki-overrides": "1"},
            data={f"{identity.namespace}.yaml": text},
        )
