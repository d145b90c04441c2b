"""How a server ends: on signals, when it is killed, and when its model process dies."""

import os
import signal
import socket
import threading

import httpx
import openai
import pytest
from server_process import HELLO, Served, alive, descendants, eventually, serving, start, write_release

from framework.core import metric_names as metrics


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_leaves_no_child_and_no_port(tiny_genai, tmp_path, number, send) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        children = descendants(served.process.pid)
        assert len(children) >= 2, "the model's process and the queues are children"
        send(served.process.pid, number)
        _, errors = served.process.communicate(timeout=20)
        assert (served.process.returncode, errors.count("\n")) == (0, 1)
        assert errors.startswith("serving tiny on")
        assert eventually(lambda: not any(map(alive, children)), 5)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only a listener blocks the port
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
        # Sampled tokens rarely end early, so the answer is still running when the signal arrives.
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
        os.kill(worker, signal.SIGSTOP)  # so that the request is still waiting when the process dies
        asking = threading.Thread(target=ask)
        asking.start()
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 1)
        os.kill(worker, signal.SIGKILL)
        asking.join(20)
        assert isinstance(answers[0], openai.InternalServerError)
        _, errors = served.process.communicate(timeout=20)
        assert served.process.returncode == 1
        assert "-9" in errors
        assert "Traceback" not in errors
