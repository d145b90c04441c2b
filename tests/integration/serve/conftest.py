"""One chat server for all tests that do not stop it."""

from collections.abc import Iterator

import pytest
from server_process import HELLO, Served, serving

from framework.build.engine import open_engine
from framework.serving.engine.tokenization import open_tokenizer, prompt_ids


@pytest.fixture(scope="session")
def chat(tiny_genai, tmp_path_factory) -> Iterator[Served]:
    """A server of the tiny chat model."""
    folder = tmp_path_factory.mktemp("chat")
    with serving(tiny_genai, "genai", "causal-lm", folder, max_new_tokens=64) as served:
        yield served


@pytest.fixture(scope="session")
def expected(tiny_genai) -> tuple[int, list[int], str]:
    """The prompt length, tokens and text of the engine's own answer to HELLO."""
    tokenizer = open_tokenizer(tiny_genai)
    prompt = prompt_ids(tokenizer, HELLO)
    tokens = list(open_engine("genai", tiny_genai, 1).generate(prompt, 24))
    assert len(tokens) > 8, "the tiny model must have something to say"
    return len(prompt), tokens, tokenizer.decode(tokens, skip_special_tokens=True)
