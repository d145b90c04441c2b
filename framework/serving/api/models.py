"""``GET /v1/models``."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.service import Service

PATH = "/v1/models"


class Models:
    """Describes the served models."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.list), Route(f"{PATH}/{{name}}", self.describe)]

    async def list(self, request: Request) -> Response:
        """List the release and its adapters."""
        return JSONResponse({"object": "list", "data": self._service.cards()})

    async def describe(self, request: Request) -> Response:
        """Describe the model that the path names."""
        name = request.path_params["name"]
        self._service.adapter(name)
        own = name.removeprefix(f"{self._service.release.name}:")
        return JSONResponse(next(card for card in self._service.cards() if card["id"] == own))
