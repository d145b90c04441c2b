"""Endpoints of tasks that no release has yet: they say so."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from framework.serving.api.operation import Operation
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError

PATHS = ("/v1/embeddings", "/v1/rerank")


class MissingTask:
    """Refuses embeddings and rerankings by name."""

    operations: tuple[Operation, ...] = ()

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(path, self.refuse, methods=["POST"]) for path in PATHS]

    async def refuse(self, request: Request) -> Response:
        """Say which task the release has.

        Raises:
            ApiError: 404, always.
        """
        raise ApiError(
            404,
            f"{request.url.path} needs a release of an embedding task, which gitune does not have yet; this "
            f"release's task is {self._service.release.task}",
            code="unsupported_task",
        )
