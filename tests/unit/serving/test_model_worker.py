from pathlib import Path

import pytest

from framework.build.engine import open_engine
from framework.serving.model_worker import ChatWorker, ClassifyWorker, Shared
from framework.serving.tokenization import open_tokenizer

CALL = {
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [],
    "limit": (40, True),
    "stops": (),
    "sampling": {"temperature": 2.0, "top_p": 1.0, "seed": 1},
    "slot": 3,
}


@pytest.fixture
def shared():
    memory = Shared()
    yield memory
    memory.failure.close()
    memory.report.close()


@pytest.fixture
def worker(tiny_genai: Path, shared: Shared) -> ChatWorker:
    opened = ChatWorker(tiny_genai, "genai", 1, shared, stream=True)
    opened.tokenizer = open_tokenizer(tiny_genai)
    opened.engine = open_engine("genai", tiny_genai, 1)
    opened.context = 256
    return opened


def test_canceled_answer_ends_at_the_next_token(worker, shared) -> None:
    events = worker.predict(CALL)
    assert "prompt_tokens" in next(events)
    shared.cancelled[3] = 1
    assert list(events)[-1]["completion_tokens"] == 1
    assert list(worker.predict(CALL)) == []
    shared.cancelled[3] = 0
    assert list(worker.predict(CALL))[-1]["completion_tokens"] > 1


def test_answer_at_its_limit_reports_length(worker) -> None:
    *_, last = worker.predict({**CALL, "limit": (2, True)})
    assert last == {"finish_reason": "length", "completion_tokens": 2}


def test_default_limit_is_the_rest_of_the_context(worker) -> None:
    worker.context = 30
    first, *_, last = worker.predict({**CALL, "limit": (40, False)})
    assert last["completion_tokens"] <= 30 - first["prompt_tokens"]
    (refusal,) = worker.predict({**CALL, "limit": (40, True)})
    assert refusal["status"] == 400
    assert "the answer needs 40" in refusal["error"]["error"]["message"]


def test_what_the_template_ignores_is_refused(worker) -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    asked = {"role": "assistant", "content": "", "tool_calls": [tool]}
    for change, param in (
        ({"tools": [tool]}, "tools"),
        ({"messages": [*CALL["messages"], asked]}, "messages"),
    ):
        (refusal,) = worker.predict({**CALL, **change})
        assert (refusal["status"], refusal["error"]["error"]["param"]) == (400, param)
    users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    own, worker.tokenizer.chat_template = worker.tokenizer.chat_template, users
    (refusal,) = worker.predict({**CALL, "messages": [{"role": "system", "content": "s"}, *CALL["messages"]]})
    assert "'system'" in refusal["error"]["error"]["message"]
    worker.tokenizer.chat_template = own + "{{ tools }}{{ messages[-1].tool_calls }}"
    assert "prompt_tokens" in next(worker.predict({**CALL, "tools": [tool]}))


def test_too_long_text_does_not_fail_the_batch(tiny_bert: Path, shared: Shared) -> None:
    worker = ClassifyWorker(tiny_bert, "onnxruntime", 1, shared)
    worker.tokenizer = open_tokenizer(tiny_bert)
    worker.engine = open_engine("onnxruntime", tiny_bert, 1)
    worker.context = 32
    worker.warm_up()
    good, bad, other = worker.predict(["a good film", "film " * 60, "bad"])
    assert good["label"] in {"negative", "neutral", "positive"}
    assert bad["status"] == 400
    assert (good["batch"], other["batch"]) == (2, 2)
    assert worker.predict(["bad"])[0]["scores"] == pytest.approx(other["scores"], abs=1e-5)
