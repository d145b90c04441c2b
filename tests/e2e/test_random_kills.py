"""Thirty random kills of all that serves: nothing accepted is lost, answered twice or mixed up."""

import collections
import concurrent.futures
import contextlib
import json
import os
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from job_workers import WATCH
from restarted_parts import KEYS, PARTS, Parts, restarted_parts
from server_process import eventually
from webhook_receiver import SECRET, receiving

from framework.core import metric_names as metrics
from framework.serving.answers.answer_use import SOURCE
from framework.serving.jobs.schema import NAME
from framework.serving.jobs.settings import WEBHOOK_SECRET

SEED = int(os.environ.get("GITUNE_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS = 30
RECOVERY_SECONDS = 180
OPEN_JOBS = 12
"""Jobs that wait at once, so that the workers of a busy machine come to their end."""
CHAT = "/v1/chat/completions"
PROMPTS = [f"question {number} about word {number * 7 % 31}" for number in range(24)]
BUSY = (429, 503)
ENDED = ("completed", "incomplete")


def body(prompt: str, **more: object) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": prompt}], "max_tokens": 40, **more}


def text_of(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


class Load:
    """Clients, each in a thread, until ``stop`` is set."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self.url, self.folder = parts.served.url, folder
        self.stop = threading.Event()
        self.expected: dict[str, str] = {}
        self.jobs: dict[str, str] = {}
        """Prompts of the accepted jobs, by id."""
        self.wrong: list[object] = []
        self.seen: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def client(self, key: str) -> Iterator[httpx.Client]:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            yield client

    def chat(self, seed: int) -> None:
        """Ask for whole and for streamed answers, from the cache and from the model."""
        chance = random.Random(seed)
        with self.client(chance.choice(KEYS)) as client:
            while not self.stop.is_set():
                prompt, stream = chance.choice(PROMPTS), chance.random() < 0.5
                headers = {"Cache-Control": "no-store"} if chance.random() < 0.7 else {}
                try:
                    answer = client.post(CHAT, json=body(prompt, stream=stream), headers=headers)
                except httpx.TransportError:  # the server died; nobody was told that it is whole
                    self.seen["cut"] += 1
                    self.stop.wait(0.1)
                    continue
                if answer.status_code in BUSY:
                    self.refused(answer)
                elif answer.status_code != 200:
                    self.wrong.append((answer.status_code, answer.text))
                else:
                    self.answered(prompt, answer, stream)

    def refused(self, answer: httpx.Response) -> None:
        self.seen["refused"] += 1
        if "retry-after" not in answer.headers:
            self.wrong.append((answer.status_code, answer.text))
        self.stop.wait(0.1)

    def answered(self, prompt: str, answer: httpx.Response, stream: bool) -> None:
        if not stream:
            text = text_of(answer.json())
        else:
            events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
            if any("error" in json.loads(event) for event in events if event != "[DONE]"):
                self.seen["error event"] += 1  # it was told
                return
            if events[-1:] != ["[DONE]"]:
                self.wrong.append((prompt, "a stream that ends without a word", events[-1:]))
                return
            chunks = [json.loads(event)["choices"] for event in events[:-1]]
            text = "".join(choices[0]["delta"].get("content") or "" for choices in chunks if choices)
        self.seen[answer.headers[SOURCE]] += 1
        if text != self.expected[prompt]:
            self.wrong.append((prompt, text, self.expected[prompt]))

    def add_jobs(self, seed: int) -> None:
        """Leave jobs; each is sent until it is accepted, and some once more."""
        chance = random.Random(seed)
        with self.client(KEYS[0]) as client:
            while not self.stop.is_set():
                prompt, name = chance.choice(PROMPTS), str(uuid.UUID(int=chance.getrandbits(128)))
                ids = {self.accepted(client, prompt, name) for _ in range(chance.choice((1, 1, 2)))}
                if len(ids) != 1:
                    self.wrong.append((name, ids))
                self.jobs.update(dict.fromkeys(ids, prompt))
                while not self.stop.wait(chance.uniform(0, 0.4)) and self.open_jobs() >= OPEN_JOBS:
                    pass

    def open_jobs(self) -> int:
        """Return how many jobs have no result."""
        return sum(status in ("queued", "in_progress") for status, _ in all_jobs(self.folder).values())

    def accepted(self, client: httpx.Client, prompt: str, name: str) -> str:
        sent = {"url": CHAT, "body": body(prompt, temperature=0, n=1)}
        headers = {"Idempotency-Key": name}
        for _ in range(RECOVERY_SECONDS * 5):
            with contextlib.suppress(httpx.TransportError):
                reply = client.post("/v1/jobs", json=sent, headers=headers)
                if reply.status_code == 202:
                    return reply.json()["id"]
                if reply.status_code not in BUSY:
                    self.wrong.append((reply.status_code, reply.text))
            time.sleep(0.2)
        raise AssertionError("no job was accepted: the server did not recover")


def kill_at_random(parts: Parts, load: Load, folder: Path) -> None:
    """Kill each part equally often, in any order: some while others are down, some once all answer again."""
    chance = random.Random(SEED)
    deck = list(PARTS) * (KILLS // len(PARTS))
    chance.shuffle(deck)

    def answered() -> tuple[int, int]:
        return load.seen["bypassed"], sum(status in ENDED for status, _ in all_jobs(folder).values())

    for name in deck:
        if chance.random() < 0.5:
            before = answered()
            assert eventually(
                lambda before=before: all(a > b for a, b in zip(answered(), before, strict=True)),
                RECOVERY_SECONDS,
            ), f"no answer before {name} was killed"
        time.sleep(chance.uniform(0, 1))
        print(f"{time.strftime('%X')} kill {name}: {answered()}")
        # A part that is being started is killed as soon as it runs.
        assert eventually(lambda name=name: parts.kill(name), RECOVERY_SECONDS), name


def all_jobs(folder: Path) -> dict[str, tuple[str, str]]:
    """Return status and result of all jobs in the table."""
    with contextlib.closing(sqlite3.connect(folder / "jobs.sqlite", timeout=30)) as database:
        rows = database.execute(f"SELECT id, status, result FROM {NAME}")
        return {job_id: (status, result) for job_id, status, result in rows}


@pytest.mark.slow
def test_thirty_random_kills(tiny_genai, tmp_path, monkeypatch) -> None:
    print(f"GITUNE_KILL_SEED={SEED}")
    monkeypatch.setenv(WEBHOOK_SECRET, SECRET)
    with receiving() as receiver:
        hook = f"127.0.0.1:{receiver.port}"
        jobs = {
            **{"concurrency": 2, "lease_seconds": 3, "republish_seconds": 3, "max_attempts": 20},
            **{"webhook_hosts": [hook], "webhook_url": f"http://{hook}/"},
        }
        with restarted_parts(tiny_genai, tmp_path, **jobs) as parts:
            load = Load(parts, tmp_path)
            assert eventually(lambda: parts.served.status("/ready") == 200, 120)
            with load.client(KEYS[0]) as client:
                for prompt in PROMPTS:
                    load.expected[prompt] = text_of(client.post(CHAT, json=body(prompt)).json())
            assert len(set(load.expected.values())) > len(PROMPTS) / 2, "mixed up answers would show"
            assert eventually(lambda: (tmp_path / "jobs.sqlite").exists())
            with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
                database.executescript(WATCH)
            work = [load.chat] * 3 + [load.add_jobs]
            with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
                clients = [pool.submit(one, seed) for seed, one in enumerate(work)]
                try:
                    kill_at_random(parts, load, tmp_path)
                finally:
                    load.stop.set()
                for one in clients:
                    one.result()
            judge(parts, load, receiver.calls, tmp_path)


def judge(parts: Parts, load: Load, calls: list, folder: Path) -> None:
    started = time.monotonic()
    assert load.wrong == []

    assert eventually(lambda: load.open_jobs() == 0, RECOVERY_SECONDS), load.open_jobs()
    jobs = all_jobs(folder)
    assert set(jobs) == set(load.jobs), "each accepted job is there, and no other"
    assert {status for status, _ in jobs.values()} <= set(ENDED)
    answers = {job_id: text_of(json.loads(result)) for job_id, (_, result) in jobs.items()}
    assert answers == {job_id: load.expected[prompt] for job_id, prompt in load.jobs.items()}
    with contextlib.closing(sqlite3.connect(folder / "jobs.sqlite")) as database:
        seen = [job_id for (job_id,) in database.execute("SELECT id FROM seen")]
    assert sorted(seen) == sorted(jobs), "each result was written once"
    # Nobody helps, and all answer again: the model, Redis, the broker and the worker.
    served, again = parts.served, Load(parts, folder)
    again.expected = load.expected
    with again.client(KEYS[1]) as client:
        for expected in ("model", "redis"):
            assert eventually(lambda: source(client) == expected, RECOVERY_SECONDS)  # noqa: B023
        last = again.accepted(client, PROMPTS[0], "last")
    assert eventually(lambda: all_jobs(folder)[last][0] == "incomplete", RECOVERY_SECONDS)
    assert served.sample(metrics.BREAKER_OPEN, 'destination="redis"') == 0
    # Every end was told, each with one id.
    told: dict[str, set[str]] = collections.defaultdict(set)

    def all_told() -> bool:
        for _, headers, content in list(calls):
            told[json.loads(content)["data"]["id"]].add(headers["webhook-id"])
        return set(told) == {*jobs, last}

    assert eventually(all_told, RECOVERY_SECONDS)
    assert {len(ids) for ids in told.values()} == {1}
    # Only what was killed had to be started again; a server whose first engine is killed ends itself.
    ends, kills = (
        {name: getattr(part, which) for name, part in parts.watched.items()} for which in ("ends", "kills")
    )
    assert ends.pop("server") <= kills.pop("server") + KILLS // len(PARTS)
    assert ends == kills
    assert min(load.seen["bypassed"], load.seen["redis"], len(jobs)) > KILLS, load.seen
    print(dict(load.seen), len(jobs), "jobs,", round(time.monotonic() - started), "s until all was told")


def source(client: httpx.Client) -> str:
    """Return where an answer to a new question comes from, then to the same question."""
    with contextlib.suppress(httpx.TransportError):
        answer = client.post(CHAT, json=body("a new question"))
        return answer.headers.get(SOURCE, "")
    return ""
