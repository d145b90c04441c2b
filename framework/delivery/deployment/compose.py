"""One machine: our server, its caches and its monitoring, for Docker Compose 2.24 or later.

``docker compose -f environments/<environment>/<release>/compose.yaml up -d`` starts it, without Argo CD. The
environment variable ``GITUNE_SECRETS`` names the folder of the files with passwords and keys, and
``GITUNE_SIGNERS`` the file of the accepted signers, where the environment has any. Services read their
configs from files, since compose's inline configs need a writable root.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.core.problem import Problem
from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery, Deployment, compose_services
from framework.delivery.deployment.approved_pod import SIGNERS_FILE, SIGNERS_FOLDER, signer_arguments
from framework.delivery.deployment.kubernetes import settings_text
from framework.delivery.deployment.server_pod import (
    MODEL,
    MODEL_FOLDER,
    fetches_beside,
    is_remote,
    store_folder,
)
from framework.manifests.identity import Identity, Object
from framework.manifests.pod import CONFIG_FOLDER, USER, WORKING_FOLDER
from framework.manifests.values import Amounts, Image, Port, amount
from framework.serving import API_KEY, Serving

SETTINGS = f"serving{compose_services.JSON}"
"""File of the server's settings."""
_SECRETS = "${GITUNE_SECRETS:?set it to the folder of the files with passwords and keys}"
_SIGNERS = "${GITUNE_SIGNERS:?set it to the JSON file of the accepted signers}"
_KEYS = "/run/secrets/keys.yaml"
_USER = f"{USER}:{USER}"
_PULSE = "/tmp/worker-runs"
_WORKER_LIMITS = Amounts(cpu="1", memory="1Gi")
_READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/ready', timeout=4)"
REDIS_URL = "GITUNE_REDIS_URL"
"""The variable that is set to the URL of this machine's Redis."""
RABBITMQ_URL = "GITUNE_RABBITMQ_URL"
"""The variable that is set to the URL of this machine's RabbitMQ."""

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Compose(Deployment):
    """Docker Compose services on one machine, with our own server."""

    synced: ClassVar[bool] = False
    keys_override: ClassVar[str] = "deployment.keys=true"

    image: Image = "gitune/server:0.1.0"
    """Our server's image; outside dev all images must be pinned, ``…@sha256:<64 hex digits>``."""
    redis_image: Image = "redis:7.4.2-bookworm"
    """Redis, a cache for the applications on this machine, and for the server's answers where
    ``serving.cache.redis`` is ``GITUNE_REDIS_URL``, which is set to it."""
    rabbitmq_image: Image = "rabbitmq:4.0.5"
    """RabbitMQ, a queue for the applications on this machine, and for background jobs where
    ``serving.jobs.broker`` is ``GITUNE_RABBITMQ_URL``, which is set to it."""
    prometheus_image: Image = "prom/prometheus:v3.1.0"
    """Prometheus, which scrapes the server and evaluates ``monitoring``'s alerts."""
    grafana_image: Image = "grafana/grafana:11.6.0"
    """Grafana, with ``monitoring``'s dashboards."""
    limits: Amounts = Amounts(cpu="4", memory="16Gi")
    """The most CPU and memory that the server can use. ``serving.threads: 0`` uses this number of cores."""
    address: Literal["127.0.0.1", "0.0.0.0"] = "127.0.0.1"
    """Address that the server and Grafana listen on: this machine only, or all interfaces."""
    grafana_port: Port = 3000
    """Grafana's port on this machine; the server's is ``serving.port``."""
    api_key: bool = False
    """Whether requests must send the key from the secret file ``api-key``."""
    keys: bool = False
    """Whether requests must send one of the keys whose hashes, limits and priorities are in the secret file
    ``keys.yaml``; see ``serving.keys``."""
    store_variables: tuple[Variable, ...] = ()
    """Names of the environment variables with a remote model store's credentials, such as
    ``AWS_ACCESS_KEY_ID``. Their values come from the environment that compose runs in. The server gets them,
    too, if ``serving.request_log.folder`` or ``serving.drift.reference`` is a URL."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600)] = 300
    """Longest time to load the model."""
    grace_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Longest time that the stopping server has to finish its answers."""

    @property
    def has_keys(self) -> bool:
        """Whether the server gets a file of API keys."""
        return self.keys

    @property
    def images(self) -> Mapping[str, str]:
        """Images that run, by field name."""
        return {field: getattr(self, field) for field in type(self).model_fields if field.endswith("image")}

    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return ``compose.yaml`` and the config files of the services.

        Raises:
            ReleaseError: no folder can be mounted for the release's model.
        """
        self.refuse(release)
        identity = Identity.of(release, delivery.environment.namespace)
        port, limits = delivery.serving.port, delivery.environment.limits or self.limits
        rules, dashboards = compose_services.rules_and_dashboards(identity, port, delivery)
        # The labels that a cluster's Prometheus would add; rules and dashboards select by them.
        labels = {"namespace": identity.namespace, "release": identity.name, "service": identity.name}
        files: dict[str, Object | str] = {
            SETTINGS: settings_text(delivery.serving, limits.cpu, _KEYS if self.keys else None),
            compose_services.SCRAPE_CONFIG: compose_services.scrape_config(port, labels),
            compose_services.RULES: rules,
            **compose_services.provisioning(),
            **dashboards,
        }
        project = self._project(release, delivery, [LOCK, *files], list(dashboards))
        return {"compose.yaml": project, **files}

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return what one machine cannot do, and unpinned images."""
        environment = delivery.environment
        images = [*self.unpinned(environment), *self.foreign_images(environment)]
        problems = [*delivery.monitoring.problems(), *delivery.serving.pod_problems(), *images]
        if delivery.environment.progressive and delivery.rollout.progressive:
            reason = "Docker Compose runs one server at a time"
            problems.append(Problem("deployment", reason, ("rollout=rolling",)))
        open_to_all = self.address == "0.0.0.0" and not (self.api_key or self.keys)
        if open_to_all and delivery.environment.require_api_key:
            reason = f"all interfaces are open, and {delivery.environment.name} requires an API key"
            overrides = ("deployment.api_key=true", "deployment.address=127.0.0.1")
            problems.append(Problem("deployment.api_key", reason, overrides))
        if delivery.traffic.routes:
            problems.append(Problem("deployment", "Docker Compose has no gateway", ("traffic=none",)))
        if delivery.secrets.creates:
            reason = "Docker Compose reads secrets from files on its machine"
            problems.append(Problem("deployment", reason, ("secrets=none",)))
        return problems

    def _project(
        self, release: Release, delivery: Delivery, files: Sequence[str], dashboards: Sequence[str]
    ) -> Object:
        identity = Identity.of(release, delivery.environment.namespace)
        labels = {**identity.labels, **identity.annotations}
        limits = delivery.environment.limits or self.limits
        secrets = ["grafana-password", "rabbitmq-password", "redis-password"]
        secrets += ["api-key"] if self.api_key else []
        secrets += ["keys.yaml"] if self.keys else []
        grafana_port = self._published(3000, self.grafana_port)
        configs = {name: {"file": f"./{name}"} for name in files}
        if delivery.environment.signers:
            configs[SIGNERS_FILE] = {"file": _SIGNERS}
        return {
            "configs": configs,
            "name": f"{delivery.environment.name}-{release.name}",
            "networks": {"inside": {"internal": True}, "outside": {}},
            "secrets": {name: {"file": f"{_SECRETS}/{name}"} for name in secrets},
            "services": {
                "fetch-model": self._fetch(release, delivery, limits, labels),
                "grafana": compose_services.grafana(self.grafana_image, labels, grafana_port, dashboards),
                "prometheus": compose_services.prometheus(self.prometheus_image, labels),
                "rabbitmq": compose_services.rabbitmq(self.rabbitmq_image, labels),
                "redis": compose_services.redis(self.redis_image, labels),
                "server": self._server(delivery.serving, limits, labels),
                **self._worker(delivery.serving, labels),
            },
            "volumes": {name: {} for name in ("grafana", "model", "prometheus", "rabbitmq", "redis")},
        }

    def _fetch(
        self, release: Release, delivery: Delivery, limits: Amounts, labels: Mapping[str, str]
    ) -> Object:
        environment = delivery.environment
        volumes: list[Object] = [{"source": "model", "target": MODEL_FOLDER, "type": "volume"}]
        if not is_remote(release.model_uri):
            target = store_folder(release.model_uri)
            # Relative paths of the store start at the parent of the environments' folder.
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
        configs, flags = [{"source": LOCK, "target": f"{CONFIG_FOLDER}/{LOCK}"}], ["--fetch-only"]
        if fetches_beside(delivery, release.model_uri, mounted=False):
            configs.append({"source": SETTINGS, "target": f"{CONFIG_FOLDER}/{SETTINGS}"})
            flags += ["--config", f"{CONFIG_FOLDER}/{SETTINGS}"]
        if environment.signers:
            configs.append({"source": SIGNERS_FILE, "target": f"{SIGNERS_FOLDER}/{SIGNERS_FILE}"})
            flags += signer_arguments(environment.name)
        return self._own(
            limits,
            labels,
            command=_command(*flags),
            configs=configs,
            environment=["HOME=/tmp", *self.store_variables],
            networks=["outside"],
            restart="no",
            volumes=volumes,
        )

    def _server(self, serving: Serving, limits: Amounts, labels: Mapping[str, str]) -> Object:
        port = serving.port
        check = compose_services.healthcheck(
            "python", "-c", _READY.format(port=port), start=self.startup_seconds
        )
        more: Object = {"command": _command("--config", f"{CONFIG_FOLDER}/{SETTINGS}")}
        more |= self._variables(serving, more["command"], self.store_variables if serving.stores() else ())
        if self.keys:
            more["secrets"] = [*more.get("secrets", []), "keys.yaml"]
        model = {"read_only": True, "source": "model", "target": MODEL_FOLDER, "type": "volume"}
        server = self._own(
            limits,
            labels,
            configs=[{"source": name, "target": f"{CONFIG_FOLDER}/{name}"} for name in (LOCK, SETTINGS)],
            depends_on={"fetch-model": {"condition": "service_completed_successfully"}},
            healthcheck=check,
            networks=["inside", "outside"],
            ports=[self._published(port, port)],
            stop_grace_period=f"{self.grace_seconds}s",
            volumes=[model],
            **more,
        )
        if "entrypoint" in server:
            del server["command"]
        if self.gpus:
            devices = [{"capabilities": ["gpu"], "count": self.gpus, "driver": "nvidia"}]
            server["deploy"]["resources"]["reservations"] = {"devices": devices}
        return server

    def _worker(self, serving: Serving, labels: Mapping[str, str]) -> dict[str, Object]:
        """Return the worker of background jobs by its name, where the server has any."""
        if not serving.worker():
            return {}
        files = ["--release", f"{CONFIG_FOLDER}/{LOCK}", "--config", f"{CONFIG_FOLDER}/{SETTINGS}"]
        command = [*serving.worker(), *files, "--url", f"http://server:{serving.port}", "--pulse", _PULSE]
        more = {"command": command, **self._variables(serving, command)}
        if "entrypoint" in more:
            del more["command"]
        worker = self._own(
            _WORKER_LIMITS,
            labels,
            configs=[{"source": name, "target": f"{CONFIG_FOLDER}/{name}"} for name in (LOCK, SETTINGS)],
            depends_on={"server": {"condition": "service_healthy"}},
            healthcheck=compose_services.healthcheck(f'test -n "$(find {_PULSE} -mmin -5)"', start=60),
            networks=["inside", "outside"],
            stop_grace_period=f"{self.grace_seconds}s",
            **more,
        )
        return {"worker": worker}

    def _variables(self, serving: Serving, command: Sequence[str], more: Sequence[str] = ()) -> Object:
        """Return how a service gets the variables that the server reads, and starts *command* with them.

        Args:
            serving: the server's options.
            command: the command.
            more: names of further variables.
        """
        named = [*serving.variables().values()]
        secret = {"api-key": f'{API_KEY}="$(cat /run/secrets/api-key)"'} if self.api_key else {}
        if REDIS_URL in named:
            secret["redis-password"] = f'{REDIS_URL}="$({compose_services.REDIS_URL_COMMAND})"'
        if RABBITMQ_URL in named:
            secret["rabbitmq-password"] = f'{RABBITMQ_URL}="$({compose_services.RABBITMQ_URL_COMMAND})"'
        passed = [name for name in named if name not in (REDIS_URL, RABBITMQ_URL)] + [*more]
        environment = ["HOME=/tmp", *passed] if passed else {"HOME": "/tmp"}
        if not secret:
            return {"environment": environment}
        line = compose_services.escaped(f"{' '.join(secret.values())} exec {shlex.join(command)}")
        return {"entrypoint": ["sh", "-c", line], "environment": environment, "secrets": [*secret]}

    def _own(self, limits: Amounts, labels: Mapping[str, str], **more: object) -> Object:
        memory = f"{int(amount(limits.memory)) // 2**20}m"
        cpus = f"{amount(limits.cpu).normalize():f}"
        return compose_services.service(self.image, _USER, memory, cpus, labels=labels, **more)

    def _published(self, inside: int, port: int) -> Object:
        return {"host_ip": self.address, "protocol": "tcp", "published": str(port), "target": inside}


def _command(*flags: str) -> list[str]:
    server = ["python", "-m", "framework.server", "--release", f"{CONFIG_FOLDER}/{LOCK}", "--model", MODEL]
    return [*server, *flags]
