"""An engine for tests of Ray: a problem to a call, each call written down, one of them killed where a test wants it.

RAY_TEST_LOG: a file that takes a line for each call, begun and ended. RAY_TEST_KILL: a file; who finds it takes it away
and is killed in the middle of its call. RAY_TEST_SECONDS: how long a call lasts at least.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rarft.models.engines.base import EngineOptions
from rarft.models.engines.transformers import TransformersEngine


class Watched:
    calls_at_once, call_tokens, scores_ends = 1, 1, True

    def __init__(self, model: str, options: EngineOptions) -> None:
        self.inner = TransformersEngine.load(model, options)
        self.tokenizer, self.context_length = self.inner.tokenizer, self.inner.context_length

    def sample(self, prompts: Any, *arguments: Any) -> Any:
        self.note("begun", prompts)
        found = self.inner.sample(prompts, *arguments)
        self.note("ended", prompts)
        return found

    def score(self, prompts: Any, *arguments: Any) -> Any:
        self.note("begun", prompts)
        found = self.inner.score(prompts, *arguments)
        self.note("ended", prompts)
        return found

    def note(self, what: str, prompts: Any) -> None:
        if what == "ended":
            time.sleep(float(os.environ.get("RAY_TEST_SECONDS", "0")))
            with suppress(FileNotFoundError, KeyError):
                os.unlink(os.environ["RAY_TEST_KILL"])
                os.kill(os.getpid(), signal.SIGKILL)
        if "RAY_TEST_LOG" in os.environ:
            row = {"what": what, "prompts": prompts, "process": os.getpid(), "node": node()}
            with Path(os.environ["RAY_TEST_LOG"]).open("a") as log:
                log.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self.inner.close()


def node() -> str:
    """Ray's name of this process's node; empty where it is in none."""
    ray = sys.modules.get("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray is not None and ray.is_initialized() else ""
