"""Clients of a chat server: what each request saw, from a fixed number of clients or at a fixed rate."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import quantiles
from typing import Any

import httpx

TOKENS = 64
"""Most tokens of each answer."""
_WORDS = [
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
]
_SEED = 0


@dataclass
class Asked:
    """What one streamed request saw."""

    sent: float
    """By the monotonic clock, as all times here."""
    status: int = 0
    """0: the connection failed or was cut."""
    tokens: int = 0
    pieces: list[float] = field(default_factory=list)
    """When each piece of text came."""
    ended: bool = False
    """Whether the stream came to its end without an error."""

    @property
    def first_token(self) -> float:
        """Seconds to the first text."""
        return self.pieces[0] - self.sent

    @property
    def between_tokens(self) -> list[float]:
        """Seconds between one piece of text and the next."""
        return [later - earlier for earlier, later in pairwise(self.pieces)]


@dataclass(frozen=True)
class Seen:
    """What all requests of one load saw."""

    asked: list[Asked]
    seconds: float

    @property
    def answered(self) -> list[Asked]:
        """The requests with a complete answer."""
        return [one for one in self.asked if one.ended and one.pieces]

    @property
    def failed(self) -> list[Asked]:
        """The requests that were neither answered nor refused with 429."""
        return [one for one in self.asked if not one.ended and one.status != 429]

    @property
    def tokens(self) -> int:
        """Tokens of complete answers."""
        return sum(one.tokens for one in self.answered)

    def first_token(self, percent: int) -> float:
        """Return a percentile of the seconds to the first text."""
        return _percentile([one.first_token for one in self.answered], percent)

    def between_tokens(self, percent: int) -> float:
        """Return a percentile of the seconds between pieces of text."""
        return _percentile([gap for one in self.answered for gap in one.between_tokens], percent)


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def prompt(number: int) -> str:
    """Return the prompt of request *number*; all differ."""
    first, second = _WORDS[number % len(_WORDS)], _WORDS[(number * 7 + 3) % len(_WORDS)]
    return f"Write a long story, number {number}, with a {first} and a {second} in it."


def from_clients(url: str, model: str, clients: int, requests: int) -> Seen:
    """Send *requests* requests from *clients* clients; each sends its next when one is answered."""

    async def ask_all(client: httpx.AsyncClient) -> list[Asked]:
        free = asyncio.Semaphore(clients)

        async def next_one(number: int) -> Asked:
            async with free:
                return await _ask(client, url, model, number)

        return await asyncio.gather(*(next_one(number) for number in range(requests)))

    return _run(ask_all)


def at_rate(url: str, model: str, rate: float, seconds: float, first_number: int = 10_000) -> Seen:
    """Send requests for *seconds*, at random times with *rate* of them a second on average.

    Args:
        url: the server's.
        model: the release's name.
        rate: mean of the Poisson process of arrivals, whatever the server does.
        seconds: how long requests are sent; all are then awaited.
        first_number: the first prompt's number, so that two loads share none.
    """

    async def ask_all(client: httpx.AsyncClient) -> list[Asked]:
        gaps, asking, number = random.Random(_SEED), [], first_number
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            asking.append(asyncio.ensure_future(_ask(client, url, model, number)))
            number += 1
            await asyncio.sleep(gaps.expovariate(rate))
        return await asyncio.gather(*asking)

    return _run(ask_all)


def _run(ask_all: Any) -> Seen:
    async def run() -> list[Asked]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=600, limits=limits) as client:
            asked: list[Asked] = await ask_all(client)
            return asked

    started = time.monotonic()
    asked = asyncio.run(run())
    return Seen(asked, time.monotonic() - started)


async def _ask(client: httpx.AsyncClient, url: str, model: str, number: int) -> Asked:
    asked = Asked(time.monotonic())
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt(number)}],
        "max_tokens": TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            asked.status = answer.status_code
            async for line in answer.aiter_lines():
                _note(line, asked)
    except httpx.TransportError:
        asked.status, asked.ended = 0, False
    return asked


def _note(line: str, asked: Asked) -> None:
    """Note one line of a stream."""
    if line == "data: [DONE]":
        asked.ended = True
        return
    if not line.startswith("data: "):
        return
    event = json.loads(line.removeprefix("data: "))
    if any(choice["delta"].get("content") for choice in event.get("choices", ())):
        asked.pieces.append(time.monotonic())
    if event.get("usage"):
        asked.tokens = event["usage"]["completion_tokens"]
