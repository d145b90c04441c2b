"""What a client hears about keeping an answer; test_cache.py asks the whole server."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from framework.serving.answers.answer_use import current_use
from framework.serving.middleware.bounded import Bounded
from framework.serving.middleware.cacheable import Cacheable
from framework.serving.middleware.error_handlers import install_error_handlers
from framework.serving.middleware.sourced import Sourced


class App:
    """An application that returns what it got."""

    def __init__(self, shared=True):
        self.digest, self.answered = "sha256:a", 0
        paths = ["/v1/chat/completions", "/v1/classify"]
        routes = [Route(path, self.answer, methods=["POST"]) for path in [*paths, "/v1/feedback"]]
        cacheable = Middleware(Cacheable, routes=paths, digest=lambda: self.digest, shared=shared)
        sourced = Middleware(Sourced, routes=paths, under_way=set())
        bounded = Middleware(Bounded, open_paths=())
        app = Starlette(routes=routes, middleware=[bounded, sourced, cacheable])
        install_error_handlers(app)
        self.client = TestClient(app)

    async def answer(self, request: Request):
        self.answered += 1
        body, use = await request.body(), current_use()
        status = 400 if b"broken" in body else 200
        if b"reload" in body:
            self.digest = "sha256:b"
        return JSONResponse(
            {"body": body.decode(errors="replace"), "read": use.read, "write": use.write}, status
        )

    def ask(self, path="/v1/chat/completions", headers=None, **body):
        return self.client.post(path, json=body, headers=headers)


@pytest.fixture
def app():
    return App()


def test_tag_depends_on_the_model_the_path_and_the_request(app):
    tags = [app.ask(text="a").headers["etag"], app.ask(text="b").headers["etag"]]
    tags.append(app.ask("/v1/classify", text="a").headers["etag"])
    assert app.ask(text="a").headers["etag"] == tags[0]
    app.digest = "sha256:b"
    tags.append(app.ask(text="a").headers["etag"])
    assert len({*tags}) == 4


def test_known_answer_is_not_computed(app):
    tag = app.ask(text="a").headers["etag"]
    again = app.ask(text="a", headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["etag"], app.answered) == (304, tag, 1)
    app.digest = "sha256:b"
    assert app.ask(text="a", headers={"If-None-Match": tag}).status_code == 200


def test_only_repeatable_answers_are_tagged(app):
    for body in ({"stream": True}, {"background": True}, {"temperature": 0.1}, {"text": "broken"}):
        assert not {"etag", "cache-control"} & app.ask(**body).headers.keys()
    assert "etag" not in app.ask("/v1/feedback", text="a").headers
    assert "etag" not in app.client.post("/v1/classify", content=b"\xff").headers
    assert "etag" not in app.client.post("/v1/classify", content=b"[1]").headers


def test_deeply_nested_body_is_the_applications_to_refuse(app):
    assert app.client.post("/v1/classify", content=b"[" * 100_000).status_code == 200
    assert app.answered == 1


def test_answer_of_another_model_than_at_the_start_is_not_tagged(app):
    assert "etag" not in app.ask(text="reload").headers


def test_keys_keep_answers_out_of_shared_caches():
    assert App(shared=False).ask().headers["cache-control"] == "private, max-age=300"
    assert App(shared=True).ask().headers["cache-control"] == "public, max-age=300, s-maxage=3600"


@pytest.mark.parametrize(
    ("wish", "read", "write"),
    [
        ("", True, True),
        ("no-cache", False, True),
        ("a, No-Store", False, False),
        ("max-age=0", False, True),
    ],
)
def test_wishes_of_the_client_reach_the_cache(app, wish, read, write):
    seen = app.ask(text="a", headers={"Cache-Control": wish}).json()
    assert (seen["read"], seen["write"]) == (read, write)


def test_body_reaches_the_application_whole_and_bounded(app):
    text = "x" * 2**20
    assert app.ask(text=text).json()["body"].count("x") == 2**20 + 1
    assert app.client.post("/v1/classify", content=(b"y" * 2**16 for _ in range(80))).status_code == 413
