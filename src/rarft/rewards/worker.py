"""A worker process of the pool: reads one JSON request a line, answers one JSON line, dies when its pipe closes.

The limits are enforced by the kernel, not by Python, so that no C loop can hold them up: memory by RLIMIT_AS, wall
clock by an interval timer whose signal kills the process. The pool (pool.py) sees the death and its cause. Started by
the pool as `python -c`, never imported by users; left out: any notion of retry, which is the pool's.
"""

import json
import logging
import os
import resource
import signal
import sys
import warnings
from typing import Any, BinaryIO

from rarft.rewards.base import Reward, TooLarge, get_reward


def _limit_memory(extra_bytes: int) -> None:
    """Allow the address space to grow by `extra_bytes` over what it is now."""
    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + extra_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (OSError, ValueError):
        pass  # no /proc, or a lower hard limit set from outside


def _handle(reward: Reward, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["do"] == "check":
            reward.check_gold(request["gold"], request["extra"])
            return {"reward": 1.0}
        return {"reward": float(reward.score(request["gold"], request["answer"], request["extra"]))}
    except ValueError as error:
        return {"error": str(error)[:500] or "ValueError"}
    except TooLarge:
        return {"timeout": True}
    except (MemoryError, RecursionError) as error:
        return {"error": type(error).__name__, "restart": True}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def main() -> None:
    """Serve requests from standard input until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    replies: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not reach the pipe
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["do"] == "load":
            try:
                get_reward(request["name"]).warm_up()
                reply: dict[str, Any] = {"loaded": True}
            except Exception as error:
                reply = {"failed": f"{type(error).__name__}: {error}"[:500]}
            _limit_memory(request["memory"])
        else:
            reward = get_reward(request["name"])
            signal.setitimer(signal.ITIMER_REAL, request["timeout"])
            reply = _handle(reward, request)
            signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
