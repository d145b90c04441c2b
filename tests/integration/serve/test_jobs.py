"""Background work of one server, without a broker."""

import contextlib
import functools
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import openai
import pytest
from server_process import HELLO, Served, eventually, serving, start, stopped

from framework.core import metric_names as metrics

CHAT = "/v1/chat/completions"
BODY = {"model": "tiny", "messages": HELLO, "max_tokens": 8}


@pytest.fixture(scope="module")
def served(tiny_genai, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("jobs")
    options = {"max_new_tokens": 200, "max_batch_size": 4, "jobs": {"concurrency": 2, "lease_seconds": 2}}
    with serving(tiny_genai, "genai", "causal-lm", folder, **options) as served:
        yield served


def add(served: Served, body: dict = BODY, **more: object) -> dict:
    reply = httpx.post(f"{served.url}/v1/jobs", json={"url": CHAT, "body": body, **more})
    assert reply.status_code == 202, reply.text
    return reply.json()


def job(served: Served, job_id: str) -> dict:
    return httpx.get(f"{served.url}/v1/jobs/{job_id}").json()


def ended(served: Served, job_id: str) -> dict:
    assert eventually(lambda: job(served, job_id)["status"] not in ("queued", "in_progress"))
    return job(served, job_id)


def test_a_job_has_the_answer_of_its_endpoint(served) -> None:
    before = served.sample(metrics.JOBS_ENDED, "incomplete")
    done = ended(served, add(served, metadata={"a": "b"})["id"])
    direct = httpx.post(f"{served.url}{CHAT}", json=BODY).json()
    assert (done["status"], done["metadata"], done["error"]) == ("incomplete", {"a": "b"}, None)
    assert done["result"]["choices"] == direct["choices"]  # greedy, cut at 8 tokens
    assert eventually(lambda: served.sample(metrics.JOBS_ENDED, "incomplete") == before + 1)
    # The model's route counts it.
    assert served.sample(metrics.REQUESTS, f'route="{CHAT}"', 'code="200"') >= 2


def test_a_refused_request_is_a_failed_job(served) -> None:
    done = ended(served, add(served, {**BODY, "max_tokens": 10**6})["id"])
    assert (done["status"], done["result"]) == ("failed", None)
    assert "max_tokens" in done["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"url": "/metrics", "body": {}}, "url"),
        ({"url": "/v1/embeddings", "body": {}}, "url"),
        ({"url": CHAT, "body": {**BODY, "stream": True}}, "body"),
        ({"url": "/v1/responses", "body": {"model": "tiny", "input": "x", "store": True}}, "body"),
        ({"url": CHAT, "body": {**BODY, "temperature": float("nan")}}, "body"),
        ({"url": CHAT, "body": BODY, "webhook": "http://169.254.169.254/latest"}, "webhook"),
        ({"url": CHAT, "body": BODY, "priority": 1}, "priority"),
    ],
)
def test_what_cannot_be_a_job_is_refused_at_once(served, sent, param) -> None:
    reply = httpx.post(f"{served.url}/v1/jobs", content=json.dumps(sent))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_an_idempotency_key_creates_one_job(served) -> None:
    def post(body):
        headers = {"Idempotency-Key": "once"}
        return httpx.post(f"{served.url}/v1/jobs", json={"url": CHAT, "body": body}, headers=headers)

    first, second, other = post(BODY), post(BODY), post({**BODY, "max_tokens": 9})
    assert (first.status_code, second.status_code, other.status_code) == (202, 202, 409)
    assert first.json()["id"] == second.json()["id"]
    empty = httpx.post(
        f"{served.url}/v1/jobs", json={"url": CHAT, "body": BODY}, headers={"Idempotency-Key": ""}
    )
    assert empty.status_code == 400


def test_cancelled_jobs_stop_or_never_run(served) -> None:
    long = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1, "max_tokens": 200}
    with stopped(served):
        ids = [add(served, long)["id"] for _ in range(3)]
        assert eventually(lambda: [job(served, each)["status"] for each in ids].count("in_progress") == 2)
        assert eventually(lambda: served.sample(metrics.JOBS_QUEUED) == 1)
        assert served.sample(metrics.JOBS_OLDEST_SECONDS) > 0
        for each in ids:
            reply = httpx.post(f"{served.url}/v1/jobs/{each}/cancel").json()
            assert (reply["status"], reply["result"]) == ("cancelled", None)
        # Their requests are ended, although the model does not move.
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 0)
    last = ended(served, add(served)["id"])
    assert last["status"] == "incomplete"
    assert [job(served, each)["status"] for each in ids] == ["cancelled"] * 3
    assert httpx.post(f"{served.url}/v1/jobs/{last['id']}/cancel").json()["status"] == "incomplete"


def test_openai_clients_use_background_responses(served) -> None:
    responses = served.client.responses
    created = responses.create(
        model="tiny", input="hello world", background=True, max_output_tokens=8, metadata={"k": "v"}
    )
    assert (created.status, created.background, created.output) == ("queued", True, [])

    def status():
        return responses.retrieve(created.id).status

    assert eventually(lambda: status() == "incomplete")
    done = responses.retrieve(created.id)
    direct = httpx.post(f"{served.url}{CHAT}", json=BODY).json()
    assert done.output_text == direct["choices"][0]["message"]["content"]
    assert (done.incomplete_details.reason, done.usage.output_tokens) == ("max_output_tokens", 8)
    assert done.metadata == {"k": "v"}

    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    text = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    asked = responses.create(model="tiny", input="hello", background=True, text=text)
    assert eventually(lambda: responses.retrieve(asked.id).status == "completed")
    assert isinstance(json.loads(responses.retrieve(asked.id).output_text)["a"], bool)

    parts = [{"role": "user", "content": [{"type": "input_text", "text": "hello world"}]}]
    again = responses.create(model="tiny", input=parts, background=True, max_output_tokens=8)
    assert eventually(lambda: responses.retrieve(again.id).output_text == done.output_text)

    with stopped(served):
        queued = responses.create(model="tiny", input="hello", instructions="be brief", background=True)
        assert responses.cancel(queued.id).status == "cancelled"
    assert responses.retrieve(queued.id).status == "cancelled"


def test_wrong_responses_are_refused_at_once(served) -> None:
    responses = served.client.responses
    with pytest.raises(openai.NotFoundError):
        responses.create(model="other", input="hello", background=True)
    with pytest.raises(openai.BadRequestError, match="max_completion_tokens"):
        responses.create(model="tiny", input="hello", background=True, max_output_tokens=10**6)
    with pytest.raises(openai.BadRequestError, match="store"):
        responses.create(model="tiny", input="hello", background=True, store=False)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve("resp_0")
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(add(served)["id"])


@contextlib.contextmanager
def started_again(folder: Path, port: int) -> Iterator[Served]:
    """Start a server on the files of an ended one; end it with the block."""
    process = start(folder)
    served = Served(process, port)
    try:
        assert eventually(lambda: served.status("/ready") == 200 or process.poll() is not None)
        yield served
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


@pytest.mark.slow
def test_jobs_survive_the_server(tiny_genai, tmp_path) -> None:
    """One server is killed within its jobs, the next is stopped; the third answers all of them."""

    def running(served):
        return [job(served, each)["status"] for each in ids].count("in_progress")

    options = {"max_new_tokens": 200, "grace_seconds": 0, "jobs": {"concurrency": 2, "lease_seconds": 1}}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served, stopped(served) as engine:
        ids = [add(served)["id"] for _ in range(4)]
        assert eventually(lambda: running(served) == 2)
        served.process.kill()
        os.kill(engine, signal.SIGKILL)
    with started_again(tmp_path, served.port) as second, stopped(second):
        assert eventually(lambda: second.sample(metrics.JOBS_TAKEN_BACK) == 2)
        assert eventually(lambda: running(second) == 2)
        second.process.terminate()
        assert eventually(lambda: second.process.poll() is not None)
    with started_again(tmp_path, served.port) as third:
        assert [ended(third, each)["status"] for each in ids] == ["incomplete"] * 4


def test_the_document_has_the_jobs(served) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    paths = document["paths"]
    assert {"post"} == set(paths["/v1/jobs"])
    assert {"get"} == set(paths["/v1/jobs/{id}"])
    taken = document["components"]["schemas"]["JobRequest"]["properties"]
    assert {CHAT, "/v1/completions", "/v1/responses"} < set(taken["url"]["enum"])
    assert taken["webhook"]["type"] == "null", "no host is called"
    schema = {
        **document,
        **paths["/v1/jobs/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"],
    }
    jsonschema.validate(job(served, add(served)["id"]), schema)


def test_without_the_option_there_are_no_jobs(chat) -> None:
    assert httpx.post(f"{chat.url}/v1/jobs", json={"url": CHAT, "body": BODY}).status_code == 404


@pytest.mark.slow
def test_jobs_count_against_the_limits_of_their_key(tiny_genai, tmp_path) -> None:
    def entry(name, secret, **limits):
        digest = hashlib.sha256(secret.encode()).hexdigest()
        return {"name": name, "hash": f"sha256:{digest}", **limits}

    def call(method, path, secret="a-secret", **sent):
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.request(method, f"{served.url}{path}", headers=headers, **sent)

    keys = tmp_path / "keys.json"
    both = [entry("a", "a-secret", requests_per_minute=2), entry("b", "b-secret")]
    keys.write_text(json.dumps({"keys": both}))
    jobs = {"max_seconds": 600, "concurrency": 1, "max_queued": 3}
    options = {"jobs": jobs, "keys": str(keys)}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        sent = {"json": {"url": CHAT, "body": BODY}}
        ids = [call("POST", "/v1/jobs", **sent).json()["id"] for _ in range(3)]

        def statuses():
            return sorted(call("GET", f"/v1/jobs/{each}").json()["status"] for each in ids)

        assert eventually(lambda: statuses() == ["incomplete", "incomplete", "queued"])
        assert call("POST", CHAT, json=BODY).status_code == 429  # the jobs have used it up
        assert call("GET", f"/v1/jobs/{ids[0]}", "b-secret").status_code == 404
        assert call("POST", CHAT, "b-secret", json=BODY).status_code == 200
        for status in (202, 202, 429):
            assert call("POST", "/v1/jobs", **sent).status_code == status
        other = call("POST", "/v1/jobs", "b-secret", **sent).json()["id"]  # does not wait for a's limit
        path = f"/v1/jobs/{other}"
        assert eventually(lambda: call("GET", path, "b-secret").json()["status"] == "incomplete", 10)


@pytest.mark.slow
def test_a_background_response_counts_once_against_the_limit(tiny_genai, tmp_path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    keys = tmp_path / "keys.json"
    entry = {"name": "a", "hash": f"sha256:{digest}", "requests_per_minute": 2}
    keys.write_text(json.dumps({"keys": [entry]}))
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, jobs={}, keys=str(keys)) as served:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="secret", max_retries=0)
        create = functools.partial(client.responses.create, model="tiny", input="a", max_output_tokens=4)
        names = [create(background=True).id for _ in range(2)]
        for name in names:
            assert eventually(lambda name=name: client.responses.retrieve(name).status == "incomplete", 10)
        with pytest.raises(openai.RateLimitError):
            create()
