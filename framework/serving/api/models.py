"""``GET /v1/models``."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.service import Service

PATH = "/v1/models"


class Models:
    """Describes the served model."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.list), Route(f"{PATH}/{{name}}", self.describe)]

    async def list(self, request: Request) -> Response:
        """List the one model."""
        return JSONResponse({"object": "list", "data": [self._service.card()]})

    async def describe(self, request: Request) -> Response:
        """Describe the model, if the path names it."""
        self._service.check_model(request.path_params["name"])
        return JSONResponse(self._service.card())
