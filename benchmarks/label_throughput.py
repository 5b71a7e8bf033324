"""How many pairs a second the judge labels, and whether memory grows with their number.

    python benchmarks/label_throughput.py                            # throughput, beside a plain openai-client loop
    python benchmarks/label_throughput.py --memory 10000 1000000     # peak memory of the labelling process

A server in a process of its own answers each request after 50 ms; 64 requests are in flight. `rarft label` runs as a
user runs it: candidates, prompts, answers on disk, labels.parquet. The peer is what one writes without it: asyncio, the
openai client, 64 workers, a list of results in memory and one JSON file at the end; same prompts, same server. The two
take turns, and the medians are compared. Rates depend on the machine and on what else it runs; the ratio, and the
pairs per second of processor time, less so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_FLIGHT = 64
DELAY = 0.05
SERVER = """
import asyncio, json, sys
text = json.dumps({"pattern": "counting the same thing in two ways", "relevant": True})
body = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}}).encode()
reply = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\\r\\n")[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            asyncio.get_running_loop().call_later(float(sys.argv[1]), self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(reply)

async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def server(delay: float) -> Iterator[str]:
    """The server's URL, while the block runs."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(delay)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


def write_inputs(folder: Path, n_problems: int, n_traces: int = 2000) -> None:
    """Problems and traces of an ordinary length, made up."""
    words = (
        "the",
        "sum",
        "of",
        "numbers",
        "each",
        "side",
        "length",
        "time",
        "rate",
        "train",
        "apples",
        "angle",
        "root",
    )

    def text(i: int, length: int) -> str:
        return f"{i}: " + " ".join(
            words[(i * 31 + j * j + 7 * j) % len(words)] + str((i * j) % 97) for j in range(length)
        )

    with (folder / "problems.jsonl").open("w") as out:
        for i in range(n_problems):
            out.write(json.dumps({"id": f"p{i}", "question": text(i, 40), "answer": str(i)}) + "\n")
    with (folder / "traces.jsonl").open("w") as out:
        for i in range(n_traces):
            out.write(json.dumps({"id": f"t{i}", "problem": text(i + 13, 40), "solution": text(i + 5, 120)}) + "\n")


def ours(folder: Path, url: str, per_problem: int, output: Path) -> dict[str, float]:
    """Label in a process of its own; its seconds of labelling and its peak memory in MiB."""
    code = (
        "import sys; from rarft.cli import main; import resource;"
        "code = main(sys.argv[1:]); used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(code)"
    )
    arguments = ["label", "--problems", str(folder / "problems.jsonl"), "--traces", str(folder / "traces.jsonl")]
    arguments += ["--judge.base-url", url, "--judge.model", "m", "--judge.concurrency", str(IN_FLIGHT)]
    arguments += ["--candidates.per-problem", str(per_problem), "--output", str(output)]
    own = os.environ | {"RARFT_CACHE": f"{output}-answers"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=own)
    if done.returncode:
        raise SystemExit(done.stderr)
    manifest = json.loads((output / "manifest.json").read_text())
    pairs = manifest["results"]["n_pairs"]
    cpu, peak = map(float, done.stdout.split()[-2:])
    return {"pairs": pairs, "seconds": manifest["ledger"]["wall_seconds"], "cpu": cpu, "peak_mib": peak / 1024}


def peer(folder: Path, url: str, per_problem: int, output: Path) -> dict[str, float]:
    """The plain loop, in a process of its own."""
    command = [sys.executable, __file__, "--peer", str(folder), url, str(per_problem), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def run_peer(folder: str, url: str, per_problem: str, output: str) -> None:
    """Judge with asyncio and the openai client, prompts as ours."""
    import openai

    from rarft.records.problems import load_problems, load_traces
    from rarft.relevance.candidates import CandidateConfig, Candidates
    from rarft.relevance.labelers.judge import JudgeConfig, pair_messages

    started = time.monotonic()
    problems, traces = load_problems(f"{folder}/problems.jsonl"), load_traces(f"{folder}/traces.jsonl")
    pairs = list(Candidates(problems, traces, CandidateConfig(per_problem=int(per_problem)), 0))
    config, results = JudgeConfig(), []

    async def main() -> None:
        client = openai.AsyncOpenAI(base_url=url, api_key="none")
        todo = iter(pairs)

        async def work() -> None:
            for pair in todo:
                reply = await client.chat.completions.create(
                    model="m", messages=pair_messages(pair, config), max_tokens=256, temperature=0
                )
                value = json.loads(reply.choices[0].message.content)
                results.append([pair.problem.id, pair.trace.id, value["relevant"], value["pattern"]])

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    asyncio.run(main())
    Path(output).write_text(json.dumps(results))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    found = {"pairs": len(results), "seconds": time.monotonic() - started, "cpu": cpu, "peak_mib": peak}
    print(json.dumps(found))


def throughput(n_pairs: int, rounds: int) -> None:
    """Ours and the peer in turns."""
    rates: dict[str, list[float]] = {"rarft": [], "peer": []}
    cpu: dict[str, list[float]] = {"rarft": [], "peer": []}
    with tempfile.TemporaryDirectory() as name, server(DELAY) as url:
        folder = Path(name)
        write_inputs(folder, n_pairs // 20)
        for i in range(rounds):
            for who, run in (("rarft", ours), ("peer", peer)):
                found = run(folder, url, 20, folder / f"{who}-{i}")
                rates[who].append(found["pairs"] / found["seconds"])
                cpu[who].append(found["pairs"] / found["cpu"])
                line = (
                    f"round {i} {who:<6}{rates[who][-1]:6.0f} pairs/s, {cpu[who][-1]:6.0f} per second of processor time"
                )
                print(f"{line}, peak {found['peak_mib']:.0f} MiB", flush=True)
    rarft, plain = (statistics.median(rates[who]) for who in ("rarft", "peer"))
    print(f"median: rarft {rarft:.0f} pairs/s, plain loop {plain:.0f}; ratio {rarft / plain:.2f}")
    rarft, plain = (statistics.median(cpu[who]) for who in ("rarft", "peer"))
    print(f"per second of processor time, start included: rarft {rarft:.0f}, plain loop {plain:.0f}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; at most {IN_FLIGHT / DELAY:.0f} possible")


def memory(sizes: list[int], delay: float) -> None:
    """Peak memory of ours at each number of pairs; the same 2000 problems and 2000 traces each time."""
    with tempfile.TemporaryDirectory() as name, server(delay) as url:
        folder = Path(name)
        write_inputs(folder, 2000)
        for size in sizes:
            found = ours(folder, url, max(1, size // 2000), folder / str(size))
            rate = found["pairs"] / found["seconds"]
            print(f"{found['pairs']:>8} pairs: peak {found['peak_mib']:.0f} MiB, {rate:.0f} pairs/s", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", help="numbers of pairs, multiples of 2000")
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds, for --memory")
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(*options.peer)
    elif options.memory:
        memory(options.memory, options.delay)
    else:
        throughput(options.pairs, options.rounds)


if __name__ == "__main__":
    main()
