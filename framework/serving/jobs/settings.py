"""The options of background work, under ``serving.jobs``."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.serving.outbound.address import resolve, variable_of

WEBHOOK_SECRET = "GITUNE_WEBHOOK_SECRET"
"""The environment variable with the key that signs webhooks, as ``whsec_<base64>``."""
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")


def _location(value: str) -> str:
    if not value or variable_of(value):
        return value
    if "://" not in value:
        raise PydanticCustomError(
            "location", "use a URL, or the name of an environment variable that has it, such as GITUNE_JOBS"
        )
    if urlsplit(value).password is not None:
        raise PydanticCustomError(
            "password", "a recipe contains no password; put the URL into an environment variable and name it"
        )
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise PydanticCustomError("host", "use a host, or host:port, in lower case and without a scheme")
    return value


Location = Annotated[str, AfterValidator(_location)]
"""A URL without a password, or the name of an environment variable that has one."""


class Jobs(Component):
    """Background work: where jobs are kept, who runs them and for how long."""

    results: Location = ""
    """URL of the database with jobs and results, ``sqlite:///<path>`` or ``postgresql://…``, or the name of
    an environment variable that has it. Empty is a SQLite file beside the model's folder. Servers on several
    machines need PostgreSQL."""
    broker: Location = ""
    """URL of RabbitMQ (``amqp://…``) or Redis (``redis://…``), or the name of an environment variable that
    has it. Workers then run the jobs. Empty runs them in the server."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 4
    """Jobs that one server, or one worker, asks the model at once."""
    max_queued: Annotated[int, Field(ge=1)] = 1000
    """Most jobs without a result; further ones are refused with 429."""
    max_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 3600
    """Seconds from a job's acceptance until it fails without a result."""
    keep_seconds: Annotated[float, Field(gt=0, le=365 * 86_400)] = 86_400
    """Seconds that an ended job and its result are kept; then they are erased."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """A job that was being answered this often when its worker, its server or the model's process died
    fails: it may be the cause."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    """A running job whose worker is silent for so long is given to another."""
    republish_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60
    """A queued job that no worker has begun for so long is sent to the broker again, then after twice this
    time, and so on."""
    webhook_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Hosts that webhooks can call, each as ``host`` or ``host:port``. Empty refuses webhooks."""
    webhook_url: str = ""
    """URL to call when a job has ended that names no webhook itself; empty calls none."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.broker and not self.results:
            raise PydanticCustomError(
                "broker_alone", "'broker' needs 'results', the database that server and workers share"
            )
        if self.webhook_url and not self.calls(self.webhook_url):
            raise PydanticCustomError(
                "webhook_host", "'webhook_url' needs its host in 'webhook_hosts', and http or https"
            )
        return self

    def calls(self, url: str) -> bool:
        """Return whether webhooks can call *url*.

        >>> jobs = Jobs(webhook_hosts=("hooks.example.com",))
        >>> jobs.calls("https://hooks.example.com/x"), jobs.calls("https://hooks.example.com:8080/x")
        (True, False)
        >>> jobs.calls("https://user@hooks.example.com/"), jobs.calls("file://hooks.example.com/")
        (False, False)
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or not parts.hostname:
            return False
        if re.search(r"[\x00-\x20\\]", url):
            return False
        return (parts.hostname if port is None else f"{parts.hostname}:{port}") in self.webhook_hosts

    def results_url(self, folder: Path) -> str:
        """Return the database's URL; *folder* holds the default SQLite file.

        Raises:
            ServeError: the environment variable is not set.
        """
        results = resolve(self.results, "serving.jobs.results") if self.results else ""
        return results or f"sqlite:///{folder.absolute()}/jobs.sqlite"

    def broker_url(self) -> str:
        """Return the broker's URL, empty without a broker.

        Raises:
            ServeError: the environment variable is not set.
        """
        return resolve(self.broker, "serving.jobs.broker") if self.broker else ""

    def connections(self) -> dict[str, str]:
        """Return the addresses of what is called from the server; see ``Serving.connections``."""
        named = {"serving.jobs.results": self.results, "serving.jobs.broker": self.broker}
        called = {field: address for field, address in named.items() if address}
        for number, host in enumerate(self.webhook_hosts):
            scheme = "http" if ":" in host else "https"
            called[f"serving.jobs.webhook_hosts.{number}"] = f"{scheme}://{host}"
        return called
