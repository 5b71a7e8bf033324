"""A pool of worker processes that no answer can hang: each piece of work has a time limit and a memory limit.

One thread per worker takes work from a queue, hands it to its process over a pipe, and waits. The process runs its own
kill timer, started when the work starts, so neither the queue nor starting a process counts against the limit. A
process that overruns dies and is replaced; the other threads never notice. Nothing is retried: what was begun is
scored once. Processes are started as `python -c` and not forked, so the caller may hold threads, CUDA contexts, an
event loop, or no `__main__` guard; they end when their pipe closes, even if the caller was killed. After a fork the
child builds its own pool. What a worker says is read as one short line of JSON, so that a worker that an answer took
over can forge rewards and no more. POSIX only. Used through rarft.rewards.verify.

Why not a library: pebble unpickles what a worker returns, cannot be used in a daemonic process or without a `__main__`
guard, never answers once all its workers are stopped, and leaves them at work when the caller is killed; loky has no
time limit, and one dead worker fails everything in flight.
"""

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import IO, Any

import rarft
from rarft.core.errors import InputError

MEMORY_LIMIT = 1 << 30
"""Bytes of address space a worker may take on top of its libraries."""
GRACE = 5.0
"""Seconds after its own timer at which a worker is killed from outside."""
START_LIMIT = 120.0
"""Seconds a worker may take to start and import its libraries."""
START_ATTEMPTS = 3
"""Times a worker is started before the caller is told that it cannot be."""
REPLY_LIMIT = 1 << 16
"""Bytes of a reply; a worker that says more is killed."""

_COMMAND = "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from rarft.rewards.worker import main; main()"


def worker_path() -> list[str]:
    """Where workers find modules: as this process does, but never in the current directory.

    Whoever starts a program in a folder does not ask for the code that lies there; what is asked for is found by
    get_reward. Where rarft itself was imported from the current directory, the path stays as it is.
    """
    found = [str(entry) for entry in sys.path]
    if _is_here(os.path.dirname(rarft.__path__[0])):
        return found
    return [entry for entry in found if not _is_here(entry)]


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder or os.curdir, os.curdir)
    except OSError:  # there is no such folder
        return False


class WorkerDied(Exception):
    """The process ended while it worked; args[0] is its return code, or None if it had to be killed."""


class Worker:
    """One process and the pipe to it. Used by one thread at a time."""

    def __init__(self) -> None:
        """Start the process; it imports nothing heavy until `load`."""
        environment = dict(os.environ, PYTHONHASHSEED="0", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        environment.pop("PYTHONPATH", None)  # as far as it is safe it is in worker_path
        self.loaded: set[str] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND, json.dumps(worker_path())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)  # a stopped process does not read

    def ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        """Send a request and return the reply; WorkerDied if the process ends, or gives none within `limit` s."""
        to_worker, from_worker = self.process.stdin, self.process.stdout
        assert to_worker is not None and from_worker is not None
        deadline = time.monotonic() + limit
        data = memoryview(json.dumps(request, default=str).encode() + b"\n")
        try:
            while data:
                self._wait(to_worker, select.POLLOUT, deadline)
                data = data[to_worker.write(data) or 0 :]
            line = b""
            while not line.endswith(b"\n"):
                self._wait(from_worker, select.POLLIN, deadline)
                chunk = from_worker.read(REPLY_LIMIT)
                line += chunk
                if not chunk or len(line) > REPLY_LIMIT:
                    raise ValueError("no reply")
            return _checked(json.loads(line))
        except (OSError, ValueError, RecursionError) as error:  # a broken pipe, one closed by Pool.close, or noise
            raise WorkerDied(self.end(patience=2.0)) from error

    def _wait(self, pipe: IO[bytes], event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self.end()
            raise WorkerDied(None)

    def end(self, patience: float = 0.0) -> int:
        """Give the process `patience` seconds to end by itself, kill it otherwise; returns its return code."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.close_pipes()
        return code

    def close_pipes(self) -> None:
        """Close this side of the pipes; an idle process ends when it sees that."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _checked(reply: Any) -> dict[str, Any]:
    """`reply` if it is one that worker.py gives. ValueError otherwise."""
    if not isinstance(reply, dict) or not isinstance(reply.get("reward", 0.0), float):
        raise ValueError("not a reply")
    return reply


class Pool:
    """Workers that score requests. `submit` may be called from any thread; replies come as futures."""

    def __init__(self, workers: int, memory: int = MEMORY_LIMIT) -> None:
        """Start `workers` threads; their processes start with the first request each takes."""
        self.memory = memory
        self.closed = False
        self.workers: set[Worker] = set()
        self.requests: queue.SimpleQueue[tuple[dict[str, Any], Future[dict[str, Any]]] | None] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=self._serve, name=f"rarft-verify-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self.threads:
            thread.start()

    def submit(self, request: dict[str, Any]) -> "Future[dict[str, Any]]":
        """Queue {"do", "name", "gold", "answer", "extra", "timeout"}; the reply holds reward, timeout or error."""
        if self.closed:
            raise RuntimeError("the pool of verifiers is closed")
        future: Future[dict[str, Any]] = Future()
        self.requests.put((request, future))
        return future

    def _serve(self) -> None:
        worker: Worker | None = None
        while (item := self.requests.get()) is not None:
            request, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = self._ready(worker, request["name"])
                reply = worker.ask(request, request["timeout"] + GRACE)
            except WorkerDied as death:
                code = death.args[0]
                overran = code is None or code == -signal.SIGALRM
                reply = {"timeout": True} if overran else {"error": f"the worker died with code {code}"}
            except BaseException as error:  # could not start a worker: the caller must hear of it
                future.set_exception(error)
                self._drop(worker)
                worker = None
                continue
            if worker is not None and (worker.process.returncode is not None or reply.pop("restart", False)):
                self._drop(worker)
                worker = None
            future.set_result(reply)
        self._drop(worker)

    def _ready(self, worker: Worker | None, name: str) -> Worker:
        """A live worker that has loaded the reward called `name`; RuntimeError if it cannot be loaded."""
        if worker is not None and worker.process.poll() is not None:
            self._drop(worker)
            worker = None
        for attempt in range(START_ATTEMPTS):
            if worker is None:
                worker = Worker()
                self.workers.add(worker)
            if name in worker.loaded:
                break
            try:
                reply = worker.ask({"do": "load", "name": name, "memory": self.memory}, START_LIMIT)
            except WorkerDied as death:
                self._drop(worker)
                worker = None
                if attempt == START_ATTEMPTS - 1 or self.closed:
                    raise RuntimeError(f"a verifier process did not start (code {death.args[0]})") from death
                continue
            if "failed" in reply:
                self._drop(worker)
                raise RuntimeError(f"the reward {name!r} cannot be loaded: {reply['failed']}")
            worker.loaded.add(name)
        assert worker is not None
        return worker

    def _drop(self, worker: Worker | None) -> None:
        if worker is not None:
            worker.end()
            self.workers.discard(worker)

    def close(self) -> None:
        """Kill the workers and let the threads go. Idempotent."""
        self.closed = True
        for _ in self.threads:
            self.requests.put(None)
        for worker in list(self.workers):
            worker.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(1.0)

    def forget(self) -> None:
        """In a forked child: close the inherited pipe ends, so that the parent's workers see only the parent."""
        for worker in list(self.workers):
            worker.close_pipes()


_pool: Pool | None = None
_lock = threading.Lock()


def default_workers() -> int:
    """RARFT_REWARD_WORKERS; by default the cores that this process may use, shared among the processes that a launcher
    started on this machine.

    Raises:
        InputError: RARFT_REWARD_WORKERS is no number of processes.
    """
    wanted = os.environ.get("RARFT_REWARD_WORKERS", "").strip()
    if wanted:
        if not (wanted.isascii() and wanted.isdigit() and int(wanted[:6]) > 0 and len(wanted) < 6):
            raise InputError(f"RARFT_REWARD_WORKERS is {wanted[:40]!r}; give the number of processes, 1 or more")
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def shared_pool() -> Pool:
    """The process's pool, made on first use with `default_workers()` workers."""
    global _pool
    with _lock:
        if _pool is None or _pool.closed:
            _pool = Pool(default_workers())
        return _pool


def close_pool() -> None:
    """End the shared pool's processes; the next use starts new ones. Also runs at interpreter exit."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.close()


def _after_fork() -> None:
    global _pool, _lock
    _lock = threading.Lock()
    if _pool is not None:
        _pool.forget()
        _pool = None


atexit.register(close_pool)
os.register_at_fork(after_in_child=_after_fork)
