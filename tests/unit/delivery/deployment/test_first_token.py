"""The startup probe, run as the kubelet does, against a server that answers as vLLM does."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framework.delivery.deployment import first_token

PROBE = Path(first_token.__file__)


class Completions(BaseHTTPRequestHandler):
    """OpenAI's completions: 401 without the key, 404 for another model, else ``tokens`` tokens."""

    tokens = 1

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = 200, {"usage": {"completion_tokens": self.tokens}}
        if self.headers["Authorization"] != "Bearer s3cret":
            status, body = 401, {"error": "Unauthorized"}
        elif self.path != "/v1/completions" or request["model"] != "tiny" or request["max_tokens"] != 1:
            status, body = 404, {"error": "no such model"}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def probe(port, model="tiny", key="s3cret"):
    done = subprocess.run(
        [sys.executable, "-I", PROBE, str(port), model],  # -I: the image has no framework
        env={"VLLM_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_token_is_success(port):
    assert probe(port) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "status"), [({"model": "other"}, "404"), ({"key": "wrong"}, "401"), ({"key": ""}, "401")]
)
def test_error_status_is_failure(port, arguments, status):
    code, error = probe(port, **arguments)
    assert code == 1
    assert f"no token yet: HTTP Error {status}" in error


def test_answer_without_token_is_failure(port, monkeypatch):
    monkeypatch.setattr(Completions, "tokens", 0)
    assert probe(port) == (1, "the server answered without a token\n")


def test_closed_port_is_failure(port):
    code, error = probe(1)
    assert code == 1
    assert "no token yet" in error
    assert "Traceback" not in error
