"""The server under load: tokens a CPU-second with 16 clients, beside one client and beside the bare engine.

The model is the quickstart's, tuned for one step, since only its speed matters. Servers run as a user starts
them, on one thread; their CPU time is that of the server and the model's process together. Takes minutes, and
downloads the model once.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from benchmarks.process import RUN, environment
from framework.build.engine import Batches
from framework.build.engine.batches import open_batches
from framework.serving.engine.tokenization import open_tokenizer, prompt_ids

_EXPORTS = {"onnx-genai": ("genai", 0.8), "openvino": ("openvino", 0.4)}
"""Each export: its engine, and the bound of the CPU time a token with 16 clients relative to one."""
_CLIENTS = 16
_REQUESTS = 32
_TOKENS = 64
_WORDS = (
    "river",
    "stone",
    "cloud",
    "bread",
    "music",
    "window",
    "garden",
    "paper",
    "engine",
    "silver",
    "bottle",
)
_CUT = ["training.max_steps=1", "gates.exact_match.min=0", "gates.stops.min=0", "gates.int4.agreement.min=0"]


@dataclass(frozen=True)
class Load:
    """What a number of clients measured together."""

    cpu_seconds_per_token: float
    first_token_seconds: float
    """The median."""
    tokens_per_second: float


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the figures of each export's server."""
    with tempfile.TemporaryDirectory() as name:
        for export, (engine, bound) in _EXPORTS.items():
            folder = Path(name)
            command = ["+recipe=quickstart", f"export={export}", f"name={engine}", *_CUT]
            subprocess.run(
                [*RUN, *command], cwd=folder, check=True, env=environment(), stdout=subprocess.DEVNULL
            )
            lock = json.loads(
                (folder / f"environments/dev/{engine}/release.lock").read_text(encoding="utf-8")
            )
            with _served(folder, command) as (url, pid):
                one, many = (load(url, pid, engine, clients) for clients in (1, _CLIENTS))
            model = folder / str(lock["model_uri"]).removeprefix("file://")
            bare = _bare(open_batches(engine, model, 1, _CLIENTS), model)
            yield f"{export}: CPU seconds a token, {_CLIENTS} clients / 1", _over(many, one), bound
            yield (
                f"{export}: CPU seconds a token, server / bare engine",
                many.cpu_seconds_per_token / bare,
                1 / 0.95,
            )
            yield f"{export}: tokens a CPU second, 1 client", 1 / one.cpu_seconds_per_token, None
            yield f"{export}: tokens a CPU second, {_CLIENTS} clients", 1 / many.cpu_seconds_per_token, None
            yield f"{export}: seconds to the first token, {_CLIENTS} clients", many.first_token_seconds, None


def load(url: str, pid: int, model: str, clients: int) -> Load:
    """Send ``_REQUESTS`` requests from *clients* clients; each sends its next when one is answered.

    Args:
        url: the server's.
        pid: its process.
        model: the release's name.
        clients: how many requests are open at once.
    """
    before, started = _cpu_seconds(pid), time.monotonic()
    tokens, first = asyncio.run(_ask_all(url, model, clients))
    seconds = time.monotonic() - started
    return Load((_cpu_seconds(pid) - before) / tokens, median(first), tokens / seconds)


async def _ask_all(url: str, model: str, clients: int) -> tuple[int, list[float]]:
    free, tokens, first = asyncio.Semaphore(clients), 0, list[float]()

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        nonlocal tokens
        body = {
            "model": model,
            "messages": [{"role": "user", "content": _prompt(number)}],
            "max_tokens": _TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with free:
            started, seen = time.monotonic(), False
            async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if not seen and '"content"' in line and '"content": ""' not in line:
                        seen = True
                        first.append(time.monotonic() - started)
                    if '"usage": {' in line:
                        tokens += json.loads(line.removeprefix("data: "))["usage"]["completion_tokens"]

    async with httpx.AsyncClient(timeout=600) as client:
        await asyncio.gather(*(ask(client, number) for number in range(_REQUESTS)))
    return tokens, first


def _prompt(number: int) -> str:
    first, second = _WORDS[number % len(_WORDS)], _WORDS[(number * 7 + 3) % len(_WORDS)]
    return f"Write a long story, number {number}, with a {first} and a {second} in it."


def _bare(batches: Batches, folder: Path) -> float:
    """Return the CPU seconds a token of the engine without a server, on the same requests."""
    tokenizer = open_tokenizer(folder)
    prompts = [prompt_ids(tokenizer, [{"role": "user", "content": _prompt(n)}]) for n in range(_REQUESTS)]
    waiting, running, tokens = list(enumerate(prompts)), 0, 0
    started = time.process_time()
    while waiting or running:
        while waiting and running < batches.width:
            batches.submit(*waiting.pop(0), _TOKENS)
            running += 1
        for progress in batches.step():
            tokens += len(progress.tokens)
            running -= progress.ended
    return (time.process_time() - started) / tokens


@contextlib.contextmanager
def _served(folder: Path, command: list[str]) -> Iterator[tuple[str, int]]:
    """Serve what *command* built, as a user does; yield the URL and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"serving.port={port}", "serving.threads=1", "serving.max_wait_seconds=600"]
    process = subprocess.Popen([*RUN, "serve", *command, *options], cwd=folder, env=environment())
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _over(one: Load, other: Load) -> float:
    return one.cpu_seconds_per_token / other.cpu_seconds_per_token


def _cpu_seconds(pid: int) -> float:
    """Return the user and system seconds of a process and of all that it has started and that run."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return own + sum(_cpu_seconds(int(child)) for child in children)
