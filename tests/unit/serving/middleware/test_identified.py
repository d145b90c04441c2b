import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient

from framework.serving.caller import Caller
from framework.serving.middleware.error_handlers import install_error_handlers
from framework.serving.middleware.identified import Identified
from framework.serving.request_record import current_request


def answer(request):
    current_request().prompt_tokens += 3
    request.state.caller = Caller("team-a")
    return PlainTextResponse(current_request().id)


def stream(request):
    async def pieces():
        for piece in "ab":
            await asyncio.sleep(0)
            yield piece + current_request().id

    return StreamingResponse(pieces())


def fail(request):
    raise RuntimeError("broken")


@pytest.fixture
def lines():
    return []


@pytest.fixture
def client(lines):
    app = Starlette(middleware=[Middleware(Identified, log=lines.append)])
    for path, call in (("/answer/{name}", answer), ("/stream", stream), ("/fail", fail)):
        app.add_route(path, call)
    install_error_handlers(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("name", ["a", "0", "3f2b-11:x_y.z", "r" * 128])
def test_well_formed_id_is_taken(client, name):
    answered = client.get("/answer/x", headers={"X-Request-Id": name})
    assert (answered.headers["x-request-id"], answered.text) == (name, name)


@pytest.mark.parametrize("name", ["", "r" * 129, "two words", "a\tb", '"quoted"', "-x", "ä".encode(), "a,b"])
def test_other_ids_are_replaced(client, name):
    answered = client.get("/answer/x", headers={"X-Request-Id": name})
    made = answered.headers["x-request-id"]
    assert made.startswith("req_")
    assert answered.text == made
    assert client.get("/answer/x").headers["x-request-id"] != made


def test_id_given_twice_is_replaced(client):
    answered = client.get("/answer/x", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert answered.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("path", "status"), [("/stream", 200), ("/nowhere", 404), ("/fail", 500)])
def test_every_answer_has_the_id(client, path, status):
    answered = client.get(path, headers={"X-Request-Id": "mine"})
    assert answered.status_code == status
    assert answered.headers.get_list("x-request-id") == ["mine"]
    assert path == "/nowhere" or "mine" in answered.text


def test_log_names_route_caller_and_tokens_but_no_path(client, lines):
    client.get("/answer/secret?text=secret", headers={"X-Request-Id": "mine"})
    client.get("/fail")
    client.get("/secret")
    first, failed, lost = lines
    assert first.pop("seconds") >= 0
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "id": "mine",
        "method": "GET",
        "route": "/answer/{name}",
        "status": 200,
        "caller": "team-a",
        "prompt_tokens": 3,
        "completion_tokens": 0,
        "adapter": None,
    }
    assert (failed["status"], failed["route"], failed["caller"]) == (500, "/fail", None)
    assert (lost["status"], lost["route"]) == (404, None)
    assert "secret" not in str(lines)


def test_client_that_left_is_logged_as_499(lines):
    async def cut(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"piece", "more_body": True})

    async def ignore(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(Identified(cut, lines.append)(scope, ignore, ignore))
    assert [line["status"] for line in lines] == [499]
