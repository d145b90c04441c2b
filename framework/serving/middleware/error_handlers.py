"""Answer every error in OpenAI's format."""

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from framework.serving.api_error import ApiError
from framework.serving.middleware.disconnect import DISCONNECTED
from framework.serving.middleware.identified import HEADER
from framework.serving.request_record import current_request

_log = logging.getLogger(__name__)

REFUSED = "refused"
"""Where a request's state has the reason for which it was refused; empty where it was not."""


def install_error_handlers(app: Starlette) -> None:
    """Make the application answer every error with JSON in OpenAI's format."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(ClientDisconnect, _answer_disconnect)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_fault)


def error_response(scope: Scope, error: ApiError, **headers: str) -> Response:
    """Return *error* as the response to the request of *scope*, and note there why it was refused."""
    scope.setdefault("state", {})[REFUSED] = error.refusal
    return JSONResponse(error.body(), status_code=error.status, headers={**error.headers(), **headers})


async def _answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(request.scope, error)


async def _answer_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=DISCONNECTED)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
        if request.method == "OPTIONS":  # no header allows a page of another origin: CORS is off
            return Response(status_code=204, headers=headers)
    api_error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(api_error.body(), status_code=error.status_code, headers=headers)


def _methods(request: Request) -> set[str]:
    """Return the methods of the request's path, which several routes can share."""
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE:
            methods |= route.methods or set()
    return methods


async def _answer_fault(request: Request, error: Exception) -> Response:
    # Starlette answers outside of the middleware, and the server then logs the traceback.
    record = current_request()
    name = "this request" if record is None else f"request {record.id}"
    _log.error("failed on %s", name)
    api_error = ApiError(500, f"The server failed on {name}; see its log")
    headers = {} if record is None else {HEADER: record.id}
    return JSONResponse(api_error.body(), status_code=500, headers=headers)
