"""An error of the server in the format of OpenAI's API, as an exception and as an engine's event."""

from typing import Any

REFUSALS = ("loading", "overloaded", "rate_limit_exceeded", "shutting_down", "too_many_connections")
"""Codes of requests that were refused before any work: no failure of the model or of the release."""


class ApiError(Exception):
    """An error with its HTTP status, in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def refusal(self) -> str:
        """Why the request was refused before any work; empty if it was not."""
        return self.code if self.code in REFUSALS else ""

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the headers: after how many seconds to retry, where that helps."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def error_event(error: ApiError) -> dict[str, Any]:
    """Return *error* as the event of a request that ends with it; ``read_error`` is the reverse."""
    return {"status": error.status, "error": error.body()["error"], "retry_after": error.retry_after}


def read_error(event: dict[str, Any]) -> ApiError:
    """Return the error of an ``error_event``."""
    fields = event["error"]
    return ApiError(
        event["status"],
        fields["message"],
        param=fields["param"],
        code=fields["code"],
        retry_after=event["retry_after"],
    )
