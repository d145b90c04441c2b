"""What stands beside the server on one machine, as services of compose: Redis, RabbitMQ, Prometheus, Grafana.

They know nothing of the release; which images they are, the option says.
"""

from collections.abc import Mapping, Sequence

from framework.manifests.identity import Object

DATASOURCES = "grafana-datasources.yaml"
PROVIDERS = "grafana-dashboards.yaml"
SCRAPED = "prometheus.yaml"
RULES = "rules.yaml"

_REDIS_PASSWORD = "$(cat /run/secrets/redis-password)"
_RABBITMQ_PASSWORD = "$(cat /run/secrets/rabbitmq-password)"


def service(
    image: str, user: str, memory: str, cpus: str, *, labels: Mapping[str, str], **more: object
) -> Object:
    """Return a service that may do nothing but what it is given.

    Args:
        image: what it runs.
        user: whom it runs as, ``<uid>:<gid>``.
        memory: the most memory, in bytes with compose's suffix.
        cpus: the most cores.
        labels: the way back to the release.
        more: what it has besides.
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
    """Return a check by *command*; one word is a line for a shell, whose ``$`` compose would replace."""
    test = ["CMD-SHELL", escaped(command[0])] if len(command) == 1 else ["CMD", *command]
    return {"interval": "10s", "retries": 6, "start_period": f"{start}s", "test": test, "timeout": "10s"}


def escaped(text: str) -> str:
    """Return *text* so that compose leaves its ``$`` alone."""
    return text.replace("$", "$$")


def redis(image: str, labels: Mapping[str, str]) -> Object:
    """Return a Redis that keeps what it is told over a restart."""
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
        hostname="rabbitmq",  # its data lie below its host's name
        secrets=["rabbitmq-password"],
        volumes=[_volume("rabbitmq", "/var/lib/rabbitmq")],
    )


def prometheus(image: str, labels: Mapping[str, str]) -> Object:
    """Return a Prometheus that keeps what alerts compare with."""
    folder = "/etc/prometheus"
    return service(
        image,
        "65534:65534",
        "2048m",
        "1",
        labels=labels,
        command=[
            f"--config.file={folder}/{SCRAPED}",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=30d",
        ],
        configs=[{"source": name, "target": f"{folder}/{name}"} for name in (SCRAPED, RULES)],
        healthcheck=healthcheck("wget", "-q", "--spider", "http://127.0.0.1:9090/-/ready"),
        volumes=[_volume("prometheus", "/prometheus")],
    )


def grafana(image: str, labels: Mapping[str, str], port: Object, dashboards: Sequence[str]) -> Object:
    """Return a Grafana that shows *dashboards*, files of the top level's ``configs``, on *port*."""
    folder = "/etc/grafana/provisioning"
    placed = {
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
        configs=[{"source": source, "target": target} for source, target in placed.items()],
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


def scraped(port: int, labels: Mapping[str, str]) -> Object:
    """Return Prometheus' config: what it scrapes, the server's series with *labels*."""
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


def provisioning() -> dict[str, Object]:
    """Return Grafana's provisioning by file: where it asks, and where dashboards lie."""
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
