import json

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from framework.serving.access.allowance import Allowances
from framework.serving.access.key_file import hash_of
from framework.serving.access.keys import Keys
from framework.serving.api.probes import PATHS
from framework.serving.caller import caller_of
from framework.serving.middleware.keyed import Keyed
from framework.serving.middleware.limited import Limited


@pytest.fixture
def client():
    app = Starlette()
    for path in (*PATHS, "/v1/models"):
        app.add_route(path, lambda request: PlainTextResponse("answered"))
    app.add_middleware(Keyed, keys=Keys("s3cret-ä", None, print), open_paths=PATHS)
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


def test_limits_of_a_key_are_told_and_kept_and_refusals_are_free(tmp_path):
    path, status = tmp_path / "keys.json", [200]
    entries = [
        {"name": "app", "hash": hash_of("k1"), "requests_per_minute": 2, "tokens_per_minute": 90},
        {"name": "old", "hash": hash_of("k2"), "expires": "2020-01-01T00:00:00Z"},
    ]
    path.write_text(json.dumps({"keys": entries}))
    app = Starlette()
    app.add_route("/chat", lambda request: PlainTextResponse(caller_of(request).name, status[0]))
    app.add_middleware(Limited, allowances=Allowances(clock=lambda: 0.0), routes=["/chat"])
    app.add_middleware(Keyed, keys=Keys("single", path, print), open_paths=PATHS)
    client = TestClient(app)

    def ask(key):
        return client.get("/chat", headers={"Authorization": f"Bearer {key}"})

    assert ask("k2").status_code == 401
    first = ask("k1")
    assert first.text == "app"
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "30.000s"
    assert first.headers["x-ratelimit-remaining-tokens"] == "90"
    status[0] = 503
    assert ask("k1").headers["x-ratelimit-remaining-requests"] == "1", "the server refused it"
    status[0] = 200
    assert ask("k1").status_code == 200
    refused = ask("k1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["Retry-After"] == "30"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert [ask("single").status_code for _ in range(5)] == [200] * 5
    assert not [name for name in ask("single").headers if name.startswith("x-ratelimit")]
