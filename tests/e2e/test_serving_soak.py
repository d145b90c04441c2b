"""A server under mixed load, hostile clients and kills: answers stay right, memory stays flat."""

import concurrent.futures
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from server_process import Served, descendants, eventually, serving

from framework.core import metric_names as metrics
from framework.serving.telemetry.metrics import resident_bytes

SECONDS = float(os.environ.get("GITUNE_SOAK_SECONDS", "120"))
KILLS = 10
PROMPTS = [f"question {number} about word {number * 7 % 31}" for number in range(24)]
HOSTILE = [b"", b"{", b"\xff\xfe", b"null", b'{"model": 1}', b'{"model": "tiny", "messages": 5}', b"[" * 5000]
GROWTH = 64 * 2**20


def body(prompt: str, **more: object) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": prompt}], "max_tokens": 12, **more}


class Load:
    """Clients of one server, each in a thread, until ``stop`` is set."""

    def __init__(self, served: Served, expected: dict[str, str]) -> None:
        self.served, self.expected, self.stop = served, expected, threading.Event()
        self.answered = 0
        self.wrong: list[object] = []
        self._lock = threading.Lock()

    def ask(self, seed: int) -> None:
        """Ask for known answers; an engine that was killed may cost one, which is said by 503."""
        chance = random.Random(seed)
        with httpx.Client(base_url=self.served.url, timeout=60) as client:
            while not self.stop.is_set():
                prompt = chance.choice(PROMPTS)
                answer = client.post("/v1/chat/completions", json=body(prompt))
                if answer.status_code in (429, 503):
                    if "retry-after" not in answer.headers:
                        self.wrong.append(answer.text)
                    time.sleep(0.1)
                    continue
                text = answer.json()["choices"][0]["message"]["content"] if answer.is_success else answer.text
                with self._lock:
                    self.answered += answer.is_success
                if text != self.expected[prompt]:
                    self.wrong.append((answer.status_code, prompt, text))

    def leave(self, seed: int) -> None:
        """Leave in the middle of streams, and of requests."""
        chance = random.Random(seed)
        address = ("127.0.0.1", self.served.port)
        while not self.stop.is_set():
            with httpx.Client(base_url=self.served.url, timeout=60) as client:
                sent = body(chance.choice(PROMPTS), stream=True, temperature=1)
                with client.stream("POST", "/v1/chat/completions", json=sent) as answer:
                    next(answer.iter_raw(), None)
            with socket.create_connection(address) as half:
                half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
            time.sleep(0.05)

    def harass(self, seed: int) -> None:
        """Send what is no request; nothing of it may be the server's failure."""
        chance = random.Random(seed)
        with httpx.Client(base_url=self.served.url, timeout=60) as client:
            while not self.stop.is_set():
                answer = client.post("/v1/chat/completions", content=chance.choice(HOSTILE))
                if answer.status_code not in (400, 503):
                    self.wrong.append((answer.status_code, answer.text))
                time.sleep(0.05)

    def kill(self, seed: int) -> None:
        """Kill the model's process at random moments, once it has answered again."""
        chance = random.Random(seed)
        for number in range(KILLS):
            starts = number + 1
            if not eventually(lambda starts=starts: self.served.sample(metrics.ENGINE_STARTS) == starts, 60):
                self.wrong.append(f"no engine after kill {number}")
                return
            before = self.answered
            eventually(lambda before=before: self.answered > before or self.stop.is_set(), 60)
            self.stop.wait(chance.uniform(0, SECONDS / KILLS / 4))
            if self.stop.is_set():
                return
            for pid in descendants(self.served.process.pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_answers_stay_right_and_memory_flat(tiny_genai: Path, tmp_path: Path) -> None:
    options = {"max_batch_size": 4, "max_wait_seconds": 60, "receive_seconds": 2}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        client = httpx.Client(base_url=served.url, timeout=60)
        alone = {prompt: client.post("/v1/chat/completions", json=body(prompt)) for prompt in PROMPTS}
        expected = {
            prompt: answer.json()["choices"][0]["message"]["content"] for prompt, answer in alone.items()
        }
        assert len(set(expected.values())) > len(PROMPTS) / 2, "mixed up answers would show"
        load = Load(served, expected)
        work = [load.ask] * 6 + [load.leave, load.harass, load.kill]
        with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
            clients = [pool.submit(one, seed) for seed, one in enumerate(work)]
            time.sleep(SECONDS / 4)
            early = resident_bytes(served.process.pid)
            time.sleep(SECONDS * 3 / 4)
            load.stop.set()
            for one in clients:
                one.result()
        assert load.wrong == []
        assert load.answered > SECONDS
        assert resident_bytes(served.process.pid) - early < GROWTH
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == served.sample(metrics.WAITING) == 0)
        assert served.sample(metrics.REQUESTS, 'code="500"') == 0
        assert served.sample(metrics.ENGINE_STARTS) == KILLS + 1
        client.close()
