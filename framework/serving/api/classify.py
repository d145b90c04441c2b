"""``POST /v1/classify``."""

import time
import uuid

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.answers import Classification
from framework.serving.api.body import read_request
from framework.serving.api.classify_request import ClassifyRequest
from framework.serving.api.operation import ASKS_MODEL, JSON, Operation
from framework.serving.api.replies import Classified
from framework.serving.api.service import Service
from framework.serving.caller import caller_of
from framework.serving.middleware.disconnect import unless_disconnected

PATH = "/v1/classify"
ALIAS = "/classify"
"""vLLM's path."""
_INTERNAL = ("tokens", "batch")


class Classify:
    """Classifies texts; they can share a batch with texts of other requests."""

    operations = tuple(
        Operation(
            "POST",
            path,
            "Classify texts",
            ClassifyRequest,
            replies={JSON: Classified},
            errors=ASKS_MODEL,
            example={"input": "Hello"},
        )
        for path in (PATH, ALIAS)
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(path, self.answer, methods=["POST"]) for path in (PATH, ALIAS)]

    async def answer(self, request: Request) -> Response:
        """Classify one or more texts."""
        arrived = time.monotonic()
        service = self._service
        body = read_request(ClassifyRequest, await request.body())
        if body.model is not None:
            service.check_model(body.model)
        service.check_length(body.characters(), "input")
        name = f"classify-{uuid.uuid4().hex}"
        asked = Classification(body.texts(), caller_of(request), arrived, name, PATH)
        model = service.release.name  # a reload can change it meanwhile
        answers = await unless_disconnected(request, service.answers.answer_each(asked))
        data = [
            {"index": index, **{key: value for key, value in answer.items() if key not in _INTERNAL}}
            for index, answer in enumerate(answers)
        ]
        tokens = sum(answer["tokens"] for answer in answers)
        used = {"prompt_tokens": tokens, "total_tokens": tokens}
        head = {"id": name, "object": "list", "model": model}
        return JSONResponse({**head, "data": data, "usage": used})
