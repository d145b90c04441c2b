"""The whole application without an engine: what it documents, and what every path answers to every method."""

import os
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.access.allowance import Allowances
from framework.serving.access.keys import Keys
from framework.serving.api import missing_task
from framework.serving.api.probes import PATHS, Probes
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.limits import Limits
from framework.serving.page import pages
from framework.serving.routes import open_application
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


class Full:
    """Refuses everything."""

    async def generate(self, asked):
        raise ApiError(429, "The server is busy", retry_after=3)
        yield

    async def answer_each(self, asked):
        raise ApiError(429, "The server is busy", retry_after=3)


def application(task="causal-lm", **limits):
    release = RELEASE.model_copy(update={"task": task})
    metrics = Metrics(release)
    service = Service(release, Limits(64, 0, 10, 20, **limits), 2048, Full(), None, metrics)
    probes = Probes(lambda: True, lambda: True, metrics)
    keys = Keys(os.environ.get(API_KEY), None, print)
    return open_application(service, probes, keys, Allowances(), None)


@pytest.fixture(params=["causal-lm", "sequence-classification", "token-classification", "text-embedding"])
def app(request):
    app = application(request.param)
    app.state.task = request.param
    return app


def test_every_route_is_documented(app):
    documented = {
        (path, method.upper())
        for path, methods in TestClient(app).get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    left_out = {*pages.PATHS, "/v1/responses/{id}"}  # the latter only refuses
    if app.state.task != "text-embedding":
        left_out |= {*missing_task.PATHS}
    routes = {(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}}
    assert documented == {(path, method) for path, method in routes if path not in left_out}


def test_schemas_are_valid_and_every_reference_is_there(app):
    document = TestClient(app).get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) <= set(schemas)


def test_requests_are_narrowed_to_this_server(monkeypatch):
    monkeypatch.setenv(API_KEY, "s3cret")
    client = TestClient(application())
    assert client.get("/openapi.json").status_code == 401
    document = client.get("/openapi.json", headers={"Authorization": "Bearer s3cret"}).json()
    chat = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert chat["model"]["enum"] == ["tiny"]
    assert {"type": "integer", "minimum": 1, "maximum": 64} in chat["max_tokens"]["anyOf"]
    assert {"type": "null"} in chat["max_tokens"]["anyOf"]
    answered = document["paths"]["/v1/chat/completions"]["post"]
    assert set(answered["responses"]) == {"200", "400", "401", "404", "413", "429", "500", "503"}
    assert "Retry-After" in answered["responses"]["429"]["headers"]
    assert answered["security"] == [{"key": []}]
    assert all("security" not in document["paths"][path]["get"] for path in PATHS)


def test_turns_that_the_document_allows_are_those_that_are_read():
    client = TestClient(application())
    schema = client.get("/openapi.json").json()["components"]["schemas"]["ChatRequest"]
    turns = Draft202012Validator(schema["properties"]["messages"])
    call = {"function": {"name": "f", "arguments": "{}"}}
    user = {"role": "user", "content": "hi"}
    for messages in (
        [user],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "system", "content": ""}, user],
        [{"role": "system", "content": "be kind"}],
        [{"role": "assistant", "content": None}],
        [{"role": "system", "content": [{"type": "text", "text": "be kind"}]}],
        [user, {"role": "assistant", "content": None, "tool_calls": [call]}],
        [user, {"role": "tool", "content": "", "tool_call_id": "1", "extra": None}],
        [],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": {}}],
        [{"role": "assistant", "content": {}, "tool_calls": [call]}],
        [{"role": "user", "content": "a\0b"}],
        [{"role": "user", "content": "hi", "extra": 1}],
        [{"role": "user", "content": "hi", "tool_calls": [call]}],
        [{"role": "user", "content": [{"type": "image_url", "text": "hi"}]}],
        [{"role": "system", "content": " "}],
        [{"role": "nobody", "content": "hi"}],
        [{"role": "tool", "content": "", "name": " "}],
    ):
        body = {"model": "tiny", "messages": messages}
        status = client.post("/v1/chat/completions", json=body).status_code
        assert status == (429 if turns.is_valid(messages) else 400), messages


def test_refusals_answer_as_documented():
    answer = TestClient(application()).post("/v1/chat/completions", json=HELLO)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert "access-control-allow-origin" not in answer.headers


def test_whole_numbers_are_integers():
    client = TestClient(application())
    assert client.post("/v1/feedback", json={"rating": 4.0}).status_code == 204
    assert client.post("/v1/feedback", json={"rating": 4.5}).status_code == 400
    assert client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 5.0}).status_code == 429


def test_every_path_answers_head_options_and_other_methods(app):
    client = TestClient(app)
    for route in app.routes:
        path = route.path.replace("{name}", "tiny")
        allowed = ", ".join(sorted({*route.methods, "OPTIONS"}))
        origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
        options = client.options(path, headers=origin)
        assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")
        other = client.request("PATCH", path)
        assert (other.status_code, other.headers["allow"]) == (405, allowed)
        answers = [options, other]
        if "GET" in route.methods:
            got, head = client.get(path, headers=origin), client.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
            answers += [got, head]
        for answer in answers:
            assert not any(name.startswith("access-control") for name in answer.headers), path


def test_pages_are_locked_down_and_open_without_a_key(monkeypatch):
    monkeypatch.setenv(API_KEY, "s3cret")
    client = TestClient(application())
    for path in pages.PATHS:
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", ""), (
            "nothing comes from elsewhere"
        )
    assert "tiny" not in client.get("/").text
    assert client.get("/v1/release").status_code == 401


def test_pages_can_be_left_out():
    client = TestClient(application(page=False))
    assert all(client.get(path).status_code == 404 for path in pages.PATHS)
    assert client.get("/openapi.json").status_code == 200


def test_release_is_described():
    described = TestClient(application("token-classification")).get("/v1/release").json()
    assert described["answers"] == "entities"
    assert described["digest"] == RELEASE.digest
    assert (described["metrics"], described["gates"]) == (RELEASE.metrics, RELEASE.gates)


@pytest.mark.parametrize("version", ["abc", "1.x", "", "1.0.0", "99"])
def test_scraper_with_any_version_gets_metrics(version):
    accept = f"application/openmetrics-text; version={version}"
    answer = TestClient(application()).get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert "gitune_ready" in answer.text
