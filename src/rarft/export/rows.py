"""The rows of an export: which demonstrations stand before which problem, as a prompt of the trainer's own form.

A trainer reads rows and decides nothing at run time. So what `rarft train` decides at each visit (a draw among the best
traces, a visit without demonstration, a share of demonstrations that changes) is decided here: one row per visit, in
the order in which `rarft train` visits. Each prompt is tokenized as the trainer tokenizes it, and has to give the token
ids of `rarft train`. Left out: packing, images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rarft.core.errors import InputError
from rarft.models.prompts import (
    PromptConfig,
    check_length,
    prompt_messages,
    prompt_text,
    render_prompt,
    uses_chat,
)
from rarft.policy.contexts import Demonstrations, schedule
from rarft.records.problems import Problem, Trace
from rarft.rewards.base import get_reward
from rarft.rewards.problems import columns

Trainer = Literal["verl", "trl", "skyrl", "openrlhf"]


@dataclass(frozen=True)
class Visit:
    """A problem with the demonstrations, best first, that stand before it."""

    problem: Problem
    traces: Sequence[Trace]


def each_once(problems: Sequence[Problem], demonstrations: Demonstrations) -> list[Visit]:
    """Every problem with its top-k."""
    return [Visit(problem, demonstrations.best(problem)) for problem in problems]


def laid_out(problems: Sequence[Problem], demonstrations: Demonstrations) -> list[Visit]:
    """The visits of a run of `rarft train` with these demonstrations, in their order."""
    order = schedule(len(problems), demonstrations.visits, demonstrations.seed)
    return [
        Visit(problems[place], demonstrations.on_visit(problems[place], visit)) for visit, place in enumerate(order)
    ]


class Renderer:
    """Makes prompts in a trainer's form, and checks their token ids against those of `rarft train`.

    Args:
        limit: the model's context in tokens; None where unknown.
        max_new_tokens: room for the completion.
    """

    def __init__(self, to: Trainer, tokenizer: Any, config: PromptConfig, limit: int | None, max_new_tokens: int):
        self.to, self.tokenizer, self.config = to, tokenizer, config
        self.limit, self.max_new_tokens = limit, max_new_tokens
        self.plain = not uses_chat(tokenizer, config)
        self.head = _added_head(tokenizer) if self.plain else ""
        self.longest = 0
        """Tokens of the longest prompt made so far."""

    @property
    def template(self) -> str | None:
        """The chat template that lets plain text through, where the trainer applies one to each prompt."""
        if not self.plain or self.to not in ("verl", "skyrl"):
            return None
        head = f"{{{{ {json.dumps(self.head)} }}}}" if self.head else ""
        return head + "{% for message in messages %}{{ message['content'] }}{% endfor %}"

    def prompt(self, visit: Visit) -> Any:
        """The prompt of one row: messages, or a text.

        Raises:
            InputError: prompt and completion exceed the model's context, or the trainer would see other token ids.
        """
        question = visit.problem.question
        if self.to == "openrlhf":
            made: Any = self.head + prompt_text(self.tokenizer, question, visit.traces, self.config)
        elif not self.plain:
            made = prompt_messages(self.tokenizer, question, visit.traces, self.config)
        else:
            text = prompt_text(self.tokenizer, question, visit.traces, self.config)
            made = text if self.to == "trl" else [{"role": "user", "content": text}]
        ids = render_prompt(self.tokenizer, question, visit.traces, self.config)
        check_length(ids, self.limit, visit.problem.id, self.max_new_tokens)
        if self.trainer_ids(made) != ids:
            raise InputError(
                f"problem {visit.problem.id}: {self.to} would tokenize its prompt otherwise than `rarft train` does; "
                "export to another trainer, or use another prompt.template"
            )
        self.longest = max(self.longest, len(ids))
        if self.to == "skyrl" and self.config.chat_template_kwargs:  # its length filter leaves them out
            self.longest = max(self.longest, len(self._templated(made, {})))
        return made

    def trainer_ids(self, prompt: Any) -> list[int]:
        """Token ids of an exported prompt, by the call that the trainer makes."""
        if self.to == "openrlhf":
            return list(self.tokenizer(text=prompt, add_special_tokens=False)["input_ids"])
        if isinstance(prompt, str):
            return list(self.tokenizer(text=prompt)["input_ids"])
        return self._templated(prompt, self.config.chat_template_kwargs)

    def _templated(self, messages: Sequence[dict[str, str]], options: dict[str, Any]) -> list[int]:
        encoded = self.tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            chat_template=self.template,
            **options,
        )
        return list(encoded["input_ids"])


def _added_head(tokenizer: Any) -> str:
    """What the tokenizer puts before a text, such as `<s>`, as text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return str(tokenizer.decode(whole[:start])) if start else ""


def special_tokens(tokenizer: Any) -> list[str]:
    """The tokens that decoding drops from a completion, longest first: all marked so, not the named alone."""
    marked = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(marked | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))


def columns_of(to: Trainer, plain: bool) -> dict[str, Any]:
    """Name -> Arrow type of a row's columns. verl, TRL and SkyRL share theirs."""
    import pyarrow as pa

    text = pa.string()
    info = {"index": pa.int64(), "split": text, "problem_id": text, "trace_ids": pa.list_(text)}
    if to == "openrlhf":
        return {"input": text, "label": text, "datasource": text, "extra_info": pa.struct(info)}
    return {
        "prompt": text if to == "trl" and plain else pa.list_(pa.struct({"role": text, "content": text})),
        "data_source": text,
        "ability": text,
        "env_class": text,
        "reward_model": pa.struct({"style": text, "ground_truth": text}),
        "reward_spec": pa.struct({"method": text, "ground_truth": text}),
        "extra_info": pa.struct({**info, "reward": text, "columns": text}),
    }


def rows_of(renderer: Renderer, visits: Sequence[Visit], split: str, reward: str) -> Iterator[tuple[Any, ...]]:
    """The rows, in the order of `columns_of`."""
    uses = get_reward(reward).uses
    special = special_tokens(renderer.tokenizer)
    for index, visit in enumerate(visits):
        problem, prompt = visit.problem, renderer.prompt(visit)
        source, ability = problem.source or "rarft", problem.kind or reward
        read = {name: value for name, value in columns(problem).items() if uses is None or name in uses}
        info = {
            "index": index,
            "split": split,
            "problem_id": problem.id,
            "trace_ids": [trace.id for trace in visit.traces],
        }
        if renderer.to == "openrlhf":
            label = {"gold": problem.gold, "reward": reward, "columns": read, "special_tokens": special}
            yield prompt, json.dumps(label, ensure_ascii=False), source, info
            continue
        yield (
            prompt,
            source,
            ability,
            "rarft",
            {"style": "rule", "ground_truth": problem.gold},
            {"method": "rule", "ground_truth": problem.gold},
            {**info, "reward": reward, "columns": json.dumps(read, ensure_ascii=False)},
        )
