"""Types for values that Kubernetes accepts: quantities, labels, object names, image references.

They fail with the config, instead of when a commit reaches the API server.
"""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.core.problem import Problem

_SUFFIXES = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGT", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGT", start=1)},
}


def like(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a validator of texts that match *pattern* as a whole; *expected* describes them."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise PydanticCustomError("kubernetes_value", "should be {expected}", {"expected": expected})
        return text

    return check


def amount(quantity: str) -> Decimal:
    """Return a quantity as a number of cores or bytes.

    >>> amount("1500m"), amount("2Ki")
    (Decimal('1.500'), Decimal('2048'))
    """
    digits = quantity.rstrip("mkMGTKi")
    return Decimal(digits) * _SUFFIXES[quantity[len(digits) :]]


def binary(size: Decimal) -> str:
    """Return *size* bytes as an API server formats them, rounded up to Mi.

    >>> binary(Decimal(11 * 1024**3)), binary(Decimal(1))
    ('11Gi', '1Mi')
    """
    count, suffixes = math.ceil(size / 1024**2), iter("MGT")
    suffix = next(suffixes)
    while suffix != "T" and count % 1024 == 0:
        count, suffix = count // 1024, next(suffixes)
    return f"{count}{suffix}i"


def _positive(quantity: str) -> str:
    if amount(quantity) <= 0:
        raise PydanticCustomError("kubernetes_value", "should be above zero")
    return quantity


Cores = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    AfterValidator(like(r"\d+m|\d+(\.\d{1,3})?", "CPU cores such as '2', '0.5' or '500m'")),
    AfterValidator(_positive),
]
Bytes = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    AfterValidator(like(r"\d+([kMGT]|[KMGT]i)?", "bytes such as '8Gi' or '512Mi'")),
    AfterValidator(_positive),
]
ObjectName = Annotated[
    str,
    Field(max_length=253),
    AfterValidator(
        like(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "an object's name: lowercase letters, digits, '-' and '.'")
    ),
]
Image = Annotated[
    str,
    AfterValidator(
        like(
            r"[a-z0-9][a-z0-9._-]*(:\d+)?(/[a-z0-9][a-z0-9._-]*)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
            "an image such as 'registry/name:tag' or 'registry/name@sha256:<64 hex digits>'",
        )
    ),
]
ImageSource = Annotated[
    str,
    AfterValidator(
        like(
            r"[a-z0-9][a-z0-9._-]*(:\d+(?=/))?(/[a-z0-9][a-z0-9._-]*)*(/|@sha256:[0-9a-f]{64})?",
            "an image's name such as 'registry/name', with its digest or without, or a folder of a registry "
            "such as 'registry/team/'",
        )
    ),
]
LabelKey = Annotated[
    str,
    AfterValidator(
        like(
            r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?",
            "a label's key such as 'app.kubernetes.io/name'",
        )
    ),
]
LabelValue = Annotated[
    str,
    AfterValidator(
        like(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", "a label's value of at most 63 characters")
    ),
]
HostPattern = Annotated[
    str,
    Field(max_length=253),
    AfterValidator(
        like(
            r"[-a-z0-9*_]+(\.[-a-z0-9*_]+)*\.[-a-z0-9]+|[0-9a-f:]*:[0-9a-f:]*",
            "a host such as 'models.example.com' or 's3.*.amazonaws.com'",
        )
    ),
]
Domain = Annotated[
    str,
    Field(max_length=253),
    AfterValidator(
        like(
            r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+",
            "a domain name such as 'models.example.com'",
        )
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]


def is_pinned(image: str) -> bool:
    """Return whether *image* is pinned by digest.

    >>> is_pinned("gitune/server:0.1.0")
    False
    """
    return re.search(r"@sha256:[0-9a-f]{64}$", image) is not None


def image_pattern(accepted: Iterable[str]) -> str:
    """Return the regular expression, for Python and for CEL, of the images that *accepted* names.

    >>> pattern = image_pattern(["ghcr.io/team/", "redis"])
    >>> [re.search(pattern, image) is not None for image in ("ghcr.io/team/server:1", "redis:7", "redis:7/x")]
    [True, True, False]
    """
    names = [name.replace(".", "[.]") + ("[a-z0-9._/-]+" if name.endswith("/") else "") for name in accepted]
    return f"^({'|'.join(names)})(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{{64}})?$"


def unpinned(key: str, image: str, environment: str) -> Problem:
    """Return that the *image* at *key* is not pinned by digest, which *environment* requires."""
    reason = f"'{image}' is not pinned by digest, which {environment} requires"
    return Problem(key, reason, (f"{key}={image.partition('@')[0]}@sha256:<digest>",))


class SecretKey(Component):
    """A reference to one value of a Secret; the value itself is never in the config."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, AfterValidator(like(r"[-._a-zA-Z0-9]{1,253}", "a key of a Secret"))] = "api-key"
    """The key in the Secret."""

    def manifest(self) -> dict[str, Any]:
        """Return the ``valueFrom`` of an environment variable."""
        return {"secretKeyRef": {"key": self.key, "name": self.name}}


class Amounts(Component):
    """CPU and memory of a container."""

    cpu: Cores
    """Cores, such as ``2`` or ``500m``."""
    memory: Bytes
    """Bytes, such as ``8Gi``."""

    def above(self, most: "Amounts") -> list[str]:
        """Return the names of the fields in which this exceeds *most*."""
        return [
            key for key in Amounts.model_fields if amount(getattr(self, key)) > amount(getattr(most, key))
        ]


class Peer(Component):
    """Pods that can connect: those with all ``pods`` labels in namespaces with all ``namespaces`` labels."""

    namespaces: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of their namespace; empty is the release's own namespace."""
    pods: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the pods; empty is every pod of those namespaces."""

    @model_validator(mode="after")
    def _needs_labels(self) -> "Peer":
        if not self.namespaces and not self.pods:
            raise PydanticCustomError("empty_peer", "give labels under 'namespaces', 'pods' or both")
        return self
