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
from framework.serving.api.feedback import Feedback
from framework.serving.api.models import Models
from framework.serving.api.probes import PATHS, Probes
from framework.serving.api.service import Service
from framework.serving.middleware.bounded import Bounded
from framework.serving.middleware.counted import Counted
from framework.serving.middleware.error_handlers import install_error_handlers
from framework.serving.middleware.keyed import Keyed
from framework.serving.middleware.traced import Traced


def open_application(service: Service, probes: Probes, lifespan: Any) -> Starlette:
    """Return the application that answers for *service*.

    Args:
        service: what the routes share.
        probes: the routes that tell how the server is.
        lifespan: Starlette's, which starts and ends the engine.
    """
    generates = open_task(service.release.task).generates
    model = chat.Chat(service) if generates else classify.Classify(service)
    groups = (model, Feedback(service), Models(service), probes)
    # Outermost first: answers of 401 and 413 count too.
    paths = [route.path for route in model.routes]
    middleware = [Middleware(Counted, metrics=service.metrics, routes=paths)]
    if service.tracing is not None:
        middleware.insert(0, Middleware(Traced, tracing=service.tracing, routes=paths))
    if key := os.environ.get(API_KEY):
        middleware.append(Middleware(Keyed, key=key.strip(), open_paths=PATHS))
    middleware.append(Middleware(Bounded))
    app = Starlette(
        routes=[route for group in groups for route in group.routes],
        middleware=middleware,
        lifespan=lifespan,
    )
    install_error_handlers(app)
    return app
