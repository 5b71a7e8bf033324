"""Workers on a Ray cluster: processes on this machine or on many, each with an object of ours, whose methods we call.

    with closing(Pool("local", partial(load_encoder, "minilm"))) as pool:
        for chunk, vectors in pool.each("encode_traces", chunks):
            ...

There is a worker for each GPU of the cluster, where it has none for each CPU; a node that joins gets its own. What
comes back is kept by the caller, in its own order and log, so a stage is resumed with Ray as it is without. The call of
a worker that ends is sent to another one; nothing else is computed again.

These are Ray's actors and not Ray Data: a `Dataset` begins with files or with all rows in memory, where our calls are
made while others are answered; and `ray.data.llm` returns one sample of a request, where we ask for many, with seeds of
our own. Left out: Ray's client (`ray://`), and shipping code or models to nodes, which have both at the same paths.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir
from importlib.util import find_spec
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

from rarft.core.config import Config, NotInResult
from rarft.core.errors import InputError, StageError, one_line
from rarft.core.processes import die_with_parent, end_descendants_with_us
from rarft.core.progress import log

T = TypeVar("T")
MOST_AT_ONCE = 8
"""Calls in flight to one worker, at most."""
MOST_CALLS = 4096
"""Calls in flight in all, at most."""
TRIES = 3
"""Workers that may end over the same call, or while the first of them starts."""
LOOK_EVERY_SECONDS = 1.0
CONNECT_SECONDS = 10.0


def _local_or_address(value: str) -> str:
    if not re.fullmatch(r"local|[^\s:/]+:\d+", value):
        raise ValueError("local, or the address of a running cluster such as 10.0.0.1:6379")
    return value


class RayConfig(Config):
    """Where a stage with many model calls does its work: the flag `--ray`."""

    ray: Annotated[Annotated[str, AfterValidator(_local_or_address)] | None, NotInResult] = None
    """local: in processes on this machine, one for each GPU or else CPU; or the address of a running Ray cluster, such
    as 10.0.0.1:6379, of which this machine is a node: on all of its nodes. Without: in this process."""


class Pool:
    """Workers that each hold what `make` makes, and answer calls of its methods. Calls may come from several threads.

    Args:
        address: `local`, or `host:port` of a cluster of which this machine is a node.
        make: called in each worker; its module is imported there. What it makes says with `calls_at_once` how many
            calls it takes at a time, 1 where it does not say.
        gpus: GPUs of a worker, on a cluster that has any.

    Raises:
        InputError: Ray is not installed, or no node has that many GPUs; `make` raised it, the message names the node.
        StageError: no such cluster, or no worker starts.
    """

    def __init__(self, address: str, make: Callable[[], Any], gpus: int = 1) -> None:
        self._guard = _connect(address)
        import ray

        self._make = make
        on_gpus = sum(_on_nodes("GPU")) > 0
        self._resource, self._each = ("GPU", gpus) if on_gpus else ("CPU", 1)
        options = {"num_gpus": gpus} if on_gpus else {"num_cpus": 1}
        self._worker = ray.remote(max_concurrency=MOST_AT_ONCE, **options)(_Worker)
        self._workers: dict[Any, int] = {}  # with the calls that each takes at a time
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()  # a worker, as often as it has room for a call
        self._failure: Exception | None = None
        self._running, self._lock = 0, threading.Lock()
        self._starter = threading.Thread(target=self._start_workers, daemon=True)
        self._starter.start()
        try:
            self._free.put(self._take())
        except BaseException:
            self.close()
            raise

    @property
    def places(self) -> int:
        """How many calls the workers take at a time."""
        return sum(list(self._workers.values()))

    def get(self, name: str) -> Any:
        """An attribute of what the workers hold."""
        return self.call("__getattribute__", name)

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method gives, in a worker with room.

        Raises:
            StageError: several workers ended over this call, or raised one.
            Exception: as the method raised it.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        with self._lock:
            self._running += 1
        try:
            for _ in range(TRIES):
                worker = self._take()
                try:
                    answer = ray.get(worker.call.remote(method, arguments))
                except RayTaskError as error:
                    if not isinstance(error.cause, StageError):
                        self._free.put(worker)
                        raise error.cause from error
                    why = str(error.cause)  # such as an engine whose own process ended
                except RayError as error:
                    why = _why(error)
                else:
                    self._free.put(worker)
                    return answer
                self._lose(worker, why)
        finally:
            with self._lock:
                self._running -= 1
        raise StageError(f"ray: {TRIES} workers ended, one after another, over the same call ({why})")

    def each(self, method: str, items: Iterable[T], *arguments: Any) -> Iterator[tuple[T, Any]]:
        """Each item with what the method gives for it and the arguments, in the items' order."""
        waiting: deque[tuple[T, Future[Any]]] = deque()
        threads = ThreadPoolExecutor(MOST_CALLS)
        try:
            for item in items:
                waiting.append((item, threads.submit(self.call, method, item, *arguments)))
                while len(waiting) > self.places:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the workers and, where it is ours, the cluster."""
        import ray

        self._fail(StageError("ray: the workers were closed"))
        self._starter.join()
        for worker in list(self._workers):
            ray.kill(worker)
        while self._running:  # Ray must not go while a thread waits for it
            time.sleep(0.01)
        ray.shutdown()
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()

    def _take(self) -> Any:
        """A worker with room; waits for one."""
        while True:
            worker = self._free.get()
            if self._failure is not None:
                self._free.put(None)  # for the next who waits
                raise self._failure
            if worker in self._workers:
                return worker

    def _lose(self, worker: Any, why: str) -> None:
        import ray

        with self._lock:
            known = self._workers.pop(worker, None)
        if known and self._failure is None:
            log(f"ray: a worker ended, its calls go to others ({why})")
            ray.kill(worker)  # where it could not be reached and lives

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failure = self._failure or error
        self._free.put(None)

    def _start_workers(self) -> None:
        """Keep as many workers as the cluster has room for, until the pool fails or is closed."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        starting: dict[Any, Any] = {}
        ended = room = 0
        try:
            while self._failure is None:
                before, room = room, sum(int(there // self._each) for there in _on_nodes(self._resource))
                if room != before:
                    log(f"ray: room for {room} workers with {self._each} {self._resource} each")
                if not room and self._each > 1 and not self._workers:
                    raise InputError(f"ray: no node has the {self._each} GPUs of a worker; lower its parallel sizes")
                for _ in range(max(1, room) - len(self._workers) - len(starting)):
                    worker = self._worker.remote()
                    starting[worker.load.remote(self._make)] = worker
                if not starting:
                    time.sleep(LOOK_EVERY_SECONDS)
                    continue
                done, _ = ray.wait(list(starting), timeout=LOOK_EVERY_SECONDS)
                for reference in done:
                    worker = starting.pop(reference)
                    try:
                        places = min(ray.get(reference), MOST_AT_ONCE)
                    except RayTaskError as error:
                        raise error.cause from error
                    except RayError as error:
                        ended += 1
                        log(f"ray: a worker ended while it started ({_why(error)})")
                        if ended >= TRIES and not self._workers:
                            raise StageError(f"ray: no worker starts ({_why(error)})") from error
                        continue
                    self._workers[worker] = places
                    for _ in range(places):
                        self._free.put(worker)
        except Exception as error:
            self._fail(error)


class _Worker:
    """What Ray runs: one object, made by `load`. It ends with the process that started it, Ray's own on that node."""

    def __init__(self) -> None:
        die_with_parent()

    def load(self, make: Callable[[], Any]) -> int:
        """Make the object; says how many calls it takes at a time."""
        try:
            self._made = make()
        except (InputError, StageError) as error:
            import ray

            raise type(error)(f"node {ray.util.get_node_ip_address()}: {error}") from None
        return int(getattr(self._made, "calls_at_once", 1))

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the object."""
        return getattr(self._made, method)(*arguments)


def _connect(address: str) -> subprocess.Popen[bytes] | None:
    """Start a Ray on this machine, with a guard that ends it with us, or connect to one that runs."""
    if find_spec("ray") is None:
        raise InputError(f"--ray {address}: Ray is not installed: pip install 'rarft[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":  # read when Ray is first imported: it listens on the loopback address alone, as on a Mac
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address == "local":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        options |= {"num_cpus": cores, "include_dashboard": False}
    else:
        host, _, port = address.rpartition(":")
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # once, which takes a minute, not twenty times
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise StageError(f"--ray {address}: nothing answers there ({error}); is the cluster up?") from None
    try:
        with chdir("/"):  # Ray puts the current folder first on its workers' path: a json.py there would be run
            ray.init(address, **options)
    except Exception as error:  # Ray's errors of connecting have no base of their own
        raise StageError(f"--ray {address}: cannot be used ({one_line(error)})") from None
    return end_descendants_with_us() if address == "local" else None


def _on_nodes(resource: str) -> list[float]:
    """How much of a resource each node has."""
    import ray

    return [node["Resources"].get(resource, 0) for node in ray.nodes() if node["Alive"]]


def absolute(path: str) -> str:
    """A path as workers find it, whose current folder is another; what is no path here is left as it is."""
    here = os.path.expanduser(path)
    return os.path.abspath(here) if os.path.exists(here) else path


def _why(error: Exception) -> str:
    """Ray's reason in a line: its messages are paragraphs."""
    text = " ".join(str(error).split())
    node = re.search(r" ip: (\S+)", text)
    return (f"node {node[1]}: " if node else "") + (text.partition("exit detail: ")[2] or text)[:200]
