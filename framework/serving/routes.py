"""The application: the routes of one release, behind the middleware.

It runs in the server process, which has neither model nor tokenizer.
"""

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from framework.build.task import open_task
from framework.serving.access.allowance import Allowances
from framework.serving.access.keys import Keys
from framework.serving.api.chat import Chat
from framework.serving.api.classify import Classify
from framework.serving.api.completions import Completions
from framework.serving.api.embeddings import Embeddings
from framework.serving.api.feedback import Feedback
from framework.serving.api.jobs import JobRoutes
from framework.serving.api.kept_responses import KeptResponses
from framework.serving.api.missing_task import MissingTask
from framework.serving.api.models import Models
from framework.serving.api.openapi import Document
from framework.serving.api.operation import Endpoint
from framework.serving.api.probes import PATHS, Probes
from framework.serving.api.rerank import Rerank
from framework.serving.api.responses import Responses
from framework.serving.api.service import Service
from framework.serving.api.tokens import Tokens
from framework.serving.middleware.bounded import Bounded
from framework.serving.middleware.cacheable import Cacheable
from framework.serving.middleware.counted import Counted
from framework.serving.middleware.error_handlers import install_error_handlers
from framework.serving.middleware.identified import Identified, log_to_stderr
from framework.serving.middleware.keyed import Keyed
from framework.serving.middleware.limited import Limited
from framework.serving.middleware.sourced import Sourced
from framework.serving.middleware.traced import Traced
from framework.serving.page import pages


def open_application(
    service: Service, probes: Probes, keys: Keys, allowances: Allowances, lifespan: Any
) -> Starlette:
    """Return the application that answers for *service*.

    Args:
        service: what the routes share.
        probes: the routes that tell how the server is.
        keys: those that requests must have one of; none of them accepts every request.
        allowances: what each key may still ask for.
        lifespan: Starlette's, which starts and ends the engine.
    """
    kept = None
    if open_task(service.release.task).generates and service.background is not None:
        kept = KeptResponses(service, service.background)
    answering = _answering(service, kept)
    endpoints = [*answering, Feedback(service), Models(service), probes]
    routes = [route for endpoint in answering for route in endpoint.routes]
    paths = [route.path for route in routes]
    counted = Middleware(Counted, metrics=service.metrics, routes=paths)
    limited = Middleware(Limited, allowances=allowances, routes=paths)
    # Background jobs that run in this process ask the model's routes: they count, also against the limits
    # of their owners, and need no key.
    sourced = Middleware(Sourced, routes=paths, under_way=service.under_way)
    unkeyed = Starlette(routes=routes, middleware=[counted, limited, sourced])
    install_error_handlers(unkeyed)
    if service.background is not None:
        able = [each for each in answering if not isinstance(each, MissingTask)]
        asked = tuple(route.path for each in able for route in each.routes if not route.param_convertors)
        endpoints.append(JobRoutes(service.background, asked))
    if kept is not None:
        endpoints.append(kept)
    open_paths: tuple[str, ...] = PATHS
    if service.limits.page:
        endpoints.append(pages.Pages())
        open_paths += pages.PATHS
    endpoints.append(Document(service, endpoints, keyed=bool(keys)))
    middleware = _middleware(service, keys, counted, limited, paths, open_paths)
    app = Starlette(
        routes=[route for endpoint in endpoints for route in endpoint.routes],
        middleware=middleware,
        lifespan=lifespan,
    )
    install_error_handlers(app)
    app.state.unkeyed = unkeyed
    return app


def _answering(service: Service, kept: KeptResponses | None) -> list[Endpoint]:
    """Return the endpoints that ask the model."""
    task = open_task(service.release.task)
    if task.embeds:
        return [Embeddings(service), Rerank(service), Tokens(service)]
    rest: list[Endpoint] = [Tokens(service), MissingTask(service)]
    if task.generates:
        return [Chat(service), Completions(service), Responses(service, kept), *rest]
    return [Classify(service), *rest]


def _middleware(
    service: Service,
    keys: Keys,
    counted: Middleware,
    limited: Middleware,
    paths: list[str],
    open_paths: tuple[str, ...],
) -> list[Middleware]:
    """Return what stands before the routes, outermost first: answers of 401 and 413 count too."""
    log = log_to_stderr() if service.limits.access_log == "json" else None
    middleware = [Middleware(Identified, log=log), counted]
    if service.tracing is not None:
        middleware.insert(1, Middleware(Traced, tracing=service.tracing, routes=paths))
    if keys:
        middleware.append(Middleware(Keyed, keys=keys, open_paths=open_paths))
        middleware.append(limited)
    middleware.append(Middleware(Bounded, open_paths=PATHS))
    middleware.append(Middleware(Sourced, routes=paths, under_way=service.under_way))
    if service.keeps_answers:
        middleware.append(Middleware(Cacheable, routes=paths, digest=service.digest, shared=not keys))
    return middleware
