"""From the upstream's /v1/completions to the shapes of the API: chat and completions, whole and in chunks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from rarft.serve.retrieval import Cited


class Answer:
    """Builds the answers to one request.

    Args:
        chat: for /v1/chat/completions; else for /v1/completions.
        model: the name the request asked for.
        contexts: by index of a choice what was retrieved for it: `citations` and more.
    """

    def __init__(self, chat: bool, model: str, contexts: Sequence[dict[str, Any]]) -> None:
        self.chat, self.contexts = chat, contexts
        kind = "chat.completion" if chat else "text_completion"
        self.head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._started: set[int] = set()

    def whole(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The answer in one."""
        return {**self.head, "choices": [self._choice(choice) for choice in choices], "usage": usage}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        index, finish = choice["index"], choice.get("finish_reason")
        context = self.contexts[index]
        if not self.chat:
            logprobs = choice.get("logprobs")
            return {"index": index, "text": choice["text"], "logprobs": logprobs, "finish_reason": finish,
                    "context": context}  # fmt: skip
        message = {"role": "assistant", "content": choice["text"], "refusal": None, "context": context}
        return {"index": index, "message": message, "logprobs": chat_logprobs(choice), "finish_reason": finish}

    def opening(self) -> list[dict[str, Any]]:
        """The first chunk of each choice: who speaks, and the context."""
        if not self.chat:
            rows = [{"index": i, "text": "", "logprobs": None, "finish_reason": None, "context": c}
                    for i, c in enumerate(self.contexts)]  # fmt: skip
        else:
            rows = [
                {
                    "index": i,
                    "delta": {"role": "assistant", "content": "", "context": context},
                    "logprobs": None,
                    "finish_reason": None,
                }
                for i, context in enumerate(self.contexts)
            ]
        return [self._chunk([row]) for row in rows]

    def chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A further chunk, of what the upstream streamed."""
        rows = []
        for choice in choices:
            finish = choice.get("finish_reason")
            if self.chat:
                delta = {"content": choice["text"]} if choice["text"] else {}
                row = {"index": choice["index"], "delta": delta, "logprobs": chat_logprobs(choice)}
            else:
                row = {"index": choice["index"], "text": choice["text"], "logprobs": choice.get("logprobs")}
            rows.append({**row, "finish_reason": finish})
        return self._chunk(rows)

    def usage_chunk(self, usage: dict[str, Any] | None) -> dict[str, Any]:
        """The last chunk, where the request asked for usage."""
        return {**self._chunk([]), "usage": usage}

    def _chunk(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self.head, "object": kind, "choices": list(choices)}


def chat_logprobs(choice: dict[str, Any]) -> dict[str, Any] | None:
    """Log-probs of completions (parallel lists) as those of chat (one object a token)."""
    given = choice.get("logprobs")
    if not given:
        return None
    tokens, values = given.get("tokens") or [], given.get("token_logprobs") or []
    tops = given.get("top_logprobs") or [None] * len(tokens)
    return {
        "content": [
            {**_token(token, value), "top_logprobs": [_token(t, v) for t, v in (top or {}).items()]}
            for token, value, top in zip(tokens, values, tops, strict=False)
        ],
        "refusal": None,
    }


def _token(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", errors="replace"))}


def citation(cited: Cited) -> dict[str, Any]:
    """A trace as it is told to a client."""
    trace = cited.trace
    return {
        "id": trace.id,
        "score": None if cited.score is None else round(cited.score, 6),
        "title": trace.problem,
        "content": f"{trace.problem}\n{trace.solution}",
        "problem": trace.problem,
        "solution": trace.solution,
        "answer": trace.answer,
    }


def event(value: dict[str, Any] | str) -> bytes:
    """One server-sent event."""
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"data: {data}\n\n".encode()
