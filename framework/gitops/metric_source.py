"""Read metrics of a running release: from Prometheus by instant queries, or from a JSON file.

It does not know what the values are for.
"""

import json
import os
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

TOKEN = "PROMETHEUS_TOKEN"
"""The environment variable with a bearer token."""
_SECONDS = 30
"""Time limit of a query, in seconds."""


def query_prometheus(url: str, query: str, names: Mapping[str, str]) -> float:
    """Return the one value of an instant query.

    Args:
        url: the address of Prometheus, with the path below which its API is.
        query: PromQL; ``$<name>`` is replaced by the value in *names*.
        names: values by placeholder.

    Raises:
        ValueError: there is no value or more than one, or Prometheus refuses or does not answer.
    """
    placeholders = "|".join(names)
    filled = re.sub(rf"\$({placeholders})\b", lambda match: names[match[1]], query)
    token = os.environ.get(TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': filled})}"
    try:
        with urlopen(Request(address, headers=headers), timeout=_SECONDS) as response:  # http(s) by config
            answer = json.load(response)
    except HTTPError as error:
        raise ValueError(f"{url} answers {error.code}: {_reason(error)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise ValueError(f"{url} does not answer as Prometheus: {getattr(error, 'reason', error)}") from None
    return _one_value(answer)


def _reason(error: HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)


def _one_value(answer: Any) -> float:
    try:
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            return float(result[1])
        if kind == "vector" and len(result) == 1:
            return float(result[0]["value"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError("the answer is not one of Prometheus") from None
    if kind == "vector":
        raise ValueError(f"the query gives {len(result)} values; it should give one")
    raise ValueError(f"the query gives a {kind}; it should give one value")


def read_metrics(file: Path, digest: str) -> dict[str, float]:
    """Return the metrics of a JSON file.

    Args:
        file: ``{"digest": …, "metrics": {name: number}}``.
        digest: the model's digest, for which they must have been measured.

    Raises:
        ValueError: the file cannot be read, or is about another release.
    """
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        measured, metrics = body["digest"], {str(key): float(item) for key, item in body["metrics"].items()}
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f'{file} should be {{"digest": "sha256:…", "metrics": {{name: number}}}}') from None
    if measured != digest:
        raise ValueError(f"{file} was measured for another release, {measured}")
    return metrics
