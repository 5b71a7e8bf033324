"""Prompts: order, token budget, templates, length."""

from __future__ import annotations

import pytest

from rarft.core.errors import InputError
from rarft.models.prompts import PromptConfig, check_length, cut_at_step, prompt_text, render_prompt
from rarft.records.problems import Trace
from tests.policy.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TRACES = [Trace("a", "1+1?", "Step one.\n\nStep two.\n\nSo 2."), Trace("b", "2+2?", "So 4.")]
CHAT = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


def test_plain_text_puts_the_best_trace_next_to_the_problem() -> None:
    text = prompt_text(TOKENIZER, "3+3?", TRACES, PromptConfig(instruction="Do it."))
    assert text == (
        "Do it.\n\nProblem: 2+2?\nSolution: So 4.\n\nProblem: 1+1?\nSolution: Step one.\n\nStep two.\n\nSo 2."
        "\n\nProblem: 3+3?\nSolution:"
    )
    other = prompt_text(TOKENIZER, "3+3?", TRACES, PromptConfig(order="best-first", instruction=""))
    assert other.startswith("Problem: 1+1?") and other.endswith("Problem: 3+3?\nSolution:")
    assert (
        TOKENIZER.decode(render_prompt(TOKENIZER, "3+3?", [], PromptConfig(instruction="")))
        == "Problem: 3+3?\nSolution:"
    )


def test_a_long_trace_is_cut_at_a_step() -> None:
    solution = "First line.\nStill first.\n\nSecond step. It is long."
    assert cut_at_step(TOKENIZER, solution, len(solution)) == solution
    assert cut_at_step(TOKENIZER, solution, 40) == "First line.\nStill first."
    assert cut_at_step(TOKENIZER, solution, 20) == "First line."
    assert cut_at_step(TOKENIZER, "One. Two is here. Three", 20) == "One. Two is here."
    assert cut_at_step(TOKENIZER, "no boundary at all here", 14) == "no boundary"


def test_a_chat_template_is_used_where_there_is_one() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    text = prompt_text(tokenizer, "3+3?", TRACES[1:], PromptConfig(system="Be brief."))
    assert text.startswith("[system]Be brief.[user]") and text.endswith("[assistant]")
    assert "2+2?" in text and text.index("So 4.") < text.index("3+3?") and "\\boxed{}" in text
    assert (
        prompt_text(tokenizer, "3+3?", [], PromptConfig(template="plain", instruction="")) == "Problem: 3+3?\nSolution:"
    )
    with pytest.raises(InputError, match="no chat template"):
        prompt_text(TOKENIZER, "3+3?", [], PromptConfig(template="chat"))


def test_a_prompt_that_does_not_fit_names_the_problem() -> None:
    check_length([1] * 10, None, "p1", 100)
    check_length([1] * 10, 14, "p1", 4)
    with pytest.raises(InputError, match="problem p1: its prompt of 10 tokens and 5 new ones exceed the model's 14"):
        check_length([1] * 10, 14, "p1", 5)
