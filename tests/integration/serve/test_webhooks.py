"""Webhooks of background jobs: real calls, checked by OpenAI's client."""

from collections.abc import Iterator

import httpx
import openai
import pytest
from server_process import HELLO, Served, eventually, serving
from webhook_receiver import SECRET, Receiver, receiving

from framework.core import metric_names as metrics
from framework.serving.jobs.settings import WEBHOOK_SECRET

pytestmark = pytest.mark.slow

BODY = {"model": "tiny", "messages": HELLO, "max_tokens": 8}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def served(tiny_genai, tmp_path_factory, receiver) -> Iterator[Served]:
    url = f"http://127.0.0.1:{receiver.port}/responses"
    jobs = {"webhook_hosts": [f"127.0.0.1:{receiver.port}"], "webhook_url": url}
    folder = tmp_path_factory.mktemp("webhooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WEBHOOK_SECRET, SECRET)
        with serving(tiny_genai, "genai", "causal-lm", folder, jobs=jobs) as served:
            yield served


def test_openai_clients_accept_the_call(served, receiver) -> None:
    receiver.calls.clear()
    created = served.client.responses.create(
        model="tiny", input="hello world", background=True, max_output_tokens=8
    )
    assert eventually(lambda: len(receiver.calls) == 1)
    [(path, headers, body)] = receiver.calls
    event = served.client.webhooks.unwrap(body, headers, secret=SECRET)
    assert (path, event.type, event.data.id) == ("/responses", "response.incomplete", created.id)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        served.client.webhooks.unwrap(body.replace(b"resp_", b"resp-"), headers, secret=SECRET)
    assert b"content" not in body  # the answer is fetched with a key


def test_a_failed_call_is_made_again_and_a_redirect_is_not_followed(served, receiver) -> None:
    receiver.calls.clear()
    receiver.codes[:] = [307]
    sent = {"url": "/v1/chat/completions", "body": BODY}
    own = f"http://127.0.0.1:{receiver.port}/own"
    reply = httpx.post(f"{served.url}/v1/jobs", json={**sent, "webhook": own})
    assert reply.status_code == 202
    assert eventually(lambda: len(receiver.calls) == 2)
    first, second = (served.client.webhooks.unwrap(c[2], c[1], secret=SECRET) for c in receiver.calls)
    assert [path for path, _, _ in receiver.calls] == ["/own", "/own"]
    assert first.id == second.id
    assert first.data.id == reply.json()["id"]
    assert first.type == "job.incomplete"
    assert served.sample(metrics.WEBHOOK_CALLS, 'outcome="failed"') == 1
    assert eventually(lambda: served.sample(metrics.WEBHOOK_CALLS, 'outcome="ok"') >= 1)


def test_other_hosts_are_refused(served) -> None:
    for url in ("http://127.0.0.1/", "http://localhost:1/", "ftp://127.0.0.1/", "http://[::1]/", "x"):
        sent = {"url": "/v1/chat/completions", "body": BODY, "webhook": url}
        reply = httpx.post(f"{served.url}/v1/jobs", json=sent)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "webhook_refused")
