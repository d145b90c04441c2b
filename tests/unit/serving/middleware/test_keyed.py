import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from framework.serving.api.probes import PATHS
from framework.serving.middleware.keyed import Keyed


@pytest.fixture
def client():
    app = Starlette()
    for path in (*PATHS, "/v1/models"):
        app.add_route(path, lambda request: PlainTextResponse("answered"))
    app.add_middleware(Keyed, key="s3cret-ä", open_paths=PATHS)
    return TestClient(app)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer s3cret-",
        "Basic s3cret-ä",
        "s3cret-ä",
        "Bearer s3cret-ä more",
    ],
)
def test_wrong_key_is_rejected_as_openai_does(client, header):
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = client.get("/v1/models", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert error["code"] == "invalid_api_key"
    assert error["type"] == "invalid_request_error"
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_right_key_is_accepted(client, scheme):
    headers = {"Authorization": f"{scheme} s3cret-ä".encode()}
    assert client.get("/v1/models", headers=headers).text == "answered"


@pytest.mark.parametrize("path", PATHS)
def test_probes_and_scrapers_need_no_key(client, path):
    assert client.get(path).text == "answered"
    assert client.get(f"{path}/v1/models").status_code == 401
