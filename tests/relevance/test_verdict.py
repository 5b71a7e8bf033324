"""What models answer to a judge's question, and what it counts as."""

from __future__ import annotations

import json
import random

import pytest

from rarft.relevance.verdict import parse_verdict

YES = [
    '{"pattern": "pigeonhole", "relevant": true}',
    'Sure!\n```json\n{"pattern": "x", "relevant": true}\n```\nHope this helps.',
    '{"pattern": "the set {1, 2}", "relevant": "Yes"}',
    '{"pattern": "x", "relevant": 1}',
    '{"pattern": ["a"], "relevant": true}',
    '{"pattern": "line\nbreak", "relevant": true}',
    '{"pattern": "x", "relevant": "yes, both count in two ways"}',
    '{"Pattern": "show that the answer is no", "Relevant": "true"}',
    "{'pattern': 'x', 'relevant': True}",
    '{"pattern": "the angle \\alpha", "relevant": true}',  # no valid JSON: \a
    '{\n  "pattern": "\\(x\\)",\n  "relevant": true\n}',
    '<think>no no {"relevant": false}</think> {"pattern": "x", "relevant": true}',
    '[{"pattern": "x", "relevant": true}]',
    'Yes.\n{"pattern": "x", "relevant": true}',
    "Yes",
    "yes.",
    "YES!!!",
    "**Yes**",
    "`yes`",
    "> Yes",
    "True",
    "Relevant.",
    "Yes, both count in two ways.",
    "Yes — the invariant is the same.",
    "Yes - the invariant is the same.",
    "Yes because both telescope.",
    "Yes, the reasoning carries over.",
    "Yes. The story is different but the invariant argument carries over.",
    "Yes, although the story is not the same, the strategy carries over.",
    "Yes\n\nBoth need the triangle inequality.",
    "**Yes**, there is no difference in structure.",
    "Pattern: telescoping\nRelevant: yes",
    "**Relevant:** Yes (same invariant)",
    "Relevant? Yes.",
    "- Answer: **yes**",
    "Verdict: relevant",
    "The example sums a telescoping series. So the answer is yes.",
    "Both use Vieta's formulas, so nothing new is needed.\n\n**Yes**",
    "Final answer: \\boxed{yes}",
    "Both are about parity. $\\boxed{\\text{Yes}}$",
]
NO = [
    '{"relevant": false, "pattern": "none"}',
    '{"Pattern": "x", "Relevant": "false"}',
    '{"pattern": "none", "relevant": "not relevant"}',
    '{"pattern": "none", "relevant": 0}',
    "No",
    "no.",
    "No.",
    "**No.** Nothing is shared.",
    '"No"',
    "False.",
    "Not relevant.",
    "Irrelevant",
    "No, the example is not relevant.",
    "No, nothing carries over.",
    "No. Neither the theorem nor the strategy transfers.",
    "No, the reasoning doesn’t carry over.",
    "No, not at all.",
    "No, no, no.",
    "No: one needs geometry, the other counts.",
    "No because they share the story alone.",
    "No it does not carry over.",
    "No (different structure)",
    "No. The example telescopes, but the problem needs geometry.",
    "No\nThe first is about parity.",
    "The final answer is: No",
    "Pattern: none\nDecision = no",
    "**Answer**: No, the techniques differ.",
    "The shared words are marbles and jars. Therefore, the answer is **no**.",
    "One is geometry and the other a sum.\nNo.",
    "\\boxed{No}",
    "Hm. <think>yes?</think>No.",
]
UNCLEAR = [
    "",
    "   ",
    "I cannot decide.",
    "No idea.",
    "No problem! The reasoning of the example carries over.",
    "No worries, it carries over.",
    "No doubt it helps.",
    "No, wait. Yes.",
    "No. However, the same technique works.",
    "No, but the technique is similar.",
    "No, the story differs, yet the strategy carries over.",
    "No, I cannot say.",
    "No. 5 is the example to look at.",
    "No one would see it.",
    "No-brainer.",
    "No information is given.",
    "No?",
    "None",
    "Nobody knows. Notable.",
    "Not sure.",
    "Not really.",
    "Yes and no.",
    "Yes and no. The strategy carries over, the theorem does not.",
    "Yes or no? Hard to tell.",
    "Yes/No",
    "Yes, no.",
    "Yes, but not the main idea.",
    "Yes, partly.",
    "Yes, maybe.",
    "Yes... actually no.",
    "Yes, the example is not relevant.",
    "Yes, the reasoning does not carry over.",
    "Yes, I'd be happy to help!",
    "Yesterday's example was better.",
    "Sure!",
    "Perhaps.",
    "It depends.",
    "Answer: yes and no",
    "Answer: no idea",
    "Answer (yes or no):",
    "Relevant: yes/no",
    "Relevant: yes, partially",
    "Irrelevant: true",
    "Not relevant: true",
    "Relevant: yes. \nAnswer: no.",
    "Relevant: yes\nRelevant: no",
    "The problem asks whether such a set exists. The answer is no. Its solution colours the board.",
    "There is no theorem here that would be known",
    '{"pattern": "x", "relevant": "maybe"}',
    '{"pattern": "x", "relevant": "yes and no"}',
    '{"pattern": "x", "relevant": null}',
    '{"pattern": "x", "relevant": 0.5}',
    '{"pattern": "x", "relevant": 2}',
    '{"pattern": "x", "relevant": [true]}',
    '{"pattern": "x", "relevant": {"value": true}}',
    '{"pattern": "x", "relev',
    '{"pattern": "x", "relevant": tru',
    '{"pattern": "x"}',
    '{"relevant": true} or {"relevant": false}',
    '{"relevant": true, "relevant": false}',
    '{"relevant": true, "answer": "no"}',
    'No.\n{"pattern": "x", "relevant": true}',
    "<think>The answer is yes",
    '<think>{"pattern": "x", "relevant": true}',
    "Oui.",
    "Yes. " + "Both count in two ways. " * 1000,
    '{"a":' * 2000 + "1" + "}" * 2000,
    "[" * 5000,
]


@pytest.mark.parametrize("text", YES)
def test_a_clear_yes(text: str) -> None:
    found = parse_verdict(text)
    assert found is not None and found["relevant"] is True


@pytest.mark.parametrize("text", NO)
def test_a_clear_no(text: str) -> None:
    found = parse_verdict(text)
    assert found is not None and found["relevant"] is False


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_says_neither_clearly_is_unclear(text: str) -> None:
    assert parse_verdict(text) is None


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ('{"pattern": " pigeonhole ", "relevant": true}', "pigeonhole"),
        ('{"relevant": true, "reason": "both count"}', "both count"),
        ('{"pattern": ["a"], "relevant": true}', ""),
        ("Pattern: telescoping\nRelevant: yes", "Pattern: telescoping Relevant: yes"),
    ],
)
def test_the_pattern_is_the_rationale(text: str, pattern: str) -> None:
    found = parse_verdict(text)
    assert found is not None and found["pattern"] == pattern


def test_no_text_ends_or_hangs_the_reading() -> None:
    """Pieces of real answers, jumbled: never an exception, and always a verdict with a reason, or None."""
    pieces = [
        *YES,
        *NO,
        *UNCLEAR[:-2],
        "{",
        '{"a":',
        '"',
        "\\",
        "\n",
        " ",
        "\0",
        "\ud800",
        "answer is",
        "**",
        "<think>",
    ]
    draw = random.Random(0)
    for _ in range(2000):
        found = parse_verdict("".join(draw.choices(pieces, k=draw.randint(1, 8))))
        assert found is None or (isinstance(found["relevant"], bool) and isinstance(found["pattern"], str))
    for piece in ("\n", " ", "*", "{", '{"a":', '{"a":"', "answer is ", "No. ", "Yes, ", "<think>", "\\boxed{", "not "):
        for start in ("", "No, ", "Answer: yes "):
            parse_verdict(start + piece * (19_000 // len(piece)))


def test_a_verdict_survives_the_file_it_is_written_to() -> None:
    found = parse_verdict('{"pattern": "é ∑ 𝔸", "relevant": true}')
    assert found == json.loads(json.dumps(found))
