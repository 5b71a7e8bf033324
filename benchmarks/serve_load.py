"""What `rarft serve` adds to its upstream: 64 connections, 2,000 requests, 100,000 traces, an upstream of 50 ms.

    python benchmarks/serve_load.py --traces gsm8k_traces.jsonl --problems gsm8k_problems.jsonl --folder runs/load

The bundle: 100,000 traces with single MiniLM vectors (those of 500 real traces, recombined, so that not all have to be
encoded; queries are encoded for real), SmolLM2's tokenizer (`--model`), no weights. The upstream is
`tests/serve/stub_upstream.py` in a process of its own: it answers after 50 ms, and names the prompt that it answered.
Client, server and stub share the machine. Each request is another problem. Three ways:

    direct    prompts of 300 tokens to the stub alone, for what client and stub themselves take
    paced     the requests leave evenly, `--rate` a second, over 64 connections
    flat out  every connection sends its next request at once; the machine, not the upstream, is then the limit

Afterwards every answer is compared with the prompt that /v1/prompt gives for its problem and the trace that it cites.
Then three more rounds flat out, for the server's memory. Last, an upstream that fails one time in five: each request
has one clear result, and was sent once. Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from rarft.core.artifacts import write_json
from rarft.core.stages import Stage
from rarft.records.problems import Trace, load_problems, load_traces
from rarft.retriever.encoder import Encoder, load_encoder
from rarft.retriever.trace_index import Info, TraceIndex
from rarft.serve import BundleConfig, bundle
from tests.serve.stub_upstream import name_of

CONNECTIONS, REAL = 64, 500
STUB = Path(__file__).parent.parent / "tests" / "serve" / "stub_upstream.py"


class Recombined(Encoder):
    """Vectors of traces by recombination of real ones."""

    def __init__(self, encoder: Encoder, real: Sequence[Trace]) -> None:
        self.model, self.settings = encoder.model, encoder.settings
        self._real = np.concatenate(encoder.encode_traces(real))
        self._rng = np.random.default_rng(0)

    def encode_traces(self, traces: Sequence[Trace], batch_size: int = 64, pool: int = 1) -> list[np.ndarray]:
        one, two = (self._real[self._rng.integers(0, len(self._real), len(traces))] for _ in range(2))
        noise = self._rng.standard_normal(one.shape) / np.sqrt(one.shape[1])
        found = one + 0.5 * two + 0.3 * noise
        found = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return list(found[:, None])


def make_bundle(args: argparse.Namespace, folder: Path) -> Path:
    """The bundle, made once."""
    made = folder / "bundle"
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    real = load_traces(args.traces)
    traces = [
        replace(real[i % len(real)], id=f"trace-{i}", problem=f"{real[i % len(real)].problem} (No. {i})", extra={})
        for i in range(args.size)
    ]
    rows = folder / "traces.jsonl"
    rows.write_text("".join(json.dumps(trace.as_row()) + "\n" for trace in traces))
    encoder = load_encoder("minilm", type="single-vector")
    info = Info("minilm", "name:minilm", "single-vector", "both", 256, 1, 384, 600_000)
    index = TraceIndex.create(folder / "index", info, encoder=Recombined(encoder, real[:REAL]))
    index.add(traces)
    index.finish()
    stage: Stage[Any] = bundle
    stage(BundleConfig(model=args.model, index=str(folder / "index"), traces=str(rows), reference_model=True), made)
    return made


@contextmanager
def process(command: list[str], pattern: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and what `pattern` finds in its output once it is there."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            found = re.search(pattern, line)
            if found:
                yield child, found.group(1)
                return
        raise SystemExit(f"{command[-1]} ended")
    finally:
        child.terminate()
        child.wait()


@contextmanager
def serving(bundle: Path, *upstream_options: str) -> Iterator[tuple[int, int, int]]:
    """A stub upstream and a server before it: the stub's port, the server's, and the server's process id."""
    server = [sys.executable, "-m", "rarft.cli", "serve", str(bundle), "--port", "0", "--upstream"]
    with (
        process([sys.executable, str(STUB), "--delay", "0.05", *upstream_options], r"^(\d+)$") as (_, upstream),
        process([*server, f"http://127.0.0.1:{upstream}"], r"at http://127.0.0.1:(\d+)/v1") as (child, port),
    ):
        yield int(upstream), int(port), child.pid


class Connection:
    """One kept-alive HTTP connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON body of the answer; sent once."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        raw = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        told = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"content-length: (\d+)", told, re.IGNORECASE).group(1))  # type: ignore[union-attr]
        answer = json.loads(await reader.readexactly(length))
        if "connection: close" in told.lower():
            writer.close()
            self._streams = None
        return int(told.split(" ")[1]), answer


async def drive(
    port: int, path: str, bodies: Sequence[dict[str, Any]], rate: float | None
) -> tuple[list[tuple[int, Any]], np.ndarray, float]:
    """Send all bodies over 64 connections; results, latencies in ms, and seconds in all.

    Latency counts from when a request was due, so a connection that is late is not left out.
    """
    results: list[Any] = [None] * len(bodies)
    latency = np.zeros(len(bodies))
    waiting = iter(range(len(bodies)))
    started = time.perf_counter()

    async def work() -> None:
        connection = Connection(port)
        for i in waiting:
            due = time.perf_counter() if rate is None else started + i / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            results[i] = await connection.post(path, bodies[i])
            latency[i] = 1000 * (time.perf_counter() - due)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return results, latency, time.perf_counter() - started


async def count_right(port: int, chats: Sequence[dict[str, Any]], replies: Sequence[tuple[int, Any]]) -> int:
    """How many answers are to the prompt of their own problem with the trace that they cite."""
    told = [reply["choices"][0]["message"] for status, reply in replies if status == 200]
    bodies = [
        {**chat, "rarft": {"trace_ids": [cited["id"] for cited in message["context"]["citations"]]}}
        for chat, message in zip((c for c, (status, _) in zip(chats, replies, strict=True) if status == 200), told,
                                 strict=True)
    ]  # fmt: skip
    prompts, _, _ = await drive(port, "/v1/prompt", bodies, None)
    return sum(
        message["content"].startswith(name_of(prompt["prompt_token_ids"]))
        for message, (_, prompt) in zip(told, prompts, strict=True)
    )


def memory(pid: int) -> int:
    """Resident MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) // 1024  # type: ignore[union-attr]


def outcomes(replies: Sequence[tuple[int, Any]]) -> dict[str, int]:
    """How many answers of each kind there were."""
    return dict(Counter(str(status) if status == 200 else f"{status} {r['error']['code']}" for status, r in replies))


def quantiles(latency: np.ndarray) -> tuple[float, float]:
    """p50 and p99."""
    p50, p99 = np.quantile(latency, [0.5, 0.99])
    return round(float(p50), 1), round(float(p99), 1)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", required=True)
    parser.add_argument("--problems", required=True)
    parser.add_argument("--model", required=True, help="whose tokenizer makes the prompts")
    parser.add_argument("--folder", type=Path, required=True, help="where the bundle is made, and results.json")
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second of the paced run")
    args = parser.parse_args()
    made = make_bundle(args, args.folder)
    problems = load_problems(args.problems)
    questions = [f"{problems[i % len(problems)].question} (Case {i})" for i in range(args.requests)]
    chats = [{"model": "rarft", "messages": [{"role": "user", "content": question}]} for question in questions]
    found: dict[str, Any] = {"load_before": os.getloadavg()[0], "requests": args.requests, "traces": args.size}
    with serving(made) as (upstream, port, server):
        chat = (port, "/v1/chat/completions")
        asyncio.run(drive(*chat, chats[:200], None))  # warm
        found["memory_mib"] = [memory(server)]
        plain = [{"model": "rarft", "prompt": list(range(300)), "n": 1}] * args.requests
        for name, rate in (("paced", args.rate), ("flat out", None)):
            _, direct, _ = asyncio.run(drive(upstream, "/v1/completions", plain, rate))
            replies, latency, seconds = asyncio.run(drive(*chat, chats, rate))
            found["memory_mib"].append(memory(server))
            right = asyncio.run(count_right(port, chats, replies))
            found[name] = {
                "direct_ms": quantiles(direct), "served_ms": quantiles(latency), "right": right,
                "results": outcomes(replies), "per_second": round(args.requests / seconds, 1),
            }  # fmt: skip
            added = [round(a - b, 1) for a, b in zip(quantiles(latency), quantiles(direct), strict=True)]
            found[name]["added_ms"] = added
            print(f"{name:<9} added p50 {added[0]} ms, p99 {added[1]} ms; right {right} of {args.requests}", flush=True)
        for _ in range(3):  # memory is flat where these are alike
            asyncio.run(drive(*chat, chats, None))
            found["memory_mib"].append(memory(server))
    with serving(made, "--fail-every", "5") as (_, port, _):
        replies, _, _ = asyncio.run(drive(port, "/v1/chat/completions", chats, None))
        found["one_in_five_fails"] = outcomes(replies)
    found["load_after"] = os.getloadavg()[0]
    write_json(args.folder / "results.json", found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
