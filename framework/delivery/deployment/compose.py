"""One machine: our server and what stands beside it, for docker compose 2.24 or later.

``docker compose -f environments/<environment>/<release>/compose.yaml up -d`` starts it. Argo CD does not
see it. Passwords and keys lie in files of the folder that ``GITUNE_SECRETS`` names where it is called. All
that the services read are files, since what compose writes into a container needs a writable root.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.deployment import compose_services as companions
from framework.delivery.deployment.kubernetes import settings_text
from framework.delivery.deployment.server_pod import MODEL, MODEL_FOLDER, is_remote, store_folder
from framework.manifests.identity import Identity, Object
from framework.manifests.pod import CONFIG_FOLDER, WORKING_FOLDER
from framework.manifests.signals import GITUNE
from framework.manifests.values import Amounts, Image, Port, amount
from framework.manifests.workload import Workload
from framework.serving import API_KEY

_JSON = ".generated.json"
"""How ``render`` knows a JSON file as its own."""
SETTINGS = f"serving{_JSON}"
"""The file of the server's settings."""
_SECRETS = "${GITUNE_SECRETS:?set it to the folder of the files with passwords and keys}"
_USER = "10001:10001"
_READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/ready', timeout=4)"

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Compose(Deployment):
    """Services of docker compose on one machine, with our own server."""

    synced: ClassVar[bool] = False

    image: Image = "gitune/server:0.1.0"
    """Our server's image; outside dev all images must be pinned, ``…@sha256:<64 hex digits>``."""
    redis_image: Image = "redis:7.4.2-bookworm"
    """Redis, a cache for the applications on this machine; the server does not use it."""
    rabbitmq_image: Image = "rabbitmq:4.0.5"
    """RabbitMQ, a queue for the applications on this machine; the server does not use it."""
    prometheus_image: Image = "prom/prometheus:v3.1.0"
    """Prometheus, which scrapes the server and raises ``monitoring``'s alerts."""
    grafana_image: Image = "grafana/grafana:11.6.0"
    """Grafana, with ``monitoring``'s dashboards."""
    limits: Amounts = Amounts(cpu="4", memory="16Gi")
    """The most that the server gets; ``serving.threads: 0`` becomes this number of cores."""
    address: Literal["127.0.0.1", "0.0.0.0"] = "127.0.0.1"
    """Where the server and Grafana listen: this machine alone, or whoever reaches it."""
    grafana_port: Port = 3000
    """Grafana's port on this machine; the server's is ``serving.port``."""
    api_key: bool = False
    """Whether requests must bring the key in the secrets' file ``api-key``."""
    store_variables: tuple[Variable, ...] = ()
    """Environment variables that open a remote model store, such as ``AWS_ACCESS_KEY_ID``: their names;
    their values are taken where compose is called."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600)] = 300
    """Longest time that loading the model may take."""
    grace_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Longest time that the stopping server may take to finish its answers."""

    @property
    def images(self) -> Mapping[str, str]:
        """The images that run, by the field that names each."""
        return {field: getattr(self, field) for field in type(self).model_fields if field.endswith("image")}

    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return ``compose.yaml`` and what the services beside the server read.

        Raises:
            ReleaseError: the release's model lies where no folder can be mounted.
        """
        self.refuse(release)
        identity = Identity.of(release, delivery.environment.namespace)
        port, limits = delivery.serving.port, delivery.environment.limits or self.limits
        rules, dashboards = _monitoring(identity, port, delivery)
        # The labels that a cluster's Prometheus would give, by which rules and dashboards ask.
        labels = {"namespace": identity.namespace, "release": identity.name, "service": identity.name}
        files: dict[str, Object | str] = {
            SETTINGS: settings_text(delivery.serving, limits.cpu),
            companions.SCRAPED: companions.scraped(port, labels),
            companions.RULES: rules,
            **companions.provisioning(),
            **dashboards,
        }
        project = self._project(release, delivery, [LOCK, *files], list(dashboards))
        return {"compose.yaml": project, **files}

    def problems(self, delivery: Delivery) -> list[str]:
        """Refuse what one machine cannot do, and an image that another could be put in place of."""
        found = [*delivery.monitoring.problems(), *self.unpinned(delivery.environment)]
        if delivery.environment.progressive and delivery.rollout.progressive:
            found.append("deployment: one machine has one server at a time; set rollout=rolling")
        if delivery.traffic.routes:
            found.append("deployment: one machine has no gateway; set traffic=none")
        if delivery.secrets.creates:
            found.append("deployment: compose takes secrets from files on its machine; set secrets=none")
        return found

    def _project(
        self, release: Release, delivery: Delivery, files: Sequence[str], dashboards: Sequence[str]
    ) -> Object:
        identity = Identity.of(release, delivery.environment.namespace)
        labels = {**identity.labels, **identity.annotations}
        limits = delivery.environment.limits or self.limits
        secrets = ["grafana-password", "rabbitmq-password", "redis-password"]
        secrets += ["api-key"] if self.api_key else []
        shown = self._published(3000, self.grafana_port)
        return {
            "configs": {name: {"file": f"./{name}"} for name in files},
            "name": f"{delivery.environment.name}-{release.name}",
            "networks": {"inside": {"internal": True}, "outside": {}},
            "secrets": {name: {"file": f"{_SECRETS}/{name}"} for name in secrets},
            "services": {
                "fetch-model": self._fetch(release, limits, labels),
                "grafana": companions.grafana(self.grafana_image, labels, shown, dashboards),
                "prometheus": companions.prometheus(self.prometheus_image, labels),
                "rabbitmq": companions.rabbitmq(self.rabbitmq_image, labels),
                "redis": companions.redis(self.redis_image, labels),
                "server": self._server(delivery.serving.port, limits, labels),
            },
            "volumes": {name: {} for name in ("grafana", "model", "prometheus", "rabbitmq", "redis")},
        }

    def _fetch(self, release: Release, limits: Amounts, labels: Mapping[str, str]) -> Object:
        volumes: list[Object] = [{"source": "model", "target": MODEL_FOLDER, "type": "volume"}]
        if not is_remote(release.model_uri):
            target = store_folder(release.model_uri)
            # The environments' folder lies where relative paths of the store begin.
            inside = target.removeprefix(f"{WORKING_FOLDER}/")
            source = target if inside == target else f"../../../{inside}"
            volumes.append(
                {
                    "bind": {"create_host_path": False},
                    "read_only": True,
                    "source": f"${{GITUNE_STORE:-{source}}}",
                    "target": target,
                    "type": "bind",
                }
            )
        return self._own(
            limits,
            labels,
            command=_command("--fetch-only"),
            configs=[{"source": LOCK, "target": f"{CONFIG_FOLDER}/{LOCK}"}],
            environment=["HOME=/tmp", *self.store_variables],
            networks=["outside"],
            restart="no",
            volumes=volumes,
        )

    def _server(self, port: int, limits: Amounts, labels: Mapping[str, str]) -> Object:
        check = companions.healthcheck("python", "-c", _READY.format(port=port), start=self.startup_seconds)
        more: Object = {"command": _command("--config", f"{CONFIG_FOLDER}/{SETTINGS}")}
        if self.api_key:
            line = f'{API_KEY}="$(cat /run/secrets/api-key)" exec {shlex.join(more["command"])}'
            more = {"entrypoint": ["sh", "-c", companions.escaped(line)], "secrets": ["api-key"]}
        model = {"read_only": True, "source": "model", "target": MODEL_FOLDER, "type": "volume"}
        found = self._own(
            limits,
            labels,
            configs=[{"source": name, "target": f"{CONFIG_FOLDER}/{name}"} for name in (LOCK, SETTINGS)],
            depends_on={"fetch-model": {"condition": "service_completed_successfully"}},
            environment={"HOME": "/tmp"},
            healthcheck=check,
            networks=["inside", "outside"],
            ports=[self._published(port, port)],
            stop_grace_period=f"{self.grace_seconds}s",
            volumes=[model],
            **more,
        )
        if self.gpus:
            devices = [{"capabilities": ["gpu"], "count": self.gpus, "driver": "nvidia"}]
            found["deploy"]["resources"]["reservations"] = {"devices": devices}
        return found

    def _own(self, limits: Amounts, labels: Mapping[str, str], **more: object) -> Object:
        memory = f"{int(amount(limits.memory)) // 2**20}m"
        cpus = f"{amount(limits.cpu).normalize():f}"
        return companions.service(self.image, _USER, memory, cpus, labels=labels, **more)

    def _published(self, inside: int, port: int) -> Object:
        return {"host_ip": self.address, "protocol": "tcp", "published": str(port), "target": inside}


def _command(*flags: str) -> list[str]:
    server = ["python", "-m", "framework.server", "--release", f"{CONFIG_FOLDER}/{LOCK}", "--model", MODEL]
    return [*server, *flags]


def _monitoring(identity: Identity, port: int, delivery: Delivery) -> tuple[Object, dict[str, str]]:
    """Return Prometheus' rules and Grafana's dashboards by file, of the objects that a cluster would get."""
    server = Workload(identity, pod={}, files={}, service_port=port, start_seconds=0, signals=GITUNE)
    rules: Object = {"groups": []}
    dashboards: dict[str, str] = {}
    for item in delivery.monitoring.objects(server, delivery.environment):
        if item["kind"] == "PrometheusRule":
            rules = {"groups": item["spec"]["groups"]}
        elif item["kind"] == "ConfigMap":
            boards = {name: text for name, text in item["data"].items() if name.endswith(".json")}
            dashboards |= {f"{name.removesuffix('.json')}{_JSON}": text for name, text in boards.items()}
    return rules, dashboards
