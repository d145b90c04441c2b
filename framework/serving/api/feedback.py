"""``POST /v1/feedback``."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from framework.serving.api.body import read_request
from framework.serving.api.feedback_request import FeedbackRequest
from framework.serving.api.operation import READS_BODY, Operation
from framework.serving.api.service import Service
from framework.serving.caller import caller_of

PATH = "/v1/feedback"


class Feedback:
    """Takes applications' feedback on answers."""

    operations = (
        Operation(
            "POST",
            PATH,
            "Report on an answer",
            FeedbackRequest,
            status=204,
            errors=READS_BODY,
            example={"completed": True},
        ),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """Count an application's feedback on an answer, and keep it if there is a log."""
        feedback = read_request(FeedbackRequest, await request.body())
        version = feedback.version(self._service.release.digest)
        self._service.metrics.reported(version, feedback.answers(), feedback.rating)
        if (log := self._service.log) is not None:
            row = {**feedback.model_dump(exclude={"system_fingerprint"}), "version": version}
            row |= {"time": datetime.now(UTC), "caller": caller_of(request).name}
            log.add("feedback", row)
        return Response(status_code=204)
