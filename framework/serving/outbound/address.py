"""Addresses of other services in a recipe, which is in Git and therefore holds no password."""

import os
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from framework.core.errors import ServeError

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}
_OTHER_PORTS = {"amqp": 5672, "amqps": 5671, "postgres": 5432, "postgresql": 5432}
"""Ports of services that have their own options."""


def _check(value: str) -> str:
    if _VARIABLE.fullmatch(value):
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        text = "give a URL ({schemes}), or the name of an environment variable that holds one, in capitals"
        raise PydanticCustomError("address", text, {"schemes": ", ".join(f"{s}://" for s in _PORTS)})
    if parts.username is not None or parts.password is not None:
        text = "a recipe is in Git and must not hold a password; name an environment variable with the URL"
        raise PydanticCustomError("address_password", text)
    return value


Address = Annotated[str, AfterValidator(_check)]
"""A URL without a password, or the name of an environment variable that holds one."""


def variable_of(address: str | None) -> str | None:
    """Return the environment variable that *address* names; None for a URL.

    >>> variable_of("GITUNE_REDIS_URL"), variable_of("redis://cache:6379")
    ('GITUNE_REDIS_URL', None)
    """
    return address if address is not None and _VARIABLE.fullmatch(address) else None


def host_and_port(address: str | None) -> tuple[str, int] | None:
    """Return where a URL leads to; None for an environment variable, and for a file.

    >>> host_and_port("redis://cache/0"), host_and_port("GITUNE_REDIS_URL")
    (('cache', 6379), None)
    >>> host_and_port("postgresql://jobs/x"), host_and_port("sqlite:////data/jobs.sqlite")
    (('jobs', 5432), None)
    """
    if address is None or variable_of(address):
        return None
    parts = urlsplit(address)
    if parts.hostname is None:
        return None
    scheme = parts.scheme.partition("+")[0]
    return parts.hostname, parts.port or {**_PORTS, **_OTHER_PORTS}[scheme]


def resolve(address: str, field: str) -> str:
    """Return the URL of *address*, which is the value of *field* of the recipe.

    Raises:
        ServeError: it names an environment variable that is not set.
    """
    variable = variable_of(address)
    if variable is None:
        return address
    if url := os.environ.get(variable, "").strip():
        return url
    raise ServeError(f"{field}: the environment variable {variable} is not set; set it to the URL")
