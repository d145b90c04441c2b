"""What the server says when it is ready: where it is, and how to ask it something."""

import json
import os
import shlex
from ipaddress import ip_address

from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.api import chat, classify, embeddings


def introduce(release: Release, host: str, port: int, *, page: bool) -> list[str]:
    """Return the lines.

    Args:
        release: the served release.
        host: the address that the server listens on.
        port: its port.
        page: whether there is a page to try the model.
    """
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    lines = [f"serving {release.name} on {address}; Ctrl-C stops"]
    here = f"http://{_reachable(host)}:{port}"
    if page:
        lines.append(f"  a page to try it: {here}/")
    task = open_task(release.task)
    of_text = embeddings.Embeddings if task.embeds else classify.Classify
    operation = (chat.Chat if task.generates else of_text).operations[0]
    body = {"model": release.name, **(operation.example or {})}
    key = f' -H "Authorization: Bearer ${API_KEY}"' if API_KEY in os.environ else ""
    content = f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    lines.append(f"  a first request: curl {here}{operation.path}{key} {content}")
    return lines


def _reachable(host: str) -> str:
    """Return *host* as this machine reaches it, for a URL: a wildcard is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"
