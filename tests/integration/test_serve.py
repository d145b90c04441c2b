"""The command of the pods, as a process: a real port, real clients, real signals."""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import openai
import pytest

from framework.build.engine import open_engine
from framework.core import metric_names as metrics
from framework.core.modelstore import push
from framework.core.release import Release
from framework.serving.litserve import LitServe
from framework.serving.tokenization import open_tokenizer, prompt_ids

ROOT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "hello world"}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """Every process below *pid*, while their parents live."""
    found: set[int] = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= {int(child)} | descendants(int(child))
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=30)

    def status(self, path: str) -> int:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}{path}").status_code
        return 0

    def sample(self, name: str, *labels: str) -> float:
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(name) and all(label in line for label in labels):
                return float(line.rpartition(" ")[2])
        return 0.0


def write_release(model: Path, engine: str, task: str, place: Path, **options: object) -> int:
    """Publish *model* and write what the command reads; return the port."""
    zero = f"sha256:{'0' * 64}"
    uri, digest = push(model, f"{place}/store")
    release = Release(
        name="tiny",
        recipe="tiny",
        plan="0" * 64,
        model_uri=uri,
        digest=digest,
        engine=engine,
        task=task,
        base_model="random",
        base_model_license="none",
        data_digest=zero,
        chat_template_digest=None,
        metrics={},
        gates={},
        commit=None,
    )
    (place / "release.lock").write_text(release.text())
    port = free_port()
    serving = LitServe.model_validate({"port": port, "threads": 1, **options})
    (place / "serving.json").write_text(json.dumps(serving.dump()))
    return port


def start(place: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "framework.server", "--model", str(place / "model")]
    files = ["--release", str(place / "release.lock"), "--config", str(place / "serving.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *files, *more],
        cwd=place,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def serving(model: Path, engine: str, task: str, place: Path, **options: object) -> Iterator[Served]:
    port = write_release(model, engine, task, place, **options)
    process = start(place)
    served = Served(process, port)
    try:
        assert eventually(lambda: served.status("/ready") == 200 or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def chat(tiny_genai, tmp_path_factory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("chat")
    with serving(tiny_genai, "genai", "causal-lm", place, max_new_tokens=64) as served:
        yield served


@pytest.fixture(scope="module")
def expected(tiny_genai) -> tuple[int, list[int], str]:
    """What the engine itself answers: prompt length, tokens, text."""
    tokenizer = open_tokenizer(tiny_genai)
    prompt = prompt_ids(tokenizer, HELLO)
    tokens = list(open_engine("genai", tiny_genai, 1).generate(prompt, 24))
    assert len(tokens) > 8, "the tiny model must have something to say"
    return len(prompt), tokens, tokenizer.decode(tokens, skip_special_tokens=True)


def test_answer_and_usage_equal_the_engines(chat, expected) -> None:
    prompt, tokens, text = expected
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == ("length" if len(tokens) == 24 else "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, len(tokens))
    assert answer.usage.total_tokens == prompt + len(tokens)


def test_stream_is_the_same_answer_in_pieces(chat, expected) -> None:
    prompt, tokens, text = expected
    chunks = list(
        chat.client.chat.completions.create(
            model="tiny",
            messages=HELLO,
            max_completion_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (prompt, len(tokens))


def test_stream_ends_with_done(chat) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stream": True}
    answer = httpx.post(f"{chat.url}/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_stop_text_ends_the_answer(chat, expected) -> None:
    text = expected[2]
    stop = text[2:4]
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24, stop=stop)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_temperature_enables_sampling(chat, expected) -> None:
    def ask(**options) -> str | None:
        given = {"model": "tiny", "messages": HELLO, "max_tokens": 24, **options}
        return chat.client.chat.completions.create(**given).choices[0].message.content

    assert ask(temperature=0) == expected[2]
    assert ask(temperature=2, seed=1) == ask(temperature=2, seed=1)
    assert ask(temperature=2, seed=1) != ask(temperature=2, seed=2)


def test_model_is_listed(chat) -> None:
    (model,) = chat.client.models.list().data
    assert (model.id, model.owned_by) == ("tiny", "gitune")
    assert chat.client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        chat.client.models.retrieve("gpt-4")


def test_errors_are_those_of_openais_client(chat) -> None:
    ask = chat.client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(model="gpt-4", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as negative:
        ask(model="tiny", messages=HELLO, max_tokens=-1)
    assert negative.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as long:
        ask(model="tiny", messages=[{"role": "user", "content": "hello " * 300}])
    assert long.value.code == "context_length_exceeded"
    assert "context is 256 tokens" in long.value.message
    with pytest.raises(openai.BadRequestError, match="context is 256"):
        ask(model="tiny", messages=[{"role": "user", "content": "z" * 200}], max_tokens=60, stream=True)
    for path, code in (("/v1/nothing", 404), ("/v1/chat/completions", 405)):
        answer = httpx.get(f"{chat.url}{path}")
        assert answer.status_code == code
        assert answer.json()["error"]["type"] == "invalid_request_error"
    huge = httpx.post(f"{chat.url}/v1/chat/completions", content=b" " * (5 * 2**20))
    assert huge.status_code == 413


def test_concurrent_requests_get_their_own_answers(chat) -> None:
    texts = [f"hello {word}" for word in ("a", "b", "c", "d", "e", "f")]

    def ask(text: str) -> str | None:
        given = [{"role": "user", "content": text}]
        answer = chat.client.chat.completions.create(model="tiny", messages=given, max_tokens=16)
        return answer.choices[0].message.content

    alone = [ask(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, texts)) == alone
    assert len(set(alone)) > 1


def test_metrics_count_requests(chat, expected) -> None:
    before = {name: chat.sample(name) for name in (metrics.PROMPT_TOKENS, metrics.COMPLETION_TOKENS)}
    ok = (f'code="{200}"', 'route="/v1/chat/completions"')
    answered = chat.sample(metrics.REQUESTS, *ok)
    chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    with pytest.raises(openai.NotFoundError):
        chat.client.chat.completions.create(model="none", messages=HELLO)
    assert chat.sample(metrics.REQUESTS, *ok) == answered + 1
    assert chat.sample(metrics.REQUESTS, 'code="404"') >= 1
    assert chat.sample(metrics.PROMPT_TOKENS) == before[metrics.PROMPT_TOKENS] + expected[0]
    assert chat.sample(metrics.COMPLETION_TOKENS) == before[metrics.COMPLETION_TOKENS] + len(expected[1])
    assert chat.sample(f"{metrics.FIRST_TOKEN_SECONDS}_count") >= 1
    assert chat.sample(metrics.IN_FLIGHT) == 0
    assert chat.sample(metrics.READY) == 1
    assert chat.sample(metrics.RELEASE_INFO, 'release="tiny"', 'engine="genai"') == 1
    assert chat.sample(metrics.WAITING) == chat.sample(metrics.OLDEST_WAITING_SECONDS) == 0
    # The model's process holds an engine and a tokenizer, the server's neither.
    assert chat.sample(metrics.MEMORY_BYTES, 'process="model"') > 20e6
    assert chat.sample(metrics.MEMORY_BYTES, 'process="server"') > 20e6


def test_lengths_and_bad_answers_are_counted(chat, expected) -> None:
    def counted(name: str) -> tuple[float, float]:
        return chat.sample(f"{name}_count"), chat.sample(f"{name}_sum")

    read, written = counted(metrics.REQUEST_PROMPT_TOKENS), counted(metrics.REQUEST_COMPLETION_TOKENS)
    cut = chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"')
    body = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
    # Drawn tokens seldom end early: the first answer runs into its client's limit, the second into ours.
    asked = httpx.post(f"{chat.url}/v1/chat/completions", json={**body, "max_tokens": 8}).json()
    assert asked["choices"][0]["finish_reason"] == "length"
    assert chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"') == cut
    assert counted(metrics.REQUEST_PROMPT_TOKENS) == (read[0] + 1, read[1] + expected[0])
    assert counted(metrics.REQUEST_COMPLETION_TOKENS) == (written[0] + 1, written[1] + 8)
    for run in (1, 2):
        assert httpx.post(f"{chat.url}/v1/chat/completions", json=body).status_code == 200
        assert chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"') == cut + run
        assert chat.sample(metrics.BAD_OUTPUTS_IN_A_ROW) == run
    httpx.post(f"{chat.url}/v1/chat/completions", json={**body, "max_tokens": 8})
    assert chat.sample(metrics.BAD_OUTPUTS_IN_A_ROW) == 0
    assert chat.sample(f"{metrics.OUTPUT_DIVERSITY}_count") >= 4


def test_feedback_is_counted_by_version(chat) -> None:
    def report(**body: object) -> httpx.Response:
        return httpx.post(f"{chat.url}/v1/feedback", json=body)

    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    version = f'version="{str(answer.system_fingerprint).removeprefix("fp_")}"'
    assert report(completed=True, converted=False, rating=4).status_code == 204
    assert report(completed=False, system_fingerprint=answer.system_fingerprint).status_code == 204
    for answered, times in (("yes", 1), ("no", 1)):
        labels = ('question="completed"', f'answer="{answered}"', version)
        assert chat.sample(metrics.FEEDBACK, *labels) == times
    assert chat.sample(metrics.FEEDBACK, 'question="converted"', 'answer="no"') == 1
    assert chat.sample(f"{metrics.RATING}_sum", version) == 4
    assert report(completed=True, system_fingerprint=f"fp_{'a' * 12}").status_code == 204
    assert chat.sample(metrics.FEEDBACK, f'version="{"a" * 12}"') == 1
    for wrong in ({}, {"completed": "yes"}, {"rating": 6}, {"comment": "fine"}):
        refused = report(**wrong)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_disconnect_cancels_the_answer(chat, expected, stream) -> None:
    # Drawn tokens seldom end early, so that each of these answers would be long.
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 64, "temperature": 2, "seed": 1}
    started = time.monotonic()
    httpx.post(f"{chat.url}/v1/chat/completions", json=body)
    one = time.monotonic() - started
    raw = json.dumps({**body, "stream": stream}).encode()
    given_up = chat.sample(metrics.TIMEOUTS)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", chat.port)) as line:
            line.sendall(head.encode() + raw)
    started = time.monotonic()
    assert eventually(lambda: chat.sample(metrics.IN_FLIGHT) == 0)
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    assert answer.choices[0].message.content == expected[2]
    assert time.monotonic() - started < 10 * one, "the model went on with answers that nobody waits for"
    assert eventually(lambda: chat.sample(metrics.TIMEOUTS) > given_up)
    assert eventually(lambda: chat.sample(metrics.WAITING) == 0)


def test_classify_equals_the_engine_and_shares_batches(tiny_bert, tmp_path) -> None:
    options = {"max_batch_size": 8, "batch_timeout": 0.3}
    texts = ["a good film", "a bad film", "fine", "a a a film good"]
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path, **options) as served:
        tokenizer = open_tokenizer(tiny_bert)
        rows = [tokenizer(text)["input_ids"] for text in texts]
        scores = open_engine("onnxruntime", tiny_bert, 1).classify(rows)
        names = ["negative", "neutral", "positive"]

        def ask(given: object) -> httpx.Response:
            return httpx.post(f"{served.url}/v1/classify", json={"input": given}, timeout=20)

        together = ask(texts).json()
        assert [row["label"] for row in together["data"]] == [names[best] for best in scores.argmax(-1)]
        assert sum(together["data"][0]["scores"].values()) == pytest.approx(1)
        assert together["usage"]["prompt_tokens"] == sum(map(len, rows))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            apart = [answer.json()["data"][0] for answer in pool.map(ask, texts)]
        for one, other in zip(apart, together["data"], strict=True):
            assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert served.sample(f"{metrics.BATCH_ROWS}_bucket", 'le="1.0"') < 4, "nothing was batched"
        long = ask(["fine", "film " * 60])
        assert long.status_code == 400
        assert "context is 32" in long.json()["error"]["message"]
        assert ask([]).status_code == 400
        assert httpx.post(f"{served.url}/v1/chat/completions", json={}).status_code == 404


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_leaves_no_child_and_no_port(tiny_genai, tmp_path, number, send) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        children = descendants(served.process.pid)
        assert len(children) >= 2, "the model's process and the queues"
        send(served.process.pid, number)
        _, said = served.process.communicate(timeout=20)
        assert (served.process.returncode, said.count("\n")) == (0, 1)
        assert said.startswith("serving tiny on")
        assert eventually(lambda: not any(map(alive, children)), 5)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not what lingers, only listeners
            probe.bind(("127.0.0.1", served.port))


def test_signal_while_loading_leaves_no_child(tiny_genai, tmp_path) -> None:
    port = write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    served = Served(start(tmp_path), port)
    assert eventually(lambda: served.status("/health") == 200)
    assert served.status("/ready") == 503
    waiting = httpx.post(f"{served.url}/v1/chat/completions", json={"model": "tiny", "messages": HELLO})
    assert (waiting.status_code, waiting.json()["error"]["code"]) == (503, "loading")
    children = descendants(served.process.pid)
    served.process.terminate()
    assert served.process.communicate(timeout=20)[1] == ""
    assert served.process.returncode == 0
    assert eventually(lambda: not any(map(alive, children)), 5)


def test_running_answer_finishes_after_sigterm(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, max_new_tokens=200) as served:
        # Drawn tokens seldom end early, so that the answer is still running when the signal comes.
        options = {"max_tokens": 200, "temperature": 2, "seed": 5, "stream": True}
        stream = served.client.chat.completions.create(model="tiny", messages=HELLO, **options)
        next(iter(stream))
        served.process.send_signal(signal.SIGTERM)
        assert list(stream)[-1].choices[0].finish_reason in {"stop", "length"}
        assert served.process.wait(20) == 0


def test_children_end_with_a_killed_server(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        children = descendants(served.process.pid)
        served.process.kill()
        assert eventually(lambda: not any(map(alive, children)), 10)


def test_server_ends_when_its_model_process_dies(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, max_new_tokens=200) as served:
        answers: list[object] = []

        def ask() -> None:
            try:
                answers.append(served.client.chat.completions.create(model="tiny", messages=HELLO))
            except openai.OpenAIError as error:
                answers.append(error)

        worker = max(descendants(served.process.pid))
        os.kill(worker, signal.SIGSTOP)  # so that the question is still waiting when the process dies
        asking = threading.Thread(target=ask)
        asking.start()
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 1)
        os.kill(worker, signal.SIGKILL)
        asking.join(20)
        assert isinstance(answers[0], openai.InternalServerError)
        _, said = served.process.communicate(timeout=20)
        assert served.process.returncode == 1
        assert "exit code -9" in said
        assert "Traceback" not in said


def failing(place: Path, *more: str) -> tuple[int, str]:
    process = start(place, *more)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_unservable_release_is_reported_in_one_line(tiny_genai, tmp_path) -> None:
    port = write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        code, said = failing(tmp_path)
        assert (code, said.count("\n")) == (1, 1)
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    broken = shutil.copytree(tiny_genai, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"not a graph")
    write_release(broken, "genai", "causal-lm", tmp_path)
    code, said = failing(tmp_path)
    assert (code, said.count("\n")) == (1, 1)
    assert "onnxruntime-genai cannot open it" in said


def test_fetch_only_fetches_and_verifies(tiny_genai, tmp_path) -> None:
    write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    assert failing(tmp_path, "--fetch-only") == (0, "")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == (tiny_genai / "model.onnx").read_bytes()
    shutil.rmtree(tmp_path / "model")
    (published,) = (tmp_path / "store").iterdir()
    (published / "model.onnx").write_bytes(b"tampered")
    code, said = failing(tmp_path, "--fetch-only")
    assert (code, said.count("\n")) == (1, 1)
    assert "model.onnx: altered" in said
    assert not (tmp_path / "model").exists()


def test_api_key_is_required_of_openais_client(tiny_genai, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret\n")  # as an editor leaves it in a Secret's file
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            served.client.models.list()
        with served.client.with_options(api_key="s3cret") as client:
            answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        assert served.status("/metrics") == 200


def test_check_only_verifies_without_fetching(tiny_genai, tmp_path) -> None:
    write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    shutil.copytree(tiny_genai, tmp_path / "model")
    shutil.rmtree(tmp_path / "store")
    assert failing(tmp_path, "--check-only") == (0, "")
    (tmp_path / "model" / "model.onnx").write_bytes(b"tampered")
    code, said = failing(tmp_path, "--check-only")
    assert (code, said.count("\n")) == (1, 1)
    assert "the release asks for sha256:" in said
