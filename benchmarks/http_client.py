"""What rarft's client does that the openai client's own retries and methods don't.

    python benchmarks/http_client.py retries   # a rate limit of 20 requests a second, then an outage of 40 s: 3 minutes
    python benchmarks/http_client.py cost      # processor time of a request by create, by post and by httpx alone

64 workers ask 300 questions, half a second apart; both clients may try 6 times after the first. Counted is what the
server saw. The numbers are in docs/label.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from fault_server import FaultServer, Reply

from rarft.llm.client import ChatClient, ServerConfig, Unanswered

WORKERS, QUESTIONS, TRIES = 64, 300, 6
WINDOW, PER_WINDOW = 2.0, 40
OUTAGE = (1.0, 41.0)
MESSAGES = [{"role": "system", "content": "s" * 300}, {"role": "user", "content": "u" * 2000}]


class BadTimes:
    """A server's faults: a rate limit, or an outage."""

    def __init__(self, limited: bool) -> None:
        self.limited, self.start, self.refused = limited, 0.0, 0
        self.seen: Counter[int] = Counter()

    def fault(self, n: int, body: dict[str, Any]) -> str | Reply:
        self.start = self.start or time.monotonic()
        now = time.monotonic() - self.start
        window = int(now / WINDOW)
        self.seen[window] += 1
        if self.limited and self.seen[window] > PER_WINDOW:
            self.refused += 1
            return 429, {"retry-after": f"{(window + 1) * WINDOW - now:.2f}"}, b'{"error": {"message": "slow down"}}'
        if not self.limited and OUTAGE[0] < now < OUTAGE[1]:
            self.refused += 1
            return "503"
        return "ok"


async def drive(ask: Callable[[int], Awaitable[Any]], questions: int) -> int:
    """Ask them all; how many got no answer."""
    todo, lost = iter(range(questions)), 0

    async def work() -> None:
        nonlocal lost
        for i in todo:
            try:
                await ask(i)
            except (openai.APIError, Unanswered):
                lost += 1

    await ask(-1)
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return lost


async def by_openai(url: str) -> int:
    """The openai client with its own retries."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=TRIES, timeout=60) as client:

        async def ask(i: int) -> None:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"q{i}"}])
            await asyncio.sleep(0.5)

        return await drive(ask, QUESTIONS)


async def by_rarft(url: str) -> int:
    """Ours."""
    async with ChatClient(ServerConfig(base_url=url, model="m", retries=TRIES)) as client:

        async def ask(i: int) -> None:
            await client.chat([{"role": "user", "content": f"q{i}"}])
            await asyncio.sleep(0.5)

        return await drive(ask, QUESTIONS)


def retries() -> None:
    """Both clients through both kinds of bad times."""
    for name in ("rate limit", "outage"):
        for who, run in (("openai", by_openai), ("rarft", by_rarft)):
            times = BadTimes(limited=name == "rate limit")
            with FaultServer(fault=times.fault) as server:
                lost = asyncio.run(run(server.url))
            sent = len(server.bodies)
            print(f"{name:<11}{who:<7} lost {lost:>3} of {QUESTIONS}, sent {sent}, refused {times.refused}", flush=True)


async def cost(url: str, requests: int) -> None:
    """Milliseconds of this process's time per request; the server is another process."""
    from openai._base_client import httpx2 as httpx  # the very library that the openai client stands on

    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    bare = httpx.AsyncClient(base_url=f"{url}/", limits=httpx.Limits(max_connections=1000))

    def body(i: int) -> dict[str, Any]:
        last = {"role": "user", "content": f"{MESSAGES[1]['content']}{i}"}
        return {"model": "m", "messages": [MESSAGES[0], last], "max_tokens": 256, "temperature": 0.0}

    async def create(i: int) -> None:
        await client.chat.completions.create(**body(i))

    async def post(i: int) -> None:
        json.loads(await client.post("/chat/completions", body=body(i), cast_to=str))

    async def alone(i: int) -> None:
        (await bare.post("chat/completions", json=body(i))).json()

    for _ in range(3):
        for ask in (create, post, alone):
            start = time.process_time()
            await drive(ask, requests)
            print(f"{ask.__name__:<7}{1000 * (time.process_time() - start) / requests:.2f} ms", flush=True)
    await client.close()
    await bare.aclose()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["retries", "cost"])
    parser.add_argument("--requests", type=int, default=3000, help="for cost")
    options = parser.parse_args()
    if options.what == "retries":
        retries()
        return
    from label_throughput import server

    with server(0.0) as url:
        asyncio.run(cost(url, options.requests))


if __name__ == "__main__":
    main()
