"""The policy's prompt: zero or more worked examples, then the problem.

Sampling, update, likelihood labels and evaluation all build it here, so a policy sees the same context in each. A
tokenizer with a chat template gets one user turn; one without gets plain text. What is left out: multi-turn chat.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rarft.core.config import Config, Count
from rarft.core.errors import InputError
from rarft.records.problems import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOXED = "Reason step by step, and put the final answer in \\boxed{}."


class PromptConfig(Config):
    max_trace_tokens: Count = 2048
    """Most tokens of one demonstration's solution; a longer one is cut at the last step that fits."""
    order: Literal["best-last", "best-first"] = "best-last"
    """Order of several demonstrations: best-last puts the highest-ranked one next to the problem."""
    instruction: str = BOXED
    """What the policy is told to do; empty for nothing."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """auto: the tokenizer's chat template where it has one, else plain text."""
    system: str = ""
    """System message of the chat template; empty for none."""
    chat_template_kwargs: dict[str, Any] = {}
    """Extra variables for the chat template, such as enable_thinking."""


def render_prompt(
    tokenizer: "PreTrainedTokenizerBase", question: str, traces: Sequence[Trace], config: PromptConfig
) -> list[int]:
    """Token ids of the prompt `q, c_1..c_k`; the policy's completion follows directly.

    Args:
        traces: demonstrations, best first; none for the plain prompt.

    Raises:
        InputError: `template="chat"` and the tokenizer has no chat template.
    """
    text = prompt_text(tokenizer, question, traces, config)
    if uses_chat(tokenizer, config):
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = list(tokenizer(text)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:  # some tokenizers close every text; the completion must go on
        ids.pop()
    return ids


def completion_ids(tokenizer: "PreTrainedTokenizerBase", text: str, config: PromptConfig) -> list[int]:
    """Token ids of `text` as the policy would write it: where the prompt ends in plain "Solution:", after a space."""
    space = "" if uses_chat(tokenizer, config) else " "
    return list(tokenizer(space + text, add_special_tokens=False)["input_ids"])


def prompt_text(
    tokenizer: "PreTrainedTokenizerBase", question: str, traces: Sequence[Trace], config: PromptConfig
) -> str:
    """The prompt as text, as `render_prompt` tokenizes it."""
    if not uses_chat(tokenizer, config):
        return _plain(_demonstrations(tokenizer, traces, config), question, config.instruction.strip())
    messages = prompt_messages(tokenizer, question, traces, config)
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **config.chat_template_kwargs
        )
    )


def prompt_messages(
    tokenizer: "PreTrainedTokenizerBase", question: str, traces: Sequence[Trace], config: PromptConfig
) -> list[dict[str, str]]:
    """The prompt as messages of `role` and `content`, before the tokenizer's chat template."""
    instruction = config.instruction.strip()
    demonstrations = _demonstrations(tokenizer, traces, config)
    if demonstrations:
        parts = ["Here is a solved problem." if len(demonstrations) == 1 else "Here are solved problems."]
        for i, (problem, solution) in enumerate(demonstrations, start=1):
            number = "" if len(demonstrations) == 1 else f" {i}"
            parts.append(f"Example problem{number}:\n{problem}\n\nExample solution{number}:\n{solution}")
        parts.append("Now solve this problem. Use the reasoning above where it carries over.")
        parts.append(question.strip())
    else:
        parts = [question.strip()]
    if instruction:
        parts.append(instruction)
    messages = [{"role": "system", "content": config.system}] if config.system else []
    messages.append({"role": "user", "content": "\n\n".join(parts)})
    return messages


def _plain(demonstrations: Sequence[tuple[str, str]], question: str, instruction: str) -> str:
    parts = [instruction] if instruction else []
    parts += [f"Problem: {problem}\nSolution: {solution}" for problem, solution in demonstrations]
    return "\n\n".join([*parts, f"Problem: {question.strip()}\nSolution:"])


def _demonstrations(
    tokenizer: "PreTrainedTokenizerBase", traces: Sequence[Trace], config: PromptConfig
) -> list[tuple[str, str]]:
    """Problem and solution of each demonstration, in the order in which they stand in the prompt."""
    ordered = list(traces) if config.order == "best-first" else list(traces)[::-1]
    return [
        (
            trace.problem.strip(),
            cut_at_step(tokenizer, with_answer(trace.solution, trace.answer), config.max_trace_tokens),
        )
        for trace in ordered
    ]


def uses_chat(tokenizer: "PreTrainedTokenizerBase", config: PromptConfig) -> bool:
    """Whether the prompt is a chat turn.

    Raises:
        InputError: `template="chat"` and the tokenizer has no chat template.
    """
    has = getattr(tokenizer, "chat_template", None) is not None
    if config.template == "chat" and not has:
        raise InputError("template is chat, but the tokenizer has no chat template; use plain or auto")
    return has and config.template != "plain"


def with_answer(solution: str, answer: str | None) -> str:
    """A solution that ends in its answer: where it has no `\\boxed{}` and the answer is known, one is added.

    Many worked solutions (GSM8K's, say) only mention their result; a policy that learns from them, by imitation or as
    demonstrations, would not learn to give an answer that can be verified.
    """
    solution = solution.strip()
    if answer is None or "\\boxed" in solution:
        return solution
    return f"{solution}\nThe answer is \\boxed{{{answer}}}."


def cut_at_step(tokenizer: "PreTrainedTokenizerBase", solution: str, max_tokens: int) -> str:
    """`solution`, or as many of its steps as fit in `max_tokens` tokens.

    A step ends at a blank line; where none fits, at a line; then at a sentence. A first step that is itself too long
    is cut at a word.
    """
    solution = solution.strip()
    if len(solution) <= max_tokens:  # a token is at least one character
        return solution
    encoded = tokenizer(solution, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded["input_ids"]
    if len(ids) <= max_tokens:
        return solution
    if tokenizer.is_fast:
        fits = encoded["offset_mapping"][max_tokens - 1][1]
    else:
        fits = len(tokenizer.decode(ids[:max_tokens], clean_up_tokenization_spaces=False))
    head = solution[:fits]
    for boundary in (r"\n\s*\n", r"\n", r"(?<=[.!?])\s"):
        ends = [match.start() for match in re.finditer(boundary, head)]
        if ends and ends[-1] > 0:
            return head[: ends[-1]].rstrip()
    return head[: head.rfind(" ")].rstrip() if " " in head else head


def check_length(prompt: Sequence[int], limit: int | None, problem_id: str, max_new_tokens: int = 1) -> None:
    """Check that prompt and completion fit the model.

    Args:
        limit: the model's context length in tokens (`loading.context_length`); None where unknown.
        max_new_tokens: room the completion needs.

    Raises:
        InputError: they don't fit; the message names the problem and the ways out.
    """
    if limit is not None and len(prompt) + max_new_tokens > limit:
        raise InputError(
            f"problem {problem_id}: its prompt of {len(prompt)} tokens and {max_new_tokens} new ones exceed the "
            f"model's {limit}; lower max-trace-tokens, top-k or the completion length, or drop the problem"
        )
