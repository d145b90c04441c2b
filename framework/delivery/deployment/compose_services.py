"""Docker Compose services beside the server: Redis, RabbitMQ, Prometheus and Grafana.

The option chooses the images.
"""

from collections.abc import Mapping, Sequence

from framework.delivery.deployment import Delivery
from framework.manifests.identity import Identity, Object
from framework.manifests.server_signals import GITUNE
from framework.manifests.workload import Workload

DATASOURCES = "grafana-datasources.yaml"
PROVIDERS = "grafana-dashboards.yaml"
SCRAPE_CONFIG = "prometheus.yaml"
RULES = "rules.yaml"
JSON = ".generated.json"
"""Suffix by which ``render`` recognizes its own JSON files."""

_REDIS_PASSWORD = "$(cat /run/secrets/redis-password)"
_RABBITMQ_PASSWORD = "$(cat /run/secrets/rabbitmq-password)"


def service(
    image: str, user: str, memory: str, cpus: str, *, labels: Mapping[str, str], **more: object
) -> Object:
    """Return a service with a read-only root, without capabilities and with resource limits.

    Args:
        image: its image.
        user: user and group, ``<uid>:<gid>``.
        memory: memory limit, with compose's suffix such as ``1024m``.
        cpus: limit of cores.
        labels: the release's labels and annotations.
        more: further keys of the service.
    """
    return {
        "cap_drop": ["ALL"],
        "deploy": {"resources": {"limits": {"cpus": cpus, "memory": memory, "pids": 1024}}},
        "image": image,
        "init": True,
        "labels": {key: escaped(text) for key, text in labels.items()},
        "logging": {"driver": "json-file", "options": {"max-file": "5", "max-size": "10m"}},
        "networks": ["inside"],
        "read_only": True,
        "restart": "unless-stopped",
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],
        "user": user,
        **more,
    }


def healthcheck(*command: str, start: int = 30) -> Object:
    """Return a health check that runs *command*; a single argument is a shell command line."""
    test = ["CMD-SHELL", escaped(command[0])] if len(command) == 1 else ["CMD", *command]
    return {"interval": "10s", "retries": 6, "start_period": f"{start}s", "test": test, "timeout": "10s"}


def escaped(text: str) -> str:
    """Return *text* with ``$`` escaped from compose's interpolation."""
    return text.replace("$", "$$")


def _url_command(secret: str, url: str) -> str:
    """Return what prints *url* with the password of *secret* in place of ``{}``."""
    return (
        "python -c 'from urllib.parse import quote; "
        f'password = open("/run/secrets/{secret}").read().strip(); '
        f'print("{url}".format(quote(password, safe=str())))\''
    )


REDIS_URL_COMMAND = _url_command("redis-password", "redis://:{}@redis:6379/0")
"""Prints the URL of the Redis below, in a container that has its password."""
RABBITMQ_URL_COMMAND = _url_command("rabbitmq-password", "amqp://gitune:{}@rabbitmq:5672//")
"""Prints the URL of the RabbitMQ below, in a container that has its password."""


def redis(image: str, labels: Mapping[str, str]) -> Object:
    """Return a Redis with persistent data."""
    start = f'exec redis-server --appendonly yes --dir /data --requirepass "{_REDIS_PASSWORD}"'
    return service(
        image,
        "999:999",
        "1024m",
        "1",
        labels=labels,
        entrypoint=["sh", "-c", escaped(start)],
        healthcheck=healthcheck(f'REDISCLI_AUTH="{_REDIS_PASSWORD}" redis-cli ping | grep -q PONG'),
        secrets=["redis-password"],
        volumes=[_volume("redis", "/data")],
    )


def rabbitmq(image: str, labels: Mapping[str, str]) -> Object:
    """Return a RabbitMQ with one user, ``gitune``."""
    start = f'RABBITMQ_DEFAULT_PASS="{_RABBITMQ_PASSWORD}" exec docker-entrypoint.sh rabbitmq-server'
    return service(
        image,
        "999:999",
        "1024m",
        "1",
        labels=labels,
        entrypoint=["sh", "-c", escaped(start)],
        environment={"RABBITMQ_DEFAULT_USER": "gitune"},
        healthcheck=healthcheck("rabbitmq-diagnostics", "-q", "check_running", start=60),
        hostname="rabbitmq",  # its data folder is named after the host
        secrets=["rabbitmq-password"],
        volumes=[_volume("rabbitmq", "/var/lib/rabbitmq")],
    )


def prometheus(image: str, labels: Mapping[str, str]) -> Object:
    """Return a Prometheus with 30 days of retention, which the alerts' baselines need."""
    folder = "/etc/prometheus"
    return service(
        image,
        "65534:65534",
        "2048m",
        "1",
        labels=labels,
        command=[
            f"--config.file={folder}/{SCRAPE_CONFIG}",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=30d",
        ],
        configs=[{"source": name, "target": f"{folder}/{name}"} for name in (SCRAPE_CONFIG, RULES)],
        healthcheck=healthcheck("wget", "-q", "--spider", "http://127.0.0.1:9090/-/ready"),
        volumes=[_volume("prometheus", "/prometheus")],
    )


def grafana(image: str, labels: Mapping[str, str], port: Object, dashboards: Sequence[str]) -> Object:
    """Return a Grafana with *dashboards*, which name files under the top-level ``configs``, on *port*."""
    folder = "/etc/grafana/provisioning"
    paths = {
        DATASOURCES: f"{folder}/datasources/{DATASOURCES}",
        PROVIDERS: f"{folder}/dashboards/{PROVIDERS}",
        **{name: f"/etc/dashboards/{name}" for name in dashboards},
    }
    return service(
        image,
        "472:0",
        "1024m",
        "1",
        labels=labels,
        configs=[{"source": source, "target": target} for source, target in paths.items()],
        depends_on={"prometheus": {"condition": "service_healthy"}},
        environment={
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/secrets/grafana-password",
            "GF_USERS_ALLOW_SIGN_UP": "false",
        },
        healthcheck=healthcheck("wget", "-q", "--spider", "http://127.0.0.1:3000/api/health"),
        networks=["inside", "outside"],
        ports=[port],
        secrets=["grafana-password"],
        volumes=[_volume("grafana", "/var/lib/grafana")],
    )


def scrape_config(port: int, labels: Mapping[str, str]) -> Object:
    """Return Prometheus' config, which adds *labels* to the server's series."""
    targets = {
        "server": (f"server:{port}", dict(labels)),
        "rabbitmq": ("rabbitmq:15692", {}),
        "prometheus": ("127.0.0.1:9090", {}),
    }
    return {
        "global": {"evaluation_interval": "15s", "scrape_interval": "15s"},
        "rule_files": [RULES],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"labels": more, "targets": [target]}]}
            for job, (target, more) in targets.items()
        ],
    }


def rules_and_dashboards(identity: Identity, port: int, delivery: Delivery) -> tuple[Object, dict[str, str]]:
    """Return Prometheus' rules and Grafana's dashboards by file, taken from a cluster's objects."""
    server = Workload(identity, pod={}, files={}, service_port=port, start_seconds=0, signals=GITUNE)
    rules: Object = {"groups": []}
    dashboards: dict[str, str] = {}
    for item in delivery.monitoring.objects(server, delivery.environment):
        if item["kind"] == "PrometheusRule":
            rules = {"groups": item["spec"]["groups"]}
        elif item["kind"] == "ConfigMap":
            boards = {name: text for name, text in item["data"].items() if name.endswith(".json")}
            dashboards |= {f"{name.removesuffix('.json')}{JSON}": text for name, text in boards.items()}
    return rules, dashboards


def provisioning() -> dict[str, Object]:
    """Return Grafana's provisioning files: data source and dashboards' folder."""
    source = {
        "access": "proxy",
        "isDefault": True,
        "name": "Prometheus",
        "type": "prometheus",
        "uid": "prometheus",
        "url": "http://prometheus:9090",
    }
    provider = {
        "allowUiUpdates": False,
        "disableDeletion": True,
        "name": "gitune",
        "options": {"path": "/etc/dashboards"},
        "type": "file",
    }
    return {
        DATASOURCES: {"apiVersion": 1, "datasources": [source]},
        PROVIDERS: {"apiVersion": 1, "providers": [provider]},
    }


def _volume(source: str, target: str) -> Object:
    return {"source": source, "target": target, "type": "volume"}
