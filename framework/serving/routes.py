"""The application: the routes of one release, behind the middleware.

It runs in the server process, which has neither model nor tokenizer.
"""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from framework.build.task import open_task
from framework.serving import API_KEY
from framework.serving.api import chat, classify
from framework.serving.api.background_responses import BackgroundResponses
from framework.serving.api.feedback import Feedback
from framework.serving.api.jobs import JobRoutes
from framework.serving.api.models import Models
from framework.serving.api.openapi import Document
from framework.serving.api.operation import Endpoint
from framework.serving.api.probes import PATHS, Probes
from framework.serving.api.service import Service
from framework.serving.middleware.bounded import Bounded
from framework.serving.middleware.counted import Counted
from framework.serving.middleware.error_handlers import install_error_handlers
from framework.serving.middleware.identified import Identified, log_to_stderr
from framework.serving.middleware.keyed import Keyed
from framework.serving.page import pages


def open_application(service: Service, probes: Probes, lifespan: Any) -> Starlette:
    """Return the application that answers for *service*.

    Args:
        service: what the routes share.
        probes: the routes that tell how the server is.
        lifespan: Starlette's, which starts and ends the engine.
    """
    generates = open_task(service.release.task).generates
    model = chat.Chat(service) if generates else classify.Classify(service)
    key = os.environ.get(API_KEY)
    endpoints: list[Endpoint] = [model, Feedback(service), Models(service), probes]
    counted = Middleware(Counted, metrics=service.metrics, routes=[route.path for route in model.routes])
    # Background jobs that run in this process ask the model's routes: they count, and need no key.
    unkeyed = Starlette(routes=list(model.routes), middleware=[counted])
    install_error_handlers(unkeyed)
    if service.background is not None:
        endpoints.append(JobRoutes(service.background, tuple(route.path for route in model.routes)))
    if service.background is not None and generates:
        endpoints.append(BackgroundResponses(service, service.background))
    open_paths: tuple[str, ...] = PATHS
    if service.limits.page:
        endpoints.append(pages.Pages())
        open_paths += pages.PATHS
    endpoints.append(Document(service, endpoints, keyed=key is not None))
    # Outermost first: answers of 401 and 413 count too.
    log = log_to_stderr() if service.limits.access_log == "json" else None
    middleware = [Middleware(Identified, log=log), counted]
    if key is not None:
        middleware.append(Middleware(Keyed, key=key.strip(), open_paths=open_paths))
    middleware.append(Middleware(Bounded))
    app = Starlette(
        routes=[route for endpoint in endpoints for route in endpoint.routes],
        middleware=middleware,
        lifespan=lifespan,
    )
    install_error_handlers(app)
    app.state.unkeyed = unkeyed
    return app
