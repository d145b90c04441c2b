"""``POST /v1/embeddings``."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from framework.serving.answers import Embedding
from framework.serving.api.body import read_request
from framework.serving.api.embedding_request import EmbeddingRequest, ReadsTexts
from framework.serving.api.operation import ASKS_MODEL, JSON, Operation
from framework.serving.api.replies import Embedded
from framework.serving.api.service import Service
from framework.serving.caller import caller_of
from framework.serving.middleware.disconnect import unless_disconnected
from framework.serving.vectors import read_vectors

PATH = "/v1/embeddings"


class Embeddings:
    """Turns texts into vectors; they can share a batch with texts of other requests."""

    operations = (
        Operation(
            "POST",
            PATH,
            "Embed texts",
            EmbeddingRequest,
            replies={JSON: Embedded},
            errors=ASKS_MODEL,
            example={"input": "Hello"},
        ),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """Embed one or more texts."""
        body = read_request(EmbeddingRequest, await request.body())
        can = self._service.can()
        body.check_dimensions(None if can is None else can.dimensions)
        name, model = f"embd-{uuid.uuid4().hex}", self._service.release.name  # a reload can change it
        answers = await embed(self._service, request, body, body.texts(), name, "input")
        head = {"id": name, "object": "list", "model": model, "usage": usage(answers)}
        vectors = [answer["embedding"] for answer in answers]
        # A million numbers take a second, in which the server's loop would answer nobody.
        content = await asyncio.to_thread(_written, head, vectors, body.encoding_format == "base64")
        return Response(content, media_type=JSON)


def _written(head: dict[str, Any], vectors: list[str], as_base64: bool) -> str:
    """Return the reply as JSON, written vector by vector: only in between do other threads go on."""
    rows: Iterable[Any] = vectors if as_base64 else (row.tolist() for row in read_vectors(vectors))
    data = (
        json.dumps({"object": "embedding", "index": index, "embedding": row}, separators=(",", ":"))
        for index, row in enumerate(rows)
    )
    return f'{json.dumps(head)[:-1]}, "data": [{",".join(data)}]}}'


async def embed(
    service: Service,
    request: Request,
    body: ReadsTexts,
    texts: Sequence[str | list[int]],
    name: str,
    param: str,
) -> list[dict[str, Any]]:
    """Return the answer to each of *texts*; see ``Embedding``.

    Args:
        service: what the routes share.
        request: the request that asks; when its client goes, the texts are canceled.
        body: its body.
        texts: what to embed.
        name: the answer's id.
        param: the field of the longest text.

    Raises:
        ApiError: it is refused, or failed.
    """
    arrived = time.monotonic()
    if body.model is not None:
        service.check_model(body.model)
    service.check_length(max(map(len, texts)), param)
    most, route = body.most_tokens(service.context), request.scope["route"].path
    asked = Embedding(texts, caller_of(request), arrived, name, route, most)
    return await unless_disconnected(request, service.answers.answer_each(asked))


def usage(answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the tokens of all texts, as OpenAI's API counts them."""
    tokens = sum(answer["tokens"] for answer in answers)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
