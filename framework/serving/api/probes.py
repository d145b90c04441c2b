"""``/health``, ``/ready`` and ``/metrics``, for the cluster; they need no API key."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from framework.serving.api.operation import TEXT, Operation
from framework.serving.telemetry.metrics import Metrics

HEALTH, READY, METRICS = "/health", "/ready", "/metrics"
METRIC_FORMATS: dict[str, None] = {TEXT: None, "application/openmetrics-text": None}
PATHS = (HEALTH, READY, METRICS)


class Probes:
    """Tells how the server is."""

    operations = (
        Operation(
            "GET",
            HEALTH,
            "Whether the server can help itself",
            replies={TEXT: None},
            errors=(503,),
            public=True,
            says_text=True,
        ),
        Operation(
            "GET",
            READY,
            "Whether the model answers",
            replies={TEXT: None},
            errors=(503,),
            public=True,
            says_text=True,
        ),
        Operation("GET", METRICS, "Prometheus metrics", replies=METRIC_FORMATS, public=True),
    )

    def __init__(self, is_alive: Callable[[], bool], is_ready: Callable[[], bool], metrics: Metrics) -> None:
        self._is_alive, self._is_ready, self._metrics = is_alive, is_ready, metrics
        self.routes = [
            Route(HEALTH, self.health),
            Route(READY, self.ready),
            Route(METRICS, self.scrape),
        ]

    async def health(self, request: Request) -> Response:
        """Answer 200 while the model runs or will run; 503 if only a restart of the server helps."""
        if self._is_alive():
            return PlainTextResponse("ok")
        return PlainTextResponse("the model's process cannot be started again", status_code=503)

    async def ready(self, request: Request) -> Response:
        """Answer 200 once the model has answered once, else 503."""
        if self._is_ready():
            return PlainTextResponse("ready")
        return PlainTextResponse("the model is loading, or the server is shutting down", status_code=503)

    async def scrape(self, request: Request) -> Response:
        """Return the metrics in the format that the scraper prefers."""
        from prometheus_client.exposition import choose_encoder

        try:
            encode, kind = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # the header asks for a version that is no version
            encode, kind = choose_encoder("")
        return Response(encode(self._metrics.registry), media_type=kind)
