"""Answer every error in OpenAI's format."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from framework.serving.api_error import ApiError
from framework.serving.middleware.disconnect import DISCONNECTED

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
    api_error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(api_error.body(), status_code=error.status_code, headers=error.headers)


async def _answer_fault(request: Request, error: Exception) -> Response:
    api_error = ApiError(500, "The server failed on this request; see its log")
    return JSONResponse(api_error.body(), status_code=500)
