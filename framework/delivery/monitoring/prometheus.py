"""Prometheus Operator and Grafana: scraping, alerts and dashboards of a release."""

from typing import Annotated

from pydantic import Field

from framework.delivery.environment import Environment, Namespace
from framework.delivery.monitoring import Monitoring, grafana
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.routing import alertmanager_config
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.identity import ARM, Identity, Object
from framework.manifests.values import LabelKey, LabelValue, ObjectName, Peer
from framework.manifests.workload import Workload

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class Prometheus(Monitoring):
    """A ServiceMonitor, a PrometheusRule, and dashboards on four levels.

    The cluster needs Prometheus Operator with at least 22 days of retention, for the baselines. The
    infrastructure level needs kube-state-metrics and, with GPUs, dcgm-exporter. The dashboards need Grafana
    with its sidecar. See docs/observability.md.
    """

    prometheus_url: Url = "http://prometheus-operated.monitoring.svc:9090"
    """URL of Prometheus inside the cluster; rollouts and autoscalers query it."""
    prometheus_namespace: Namespace = "monitoring"
    """Namespace of Prometheus; the release's network policy lets it in."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels by which your Prometheus Operator selects its objects, such as
    ``{release: kube-prometheus-stack}``; empty where it selects all."""
    scrape_seconds: Annotated[int, Field(ge=5, le=60)] = 15
    """Seconds between two scrapes."""
    bounds: Bounds = Bounds()
    """Thresholds at which the alerts fire."""
    runbooks: Url = "https://gitune.dev/runbooks"
    """URL of the folder ``docs/runbooks/`` on your Git host; every alert links to it."""
    certificate_namespaces: tuple[Namespace, ...] = ("gateway",)
    """Namespaces whose certificates are release besides the release's own: the Gateway's."""
    alert_secret: ObjectName | None = None
    """The Secret whose keys ``critical`` and ``warning`` hold the webhook URLs of alerts. None leaves routing
    to the cluster's Alertmanager."""
    dashboards: bool = True
    """Whether to render dashboards."""
    dashboard_label: LabelKey = "grafana_dashboard"
    """The label, with value ``1``, by which Grafana's sidecar finds dashboards."""
    dashboard_folder: str = "Gitune"
    """Grafana's folder for the dashboards."""
    log_retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days that Loki keeps the logs of the release's namespace."""

    @property
    def query_url(self) -> str:
        """URL of the PromQL API inside the cluster."""
        return self.prometheus_url

    @property
    def callers(self) -> tuple[Peer, ...]:
        """All pods in the namespace of Prometheus."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.prometheus_namespace}),)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The Secret with the webhook URLs, if any."""
        return () if self.alert_secret is None else (self.alert_secret,)

    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return ServiceMonitor, rules, log retention, and the optional dashboards and routes."""
        identity = workload.identity
        release = MonitoredRelease.of(identity, workload.signals, self.certificate_namespaces)
        objects = [
            self._service_monitor(workload),
            self._rules(identity, release),
            self._log_retention(identity),
        ]
        if self.dashboards:
            dashboards = boards(release, self.bounds)
            objects.append(
                grafana.config_map(identity, dashboards, self.dashboard_label, self.dashboard_folder)
            )
        if self.alert_secret is not None:
            objects.append(alertmanager_config(identity, self.alert_secret))
        return objects

    def _service_monitor(self, workload: Workload) -> Object:
        """Return the ServiceMonitor of the pods behind every Service of the release.

        Each series gets the label ``release``. The label ``service`` distinguishes a canary from the stable
        version, and ``gitune_dev_arm`` the arms of an A/B test.
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

    def _rules(self, identity: Identity, release: MonitoredRelease) -> Object:
        alert_rules = [alert.rule(release, self.runbooks) for alert in alerts(release, self.bounds)]
        spec = {
            "groups": [
                *groups(release, self.bounds.band_sigmas),
                {"name": "gitune.alerts", "rules": alert_rules},
            ]
        }
        return identity.object("monitoring.coreos.com/v1", "PrometheusRule", labels=self.labels, spec=spec)

    def _log_retention(self, identity: Identity) -> Object:
        """Return Loki's runtime override for the tenant with the namespace's name.

        docs/observability.md describes how Loki gets the file.
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
