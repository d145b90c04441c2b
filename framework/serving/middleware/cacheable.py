"""Middleware that tells clients and CDNs for how long they can keep an answer."""

import hashlib
import json
from collections.abc import Callable, Collection
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.answers.answer_use import current_use
from framework.serving.answers.cache_key import is_deterministic
from framework.serving.api_error import ApiError

_ITS_OWN = ("stream", "background", "store", "previous_response_id")
"""Fields with which an answer is not a function of its request, or more than an answer is wanted."""
CLIENT_SECONDS, CDN_SECONDS = 300, 3600
"""For how long a client, and a shared cache, can use an answer without asking again."""


class Cacheable:
    """Middleware: validates, by entity tag, what clients have kept; ``Sourced`` is before it.

    The tag is the digest of the model and the request, so a client that sends both again has the answer, and
    gets 304 without a computation.

    Args:
        app: the application.
        routes: paths that answer requests.
        digest: returns the digest of the model that answers now.
        shared: whether shared caches can keep answers. With API keys they must not: ``s-maxage`` would allow
            them to give the answer to someone without a key (RFC 9111, section 3.5).
    """

    def __init__(
        self, app: ASGIApp, routes: Collection[str], digest: Callable[[], str], shared: bool
    ) -> None:
        self.app, self.routes, self.digest = app, frozenset(routes), digest
        public = f"public, max-age={CLIENT_SECONDS}, s-maxage={CDN_SECONDS}"
        self.validity = public if shared else f"private, max-age={CLIENT_SECONDS}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 304 for what the client has, or add the headers to its answer."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        headers, digest, use = Headers(scope=scope), self.digest(), current_use()
        body, again = await _read(receive)
        tag = _tag(scope["path"], digest, body) if use.write else None
        kept = {"etag": tag, "cache-control": self.validity} if tag else {}
        if tag and use.read and tag in (each.strip() for each in headers.get("if-none-match", "").split(",")):
            raw = [(key.encode(), value.encode()) for key, value in kept.items()]
            await send(
                {"type": "http.response.start", "status": HTTPStatus.NOT_MODIFIED.value, "headers": raw}
            )
            await send({"type": "http.response.body"})
            return

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.OK:
                added = MutableHeaders(scope=message)
                whole = "application/json" in added.get("content-type", "")
                if whole and use.substitute is None and self.digest() == digest:
                    added.update(kept)
            await send(message)

        await self.app(scope, again, tagged)


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return the body, and a function that receives it again, and then what follows."""
    messages: list[Message] = []
    failure: ApiError | None = None
    more = True
    while more and failure is None:
        try:
            messages.append(await receive())
        except ApiError as error:  # the application answers it
            failure = error
        else:
            more = messages[-1].get("more_body", False)
    waiting = iter(messages)

    async def again() -> Message:
        nonlocal failure
        if (message := next(waiting, None)) is not None:
            return message
        if failure is not None:
            raise failure
        return await receive()

    return b"".join(message.get("body", b"") for message in messages), again


def _tag(path: str, digest: str, body: bytes) -> str | None:
    """Return the entity tag of the answer to *body*; None where equal requests may get different answers.

    It is weak, because each answer has an id and a time of its own.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or any(map(request.get, _ITS_OWN)):
        return None
    if not is_deterministic(request):
        return None
    joined = b"\0".join((path.encode(), digest.encode(), body))
    return f'W/"{hashlib.sha256(joined).hexdigest()[:32]}"'
