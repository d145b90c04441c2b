"""Ask a server with OpenAI's API for one token; exit 0 if it came: a pod's startup probe.

    python3 first_token.py PORT MODEL

It runs inside vLLM's image, so it needs nothing but Python's standard library, and knows nothing of
the framework. The API key, where one is asked for, is in the environment.
"""

import json
import os
import sys
from urllib.request import Request, urlopen

SECONDS = 25
"""Longest wait for the token; below the probe's own."""


def first_token(port: int, model: str) -> bool:
    """Tell whether the server on *port* of this machine gives a token of *model*.

    Raises:
        OSError: it does not answer, or refuses.
    """
    body = json.dumps({"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("VLLM_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"http://127.0.0.1:{port}/v1/completions", data=body, headers=headers)
    with urlopen(request, timeout=SECONDS) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"]) > 0


if __name__ == "__main__":
    try:
        sys.exit(0 if first_token(int(sys.argv[1]), sys.argv[2]) else "the server answered without a token")
    except OSError as error:
        sys.exit(f"no token yet: {error}")
