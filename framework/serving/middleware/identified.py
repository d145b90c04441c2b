"""Middleware that gives each request an id and, where one is wanted, a line in the access log."""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.caller import ANYBODY
from framework.serving.middleware.disconnect import DISCONNECTED
from framework.serving.request_record import RequestRecord, begin_request

HEADER = "x-request-id"
WELL_FORMED = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
"""An id that is taken over: 1 to 128 characters that need no quoting in a header, a log or a URL."""
_WELL_FORMED = re.compile(WELL_FORMED.removesuffix("$"))
Line = dict[str, Any]


class Identified:
    """Middleware: takes or makes each request's id, adds it to the answer, and logs the request.

    It is the outermost one, so that rejected requests have an id too.
    """

    def __init__(self, app: ASGIApp, log: Callable[[Line], None] | None = None) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with the request's record in its context."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord(_id(scope))
        begin_request(record)
        started, code, complete = time.monotonic(), 500, False

        async def identified(message: Message) -> None:
            nonlocal code, complete
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)[HEADER] = record.id
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        failed = False
        try:
            await self.app(scope, receive, identified)
        except Exception:
            failed = True
            raise
        finally:
            if self.log is not None:
                status = code if complete or failed else DISCONNECTED
                self.log(_line(scope, record, status, time.monotonic() - started))


def log_to_stderr() -> Callable[[Line], None]:
    """Return a function that writes each line as JSON to standard error; a closed one loses lines only."""
    logger = logging.getLogger("gitune.access")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return lambda line: logger.info("%s", json.dumps(line))


def _id(scope: Scope) -> str:
    """Return the request's own id if it has one that is well-formed, else a new one."""
    wanted = [value for name, value in scope["headers"] if name == HEADER.encode()]
    text = wanted[0].decode("latin-1") if len(wanted) == 1 else ""
    return text if _WELL_FORMED.fullmatch(text) else f"req_{uuid.uuid4().hex}"


def _line(scope: MutableMapping[str, Any], record: RequestRecord, status: int, seconds: float) -> Line:
    """Return what the access log says of a request: neither texts nor the path, which a client can invent."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": record.id,
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", None),
        "status": status,
        "seconds": round(seconds, 6),
        "caller": scope.get("state", {}).get("caller", ANYBODY).name or None,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "adapter": record.adapter or None,
    }
