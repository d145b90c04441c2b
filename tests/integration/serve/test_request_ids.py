"""Request ids and the access log of a real server."""

import json

import httpx
from server_process import HELLO, serving

CHAT = "/v1/chat/completions"


def test_ids_are_in_every_answer_and_in_the_log(tiny_genai, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret")
    options = {"access_log": "json", "max_new_tokens": 16}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "user": "private"}
        wanted = [  # id, key, body, status
            ("whole", "s3cret", body, 200),
            ("stream", "s3cret", {**body, "stream": True}, 200),
            ("refused", "wrong", body, 401),
            ("broken", "s3cret", {"model": "tiny"}, 400),
            ("large", "s3cret", {**body, "user": "private" * 700_000}, 413),
        ]
        used = {}
        for name, key, content, status in wanted:
            headers = {"X-Request-Id": name, "Authorization": f"Bearer {key}"}
            answer = httpx.post(f"{served.url}{CHAT}", json=content, headers=headers)
            assert (answer.status_code, answer.headers["x-request-id"]) == (status, name)
            used[name] = answer.json()["usage"] if name == "whole" else None
        served.process.terminate()
        _, errors = served.process.communicate(timeout=20)
    lines = {line["id"]: line for line in map(json.loads, filter(is_json, errors.splitlines()))}
    assert {name: lines[name]["status"] for name, *_ in wanted} == {
        name: status for name, *_, status in wanted
    }
    assert all(lines[name]["route"] == CHAT for name in ("whole", "stream", "broken"))
    tokens = {"prompt_tokens", "completion_tokens"}
    assert {key: lines["whole"][key] for key in tokens} == {key: used["whole"][key] for key in tokens}
    assert lines["stream"]["completion_tokens"] == used["whole"]["completion_tokens"]
    assert lines["refused"]["completion_tokens"] == 0
    assert not any(word in errors for word in ("hello", "private", "s3cret"))


def is_json(line: str) -> bool:
    return line.startswith("{")
