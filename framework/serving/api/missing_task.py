"""Endpoints of text-embedding models, in servers of other releases: they say what is missing."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from framework.serving.api import embeddings, rerank
from framework.serving.api.operation import Operation
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError

PATHS = (embeddings.PATH, rerank.PATH, rerank.ALIAS)


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
            f"{request.url.path} needs a release of a text-embedding model; this one's task is "
            f"'{self._service.release.task}'",
            code="unsupported_task",
        )
