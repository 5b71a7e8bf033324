"""The engine behind a URL: a running vLLM, `vllm serve MODEL`, over its `/v1/completions`, with token ids as prompts.

    VLLM_API_KEY=... rarft evaluate --engine http://localhost:8000 --model MODEL ...

`--model` names the same model here, for its tokenizer; a server of another one is refused. The key is read from the
environment. Requests that fail for a passing reason (no connection, 429, 5xx) are sent again. Left out: other servers,
which take no token ids or give no log-probs of a prompt.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openai

from rarft.core.errors import InputError, StageError
from rarft.models.engines.base import Completion, EngineOptions, Sampling, TokenIds
from rarft.models.engines.vllm import SCORING, check_room, sampling_params, stop_ids
from rarft.models.loading import load_tokenizer

IN_FLIGHT, RETRIES = 256, 6
LONGEST_SECONDS = 6 * 3600.0
PROBE = "Let $x_1 = \\frac{1}{2}$.\n\nThen 12345 * 678 = ?  naïve Ωμέγα 漢字 🙂 \tdef f(): return"


class ServerEngine:
    """Samples and scores with a running vLLM.

    Args:
        url: root of the server, with or without `/v1`.
        model: Hugging Face id or folder of the model that it serves.

    Raises:
        InputError: nothing listens there, it refuses the key, or it serves another model.
    """

    calls_at_once = 8
    call_tokens = 1

    def __init__(self, url: str, model: str, options: EngineOptions) -> None:
        if options.dtype != "auto" or options.vllm:
            raise InputError(f"--engine {url}: its number type and vLLM's arguments are the server's; leave them out")
        self.url = url.rstrip("/").removesuffix("/v1")
        self.tokenizer = load_tokenizer(model)
        self._stop = stop_ids(model, self.tokenizer)
        key = os.environ.get("VLLM_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key.strip(), max_retries=RETRIES, timeout=LONGEST_SECONDS
        )
        self._pool = ThreadPoolExecutor(IN_FLIGHT)
        served = self._served(model)
        self._name = served["id"]
        self.context_length: int | None = served.get("max_model_len")
        self._check_tokens(model)

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`."""
        answers = self._ask(
            {
                "prompt": list(prompt),
                "return_token_ids": True,
                "skip_special_tokens": False,
                **sampling_params(count, seed, sampling, self._stop),
            }
            for prompt, count, seed in zip(prompts, counts, seeds, strict=True)
        )
        groups = [sorted(answer["choices"], key=lambda choice: choice["index"]) for answer in answers]
        return [[Completion(row["token_ids"], row["finish_reason"] != "length") for row in group] for group in groups]

    def score(self, prompts: Sequence[TokenIds], completions: Sequence[Sequence[TokenIds]]) -> list[list[np.ndarray]]:
        """As `Engine.score`. Raises InputError as `check_room`."""
        check_room(prompts, completions, self.context_length)
        rows = [(len(prompt), [*prompt, *row]) for prompt, of in zip(prompts, completions, strict=True) for row in of]
        answers = self._ask({"prompt": row, **SCORING} for _, row in rows)
        found = iter(
            np.array([at[str(token)]["logprob"] for at, token in _pairs(answer, row, start)], dtype=np.float32)
            for answer, (start, row) in zip(answers, rows, strict=True)
        )
        return [[next(found) for _ in of] for of in completions]

    def close(self) -> None:
        """End the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _ask(self, requests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        bodies = ({"model": self._name, **request} for request in requests)
        return list(self._pool.map(lambda body: self._post("/completions", body), bodies))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: Any = self._client.post(path, body=body, cast_to=object)
        except openai.APIStatusError as error:
            raise StageError(f"{self.url}: {' '.join(error.message.split())[:300]}") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise StageError(
                f"{self.url}: cannot be reached any more ({cause}); the same command goes on where it stopped"
            ) from None
        return dict(answer)

    # The right server?

    def _served(self, model: str) -> dict[str, Any]:
        """What the server tells of `model`."""
        try:
            listed: Any = self._client.with_options(max_retries=2, timeout=30).get("/models", cast_to=object)
            models = listed["data"]
        except openai.AuthenticationError:
            raise InputError(f"--engine {self.url}: refuses the key; set VLLM_API_KEY") from None
        except openai.APIConnectionError:
            raise InputError(
                f"--engine {self.url}: nothing answers there; start it with `vllm serve {model}`"
            ) from None
        except (openai.APIError, KeyError, TypeError) as error:
            raise InputError(f"--engine {self.url}: is no vLLM server ({error})") from None
        for row in models:
            if any(_same(model, str(name)) for name in (row.get("id"), row.get("root")) if name):
                return dict(row)
        names = ", ".join(str(row.get("id")) for row in models)
        raise InputError(f"--engine {self.url}: serves {names}, not {model}; start it with `vllm serve {model}`")

    def _check_tokens(self, model: str) -> None:
        """A server whose tokenizer cuts a text otherwise has another model, whatever it calls it."""
        ids = list(self.tokenizer(PROBE, add_special_tokens=False)["input_ids"])
        body = {"model": self._name, "prompt": PROBE, "add_special_tokens": False}
        try:
            told: Any = self._client.post(f"{self.url}/tokenize", body=body, cast_to=object)
        except openai.APIError as error:
            raise InputError(f"--engine {self.url}: is no vLLM server, or too old a one ({error})") from None
        if told.get("tokens") != ids:
            raise InputError(
                f"--engine {self.url}: its tokenizer is not that of {model}; another model is served there"
            )


def _same(model: str, served: str) -> bool:
    if model.rstrip("/") == served.rstrip("/"):
        return True
    here, there = Path(model).expanduser(), Path(served)
    return here.exists() and here.resolve() == there.resolve()


def _pairs(answer: dict[str, Any], row: list[int], start: int) -> list[tuple[dict[str, Any], int]]:
    return list(zip(answer["choices"][0]["prompt_logprobs"][start:], row[start:], strict=True))
