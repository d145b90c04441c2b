"""API keys with limits, on a running server, as OpenAI's client sees them."""

import json

import openai
import pytest
from server_process import HELLO, Served, eventually, serving

from framework.core import metric_names as metrics
from framework.serving.access.key_file import hash_of


@pytest.fixture(scope="module")
def keyed(tiny_genai, tmp_path_factory):
    """A server with a file of keys, and the file."""
    folder = tmp_path_factory.mktemp("keyed")
    path = folder / "keys.json"
    write(path, {"name": "few", "hash": hash_of("few"), "tokens_per_minute": 40})
    with serving(tiny_genai, "genai", "causal-lm", folder, keys=str(path)) as served:
        yield served, path


def write(path, *entries) -> None:
    path.write_text(json.dumps({"keys": entries}))


def client(served: Served, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0, timeout=30)


def test_tokens_of_answers_are_counted_and_then_refused(keyed) -> None:
    served, _ = keyed
    asker = client(served, "few")
    answer = asker.chat.completions.with_raw_response.create(
        model="tiny", messages=HELLO, max_completion_tokens=16
    )
    used = answer.parse().usage.total_tokens
    assert answer.headers["x-ratelimit-limit-tokens"] == "40"
    assert used > 16
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 40

    def ask_on() -> None:
        for _ in range(10):
            asker.chat.completions.create(model="tiny", messages=HELLO, max_completion_tokens=16)

    with pytest.raises(openai.RateLimitError) as refusal:
        ask_on()
    assert refusal.value.code == "rate_limit_exceeded"
    assert 1 <= int(refusal.value.response.headers["Retry-After"]) <= 60
    assert served.sample(metrics.REQUESTS, 'code="429"', 'refused="rate_limit_exceeded"') == 1
    assert {model.id for model in asker.models.list()} == {"tiny"}, "only answers cost tokens"


def test_changed_file_is_used_without_a_restart(keyed) -> None:
    served, path = keyed
    with pytest.raises(openai.AuthenticationError):
        client(served, "new").models.list()
    write(path, {"name": "new", "hash": hash_of("new")})
    assert eventually(lambda: served.sample(metrics.KEY_RELOADS, 'result="loaded"') == 1)
    assert client(served, "new").chat.completions.create(model="tiny", messages=HELLO).usage
    with pytest.raises(openai.AuthenticationError):
        client(served, "few").models.list()
    assert served.sample(metrics.KEYS_REFUSED) == 0
    path.write_text("keys: [")
    assert eventually(lambda: served.sample(metrics.KEY_RELOADS, 'result="refused"') == 1)
    assert served.sample(metrics.KEYS_REFUSED) == 1
    assert client(served, "new").models.list()
