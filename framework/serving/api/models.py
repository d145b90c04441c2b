"""``GET /v1/models`` and ``GET /v1/release``."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.build.task import open_task
from framework.serving.api.chat_reply import fingerprint
from framework.serving.api.operation import JSON, Operation
from framework.serving.api.replies import ModelCard, ModelList, ServedRelease
from framework.serving.api.service import Service

PATH = "/v1/models"
RELEASE = "/v1/release"
_OWN = {"system_fingerprint", "answers", "context", "dimensions", "max_new_tokens"}


class Models:
    """Describes the served models."""

    operations = (
        Operation("GET", PATH, "List the served model", replies={JSON: ModelList}),
        Operation(
            "GET",
            f"{PATH}/{{name}}",
            "Describe the served model",
            replies={JSON: ModelCard},
            errors=(404,),
            parameters={"name": {"type": "string", "minLength": 1}},
        ),
        Operation("GET", RELEASE, "Describe the served release", replies={JSON: ServedRelease}),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [
            Route(PATH, self.list),
            Route(f"{PATH}/{{name}}", self.describe),
            Route(RELEASE, self.release),
        ]

    async def list(self, request: Request) -> Response:
        """List the release and its adapters."""
        return JSONResponse({"object": "list", "data": self._service.cards()})

    async def describe(self, request: Request) -> Response:
        """Describe the model that the path names."""
        name = request.path_params["name"]
        self._service.adapter(name)
        own = name.removeprefix(f"{self._service.release.name}:")
        return JSONResponse(next(card for card in self._service.cards() if card["id"] == own))

    async def release(self, request: Request) -> Response:
        """Describe the release."""
        return JSONResponse(_describe(self._service))


def _describe(service: Service) -> dict[str, Any]:
    """Return the release as ``ServedRelease`` does, without what only concerns its build."""
    release, task = service.release, open_task(service.release.task)
    of_text = "vectors" if task.embeds else "entities" if task.labels_words else "labels"
    can = service.can()
    described = ServedRelease(
        **release.model_dump(include=set(ServedRelease.model_fields) - _OWN),
        system_fingerprint=fingerprint(release.digest),
        answers="chat" if task.generates else of_text,
        context=service.context,
        dimensions=None if can is None else can.dimensions,
        max_new_tokens=service.limits.max_new_tokens,
    )
    return described.model_dump()
