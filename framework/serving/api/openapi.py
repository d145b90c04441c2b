"""The OpenAPI 3.1 document of a server, made from the operations that its routes declare.

The schemas come from the pydantic models that parse the requests, narrowed to what this server accepts: its
one model's name, its limits, and what its engine can do.
"""

from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.narrowed import narrow
from framework.serving.api.operation import EVENTS, JSON, TEXT, Endpoint, Operation
from framework.serving.api.replies import Error
from framework.serving.api.service import Service
from framework.serving.middleware.identified import WELL_FORMED

PATH = "/openapi.json"
EVERYWHERE = (500,)
ERRORS = {
    400: "The request is malformed, or asks for what this server cannot do",
    401: "The API key is missing or wrong",
    404: "There is no such model, or nothing with this id",
    409: "The idempotency key came with another request before",
    413: "The body is too large",
    429: "The server has too much to do; retry after the stated seconds",
    500: "The server failed",
    503: "The model is loading, or the server is shutting down; retry after the stated seconds",
}
_REQUEST_ID = {
    "description": "The request's id",
    "required": True,
    "schema": {"type": "string", "pattern": WELL_FORMED},
}
_RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}
_REFERENCE = "#/components/schemas/{model}"
References = dict[type[BaseModel], dict[str, Any]]
"""The ``$ref`` of each model."""


class Document:
    """Answers with the document."""

    operations = (Operation("GET", PATH, "This document", replies={JSON: None}),)

    def __init__(self, service: Service, endpoints: Iterable[Endpoint], *, keyed: bool) -> None:
        self.routes = [Route(PATH, self.show)]
        self._service, self._keyed = service, keyed
        self._operations = [operation for endpoint in (*endpoints, self) for operation in endpoint.operations]
        self._written: tuple[Any, dict[str, Any]] | None = None

    async def show(self, request: Request) -> Response:
        """Return the document of the release that is served now."""
        made_for = self._service.release.digest, self._service.can()
        if self._written is None or self._written[0] != made_for:
            self._written = made_for, write_document(self._service, self._operations, keyed=self._keyed)
        return JSONResponse(self._written[1])


def write_document(service: Service, operations: Iterable[Operation], *, keyed: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        service: the served release; its name and limits narrow the schemas.
        operations: what the routes declare.
        keyed: whether operations that are not public need an API key.
    """
    operations = tuple(_named(operation, service.release.name) for operation in operations)
    references, schemas = _schemas(service, operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, references, keyed=keyed and not operation.public)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    components: dict[str, Any] = {"schemas": schemas}
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    release = service.release
    return {
        "openapi": "3.1.0",
        "info": {
            "title": release.name,
            "version": release.digest.removeprefix("sha256:")[:12],
            "description": f"Answers of the release {release.name}, made from {release.base_model}.",
        },
        "paths": paths,
        "components": components,
    }


def _named(operation: Operation, model: str) -> Operation:
    """Return *operation* with the model's name in its example, if its body has a model."""
    if operation.example is None or operation.request is None:
        return operation
    named = {"model": model} if "model" in operation.request.model_fields else {}
    return replace(operation, example={**named, **operation.example})


def _operation(operation: Operation, references: References, *, keyed: bool) -> dict[str, Any]:
    """Return what the document says of one operation; *keyed*: whether it needs an API key."""
    errors = {*operation.errors, *EVERYWHERE, *((401,) if keyed else ())}
    responses = {str(status): _error(status, operation, references) for status in errors}
    responses[str(operation.status)] = _success(operation, references)
    name = operation.path.replace("/", "_").replace("{", "").replace("}", "")
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}{name}",
        "responses": dict(sorted(responses.items())),
    }
    if operation.request is not None:
        content: dict[str, Any] = {"schema": references[operation.request]}
        if operation.example is not None:
            content["example"] = dict(operation.example)
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": schema}
        for place, schemas in (("path", operation.parameters), ("query", operation.query))
        for name, schema in schemas.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if keyed:
        described["security"] = [{"key": []}]
    return described


def _success(operation: Operation, references: References) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": HTTPStatus(operation.status).phrase,
        "headers": {"X-Request-Id": _REQUEST_ID},
    }
    if operation.replies:
        response["content"] = {
            kind: _content(kind, model, references) for kind, model in operation.replies.items()
        }
    return response


def _content(kind: str, model: type[BaseModel] | None, references: References) -> dict[str, Any]:
    """Return a content's schema; of a stream it is that of each event, as OpenAPI 3.2 says it."""
    if kind == EVENTS:
        either = {"anyOf": [references[model], references[Error]]} if model else {"type": "object"}
        data = {"anyOf": [{"contentMediaType": JSON, "contentSchema": either}, {"const": "[DONE]"}]}
        fields = {"data": {"type": "string", **data}}
        return {"schema": {"type": "object", "required": ["data"], "properties": fields}}
    if model is None:
        return {"schema": {"type": "object" if kind == JSON else "string"}}
    return {"schema": references[model]}


def _error(status: int, operation: Operation, references: References) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": _REQUEST_ID}
    content: dict[str, Any] = {JSON: {"schema": references[Error]}}
    if operation.says_text and status != 500:
        content = {TEXT: {"schema": {"type": "string"}}}
    elif status in (429, 503):
        headers["Retry-After"] = _RETRY_AFTER
    return {"description": ERRORS[status], "headers": headers, "content": content}


def _schemas(service: Service, operations: Iterable[Operation]) -> tuple[References, dict[str, Any]]:
    """Return the reference to each model, and the schemas by name."""
    modes: dict[type[BaseModel], JsonSchemaMode] = {Error: "serialization"}
    requests = {operation.request for operation in operations if operation.request is not None}
    for operation in operations:
        modes |= {model: "serialization" for model in operation.replies.values() if model is not None}
    modes |= dict.fromkeys(requests, "validation")
    by_mode, schema = models_json_schema(list(modes.items()), ref_template=_REFERENCE)
    references = {model: by_mode[model, mode] for model, mode in modes.items()}
    schemas: dict[str, Any] = schema["$defs"]
    properties = {
        request: schemas[references[request]["$ref"].rpartition("/")[2]]["properties"] for request in requests
    }
    for each in properties.values():
        narrow(each, service)
    for operation in operations:
        for name, rest in operation.narrowed.items():
            assert operation.request is not None
            properties[operation.request][name] |= rest
    return references, schemas
