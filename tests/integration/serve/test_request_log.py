"""The request log of a running server."""

import json
import os
import signal

import httpx
import pytest
from server_process import HELLO, eventually, serving

from framework.build.data.requests import Requests
from framework.core import metric_names as metrics
from framework.requestlog.log_folder import LogFolder

MAIL = [{"role": "user", "content": "hello, I am\nann@example.com"}]


def rows(folder, table="requests"):
    return [row for _, _, row in LogFolder(str(folder)).read(table)]


def test_answers_and_feedback_are_logged_masked_and_flushed_at_the_end(tiny_genai, tmp_path):
    log = tmp_path / "log"
    options = {"request_log": {"folder": str(log), "flush_seconds": 3600}, "max_new_tokens": 16}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        whole = served.client.chat.completions.create(model="tiny", messages=MAIL, max_tokens=4)
        stream = served.client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        pieces = list(stream)
        refused = httpx.post(f"{served.url}/v1/chat/completions", json={"model": "none", "messages": HELLO})
        assert refused.status_code == 404
        said = {"id": whole.id, "rating": 2, "comment": "no", "correction": "ask bob@example.com"}
        assert httpx.post(f"{served.url}/v1/feedback", json=said).status_code == 204
        no_id = httpx.post(f"{served.url}/v1/feedback", json={"correction": "so"})
        assert no_id.status_code == 400
        text = "hello, I am ann@example.com"
        ids = httpx.post(f"{served.url}/tokenize", json={"prompt": text}).json()["tokens"]
        for prompt in (text, ids):
            continued = served.client.completions.create(model="tiny", prompt=prompt, max_tokens=4)
            assert not continued.choices[0].text.startswith("hello")
        response = served.client.responses.create(model="tiny", input="hello world")
        assert not list(log.rglob("*.parquet"))
    first, second, *continuations, third = rows(log)
    assert [row["text"] for row in continuations] == ["hello, I am [EMAIL]"] * 2
    assert [row["answer"] for row in continuations] == [continued.choices[0].text] * 2
    assert (third["id"], json.loads(third["messages"])) == (response.id, HELLO)
    assert (first["id"], second["id"]) == (whole.id, pieces[0].id)
    assert json.loads(first["messages"]) == [{"role": "user", "content": "hello, I am\n[EMAIL]"}]
    assert first["answer"] == whole.choices[0].message.content
    assert second["answer"] == "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert (first["completion_tokens"], first["finish_reason"]) == (4, "length")
    assert first["prompt_tokens"] == whole.usage.prompt_tokens
    assert first["route"] == "/v1/chat/completions"
    assert first["digest"].removeprefix("sha256:").startswith(whole.system_fingerprint.removeprefix("fp_"))
    assert 0 < first["first_token_seconds"] <= first["seconds"]
    (report,) = rows(log, "feedback")
    assert (report["id"], report["rating"], report["comment"]) == (whole.id, 2, "no")
    assert report["correction"] == "ask [EMAIL]"
    data = Requests(log=str(log))
    (line,) = [*data.read("train"), *data.read("test")]
    assert [turn["content"] for turn in line.raw["messages"]] == ["hello, I am\n[EMAIL]", "ask [EMAIL]"]
    assert line.raw["metadata"] == {"id": whole.id, "digest": first["digest"], "source": "correction"}
    assert data.left_out() == {"a continued text, and no conversation": 2, "bad or cut answer": 2}


def test_a_killed_server_loses_only_what_was_not_written_yet(tiny_genai, tmp_path):
    log = tmp_path / "log"
    options = {"request_log": {"folder": str(log), "flush_seconds": 0.2}, "max_new_tokens": 4}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        for _ in range(3):
            served.client.chat.completions.create(model="tiny", messages=HELLO)
        written = ('table="requests"', 'outcome="written"')
        assert eventually(lambda: served.sample(metrics.LOGGED_ROWS, *written) == 3)
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait()
    assert len(rows(log)) == 3
    assert not [file for file in log.rglob("*") if file.is_file() and file.suffix != ".parquet"]


@pytest.mark.slow
def test_classified_texts_are_logged_one_by_one(tiny_bert, tmp_path):
    log = tmp_path / "log"
    options = {"request_log": {"folder": str(log)}}
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path, **options) as served:
        one, two = (
            httpx.post(f"{served.url}/v1/classify", json={"input": texts}).json()
            for texts in ("a good film", ["fine", "a bad film"])
        )
    found = rows(log)
    assert [row["text"] for row in found] == ["a good film", "fine", "a bad film"]
    assert [row["answer"] for row in found] == [each["label"] for each in (*one["data"], *two["data"])]
    assert [row["score"] for row in found] == [each["score"] for each in (*one["data"], *two["data"])]
    assert [row["id"] for row in found] == [one["id"], f"{two['id']}-0", f"{two['id']}-1"]


@pytest.mark.slow
def test_background_response_is_logged_with_the_id_that_its_client_knows(tiny_genai, tmp_path):
    log = tmp_path / "log"
    options = {"request_log": {"folder": str(log)}, "jobs": {}, "max_new_tokens": 4}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        responses = served.client.responses
        name = responses.create(model="tiny", input="hello world", background=True).id
        assert eventually(lambda: responses.retrieve(name).status == "incomplete")
    assert [row["id"] for row in rows(log)] == [name]
