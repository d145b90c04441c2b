"""``POST /v1/rerank``: documents by their similarity to a query."""

import uuid

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import read_request
from framework.serving.api.embedding_request import RerankRequest
from framework.serving.api.embeddings import embed, usage
from framework.serving.api.operation import ASKS_MODEL, JSON, Operation
from framework.serving.api.replies import Reranked
from framework.serving.api.service import Service
from framework.serving.vectors import read_vectors

PATH = "/v1/rerank"
ALIAS = "/rerank"
"""vLLM's path."""


class Rerank:
    """Sorts documents by the cosine between their vector and the query's."""

    operations = tuple(
        Operation(
            "POST",
            path,
            "Sort documents by their similarity to a query",
            RerankRequest,
            replies={JSON: Reranked},
            errors=ASKS_MODEL,
            example={"query": "Hello", "documents": ["Hello", "Goodbye"]},
        )
        for path in (PATH, ALIAS)
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(path, self.answer, methods=["POST"]) for path in (PATH, ALIAS)]

    async def answer(self, request: Request) -> Response:
        """Return the documents, the most similar one first."""
        body = read_request(RerankRequest, await request.body())
        name, model = f"rerank-{uuid.uuid4().hex}", self._service.release.name  # a reload can change it
        documents = body.texts()
        param = "query" if len(body.query) > max(map(len, documents)) else "documents"
        answers = await embed(self._service, request, body, [body.query, *documents], name, param)
        vectors = read_vectors([answer["embedding"] for answer in answers])
        # Vectors have length 1, so their product is the cosine.
        scores = (vectors[1:] @ vectors[0]).clip(-1, 1).tolist()
        order = sorted(range(len(documents)), key=scores.__getitem__, reverse=True)
        results = [
            {
                "index": index,
                "relevance_score": scores[index],
                **({} if body.return_documents is False else {"document": {"text": documents[index]}}),
            }
            for index in order[: body.top_n or None]
        ]
        return JSONResponse({"id": name, "model": model, "results": results, "usage": usage(answers)})
