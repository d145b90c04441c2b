"""The server under load, beside one client, beside the bare engine, and beside itself at less load.

The model is the quickstart's, tuned for one step, since only its speed matters. Servers run as a user starts
them, on one thread; their CPU time is that of the server and the model's process together. Takes a quarter of
an hour, and downloads the model once.
"""

import contextlib
import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from benchmarks.process import RUN, environment
from benchmarks.served import REQUESTS, Server, cost, served
from benchmarks.serving_load import TOKENS, Seen, at_rate, from_clients, prompt
from framework.build.engine import Batches
from framework.build.engine.batches import open_batches
from framework.serving.engine.tokenization import open_tokenizer, prompt_ids

_EXPORTS = {"onnx-genai": ("genai", 0.8), "openvino": ("openvino", 0.4)}
"""Each export: its engine, and the bound of the CPU time a token with 16 clients relative to one."""
_CLIENTS = 16
_ACCEPTED = 24
"""Requests that are open when the server is told to end."""
_SECONDS = 40.0
"""How long requests arrive at each rate."""
SHORT = ["training.max_steps=1", "gates.exact_match.min=0", "gates.stops.min=0", "gates.int4.agreement.min=0"]
"""The quickstart with one step of training, whatever its answers are."""
Row = tuple[str, float, float | None]


def measure() -> Iterator[Row]:
    """Yield the figures of each export's server, then those of a loaded one."""
    with tempfile.TemporaryDirectory() as name:
        for export, (engine, bound) in _EXPORTS.items():
            folder, command = Path(name), ["+recipe=quickstart", f"export={export}", f"name={engine}", *SHORT]
            subprocess.run(
                [*RUN, *command], cwd=folder, check=True, env=environment(), stdout=subprocess.DEVNULL
            )
            lock = json.loads((folder / f"environments/dev/{engine}/release.lock").read_text("utf-8"))
            model = folder / str(lock["model_uri"]).removeprefix("file://")
            with served(folder, command, engine, "serving.max_wait_seconds=600") as server:
                yield from _together(server, export, bound, open_batches(engine, model, 1, _CLIENTS), model)
        yield from _loaded(folder, command, engine)
        yield from _told(folder, command, engine)


def _together(server: Server, export: str, bound: float, batches: Batches, model: Path) -> Iterator[Row]:
    """Compare 16 clients with one, and the server with its engine alone."""
    (one, _), (many, seen) = (cost(server, clients) for clients in (1, _CLIENTS))
    bare = _bare(batches, model)
    yield f"{export}: CPU seconds a token, {_CLIENTS} clients / 1", many / one, bound
    yield f"{export}: CPU seconds a token, server / bare engine", many / bare, 1 / 0.95
    yield f"{export}: tokens a CPU second, 1 client", 1 / one, None
    yield f"{export}: tokens a CPU second, {_CLIENTS} clients", 1 / many, None
    yield f"{export}: seconds to the first token, {_CLIENTS} clients", seen.first_token(50), None


def _loaded(folder: Path, command: list[str], engine: str) -> Iterator[Row]:
    """Measure latencies below saturation, answers above it, and a shutdown, at the default limits."""
    with served(folder, command, engine) as server:
        peak = from_clients(server.url, engine, _ACCEPTED, 4 * _ACCEPTED)
        rate = len(peak.answered) / peak.seconds
        for share in (0.5, 0.8):
            seen = at_rate(server.url, engine, share * rate, _SECONDS)
            for percent in (50, 99):
                name = f"{share:.0%} load, p{percent}: seconds"
                yield f"{name} to the first token", seen.first_token(percent), None
                yield f"{name} between pieces of text", seen.between_tokens(percent), None
        before = server.resident_mib()
        seen = at_rate(server.url, engine, 3 * rate, _SECONDS)
        yield (
            "3x load: peak's answers a second / answered",
            rate / (len(seen.answered) / seen.seconds),
            1 / 0.8,
        )
        yield "3x load: requests that failed", len(seen.failed), 0
        yield "3x load: memory after / before", server.resident_mib() / before, 1.1
    with served(folder, command, engine, "serving.cache={}") as server:
        miss, hit = (cost(server, 1)[0] for _ in range(2))
        yield "cache: CPU seconds of a hit / of a miss", hit / miss, 1 / 50
    with served(
        folder, command, engine, "serving.grace_seconds=120", "serving.max_wait_seconds=600"
    ) as server:
        yield f"shutdown: lost of {_ACCEPTED} accepted", _lost_in_shutdown(server), 0


def _told(folder: Path, command: list[str], engine: str) -> Iterator[Row]:
    """Compare a server that logs and traces every request with one that does neither."""
    waiting = "serving.max_wait_seconds=600"
    with served(folder, command, engine, waiting) as server:
        silent, _ = cost(server, _CLIENTS)
    log = [f"serving.request_log.folder={folder / 'log'}", "serving.access_log=json"]
    with served(folder, command, engine, waiting, *log) as server:
        yield "logs: CPU seconds a token / without", cost(server, _CLIENTS)[0] / silent, 1.05
    with (
        _collector() as url,
        served(folder, command, engine, waiting, f"serving.traces.endpoint={url}") as server,
    ):
        yield "traces: CPU seconds a token / without", cost(server, _CLIENTS)[0] / silent, 1.1


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """Take traces, and drop them."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _lost_in_shutdown(server: Server) -> float:
    """Return how many accepted requests a SIGTERM cut."""
    results: list[Seen] = []
    load = threading.Thread(
        target=lambda: results.append(from_clients(server.url, server.model, _ACCEPTED, _ACCEPTED))
    )
    load.start()
    while httpx.get(f"{server.url}/metrics").text.find(f"gitune_requests_in_flight {_ACCEPTED}.0") < 0:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    load.join()
    return _ACCEPTED - len(results[0].answered)


def _bare(batches: Batches, folder: Path) -> float:
    """Return the CPU seconds a token of the engine without a server, on the same requests."""
    tokenizer = open_tokenizer(folder)
    prompts = [prompt_ids(tokenizer, [{"role": "user", "content": prompt(n)}]) for n in range(REQUESTS)]
    waiting, running, tokens = list(enumerate(prompts)), 0, 0
    started = time.process_time()
    while waiting or running:
        while waiting and running < batches.width:
            batches.submit(*waiting.pop(0), TOKENS)
            running += 1
        for progress in batches.step():
            tokens += len(progress.tokens)
            running -= progress.ended
    return (time.process_time() - started) / tokens
