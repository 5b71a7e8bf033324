"""From a conversation and its traces to the policy's prompt, by the code that training uses (`models/prompts.py`).

One user turn goes through `render_prompt` itself. Earlier turns and a system message of the client's keep their places
before the last turn, which alone gets examples and instruction. A policy whose prompt is plain text takes one turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from rarft.models.loading import context_length, load_tokenizer
from rarft.models.prompts import PromptConfig, prompt_messages, render_prompt, uses_chat
from rarft.records.problems import Trace
from rarft.serve.errors import ApiError, bad_request
from rarft.serve.requests import Message


class Prompter:
    """Renders prompts in a thread of its own, since a tokenizer is not for several.

    Args:
        policy: folder with tokenizer and configuration.

    Raises:
        InputError: there is no tokenizer, or the template asked for does not exist.
    """

    def __init__(self, policy: str, config: PromptConfig) -> None:
        from transformers import AutoConfig

        self.config, self.tokenizer = config, load_tokenizer(policy)
        self.chat = uses_chat(self.tokenizer, config)
        self.limit = context_length(AutoConfig.from_pretrained(Path(policy)))
        """Most tokens the policy takes, prompt and completion together; None where nobody knows."""
        self.vocabulary = len(self.tokenizer)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prompts")

    async def render(self, turns: Sequence[Message], traces: Sequence[Trace]) -> list[int]:
        """Token ids of a prompt. Raises ApiError as `ids`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.ids, turns, traces)

    async def text(self, ids: Sequence[int]) -> str:
        """A prompt as text, special tokens included."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: str(self.tokenizer.decode(list(ids)))
        )

    def ids(self, turns: Sequence[Message], traces: Sequence[Trace]) -> list[int]:
        """Token ids of the prompt.

        Args:
            turns: at least one; the last is the problem.
            traces: demonstrations, best first.

        Raises:
            ApiError: turns that the policy's template does not take.
        """
        *earlier, last = turns
        if not earlier:
            return render_prompt(self.tokenizer, last.content, traces, self.config)
        if not self.chat:
            raise bad_request("this policy's prompt is plain text with one problem; send one user message", "messages")
        own = prompt_messages(self.tokenizer, last.content, traces, self.config)
        given = [_as_turn(message) for message in earlier]
        if given[0]["role"] == "system":
            own = [message for message in own if message["role"] != "system"]
        elif own[0]["role"] == "system":
            given, own = [own[0], *given], own[1:]
        return self._templated([*given, *own])

    def _templated(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self.config.chat_template_kwargs
            )
        except TemplateError as error:
            raise bad_request(f"the policy's chat template refuses these messages ({error})", "messages") from None
        ids: Any = self.tokenizer(str(text), add_special_tokens=False)["input_ids"]
        return list(ids)

    def room(self, n_prompt: int, max_tokens: int | None, default: int, limit: int | None) -> int:
        """How many tokens may be sampled.

        Args:
            n_prompt: tokens of the prompt.
            max_tokens: what the request says.
            default: what holds where it says nothing; cut to what fits.
            limit: the served model's context, in tokens.

        Raises:
            ApiError: 400 with the counts, where prompt and completion don't fit.
        """
        wanted = max_tokens or 1
        if limit is not None and n_prompt + wanted > limit:
            raise ApiError(
                400,
                f"the prompt has {n_prompt} tokens and {wanted} are to be sampled, but the model takes {limit} in all; "
                "shorten the messages, or lower max_tokens or rarft.top_k",
                param="messages",
                code="context_length_exceeded",
            )
        return max_tokens or min(default, default if limit is None else limit - n_prompt)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _as_turn(message: Message) -> dict[str, str]:
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": message.content}
