"""What follows from a preflight's numbers, in words: does an example help, which one, in which template, at what cost.

A claim is made where a 95 % interval over problems bears it (paired, since all arms answer the same problems), and only
then. The thresholds are few: LEARNABLE is the share of groups with differing rewards under which GRPO mostly stands
still; below WEAK right even with the best example a policy is called too weak.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rarft.stats import bootstrap

LEARNABLE, WEAK, EASY = 0.1, 0.05, 0.95
TITLES = {
    "none": "no example",
    "random": "a random one",
    "bm25": "what BM25 finds alike",
    "untuned": "what the untuned encoder finds alike",
    "best": "the best of the candidates",
}
Row = dict[str, Any]


def conclude(found: dict[str, list[Row]], facts: dict[str, Any], seed: int) -> tuple[dict[str, Any], str]:
    """The result and its page.

    Args:
        found: for each template the rows of its problems, as `_Policy.measure` makes them.
        facts: `context_length`, `max_new_tokens`, `scored_pairs`, `scoring_seconds`.

    Returns:
        preflight.json's content (`verdict`, `reasons`, `templates`), and preflight.md's text.
    """
    tables = {template: table_of(rows, seed) for template, rows in found.items()}
    best = max(tables, key=lambda t: (tables[t]["arms"]["best"]["value"], tables[t]["arms"]["none"]["value"]))
    verdict, reasons = _verdict(tables, best, _hidden(found, best, seed))
    reasons += _lengths(found[best], facts) + _costs(found[best], facts)
    result = {"verdict": verdict, "template": best, "reasons": reasons, "templates": tables}
    return result, _page(result)


def table_of(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Each arm's accuracy and its gain over no example, the share of groups with differing rewards, and the reasons."""
    arms: dict[str, Any] = {}
    for name in TITLES:
        own = [row for row in rows if name in row["rewards"]]
        if not own:
            continue
        right = np.array([np.mean(row["rewards"][name]) for row in own])
        bare = np.array([np.mean(row["rewards"]["none"]) for row in own])
        mixed = [len(set(row["groups"][name])) > 1 for row in own]
        reasons = Counter(reason for row in own for reason in row["reasons"][name])
        arms[name] = {
            **_interval(right, seed),
            "gain": _interval(right - bare, seed),
            "mixed_groups": float(np.mean(mixed)),
            "reasons": {reason: n / sum(reasons.values()) for reason, n in reasons.most_common()},
        }
    for name in ("random", "bm25", "untuned"):
        own = [row for row in rows if name in row["rewards"]]
        if own:
            lost = np.array([np.mean(row["rewards"]["best"]) - np.mean(row["rewards"][name]) for row in own])
            arms[name]["best_is_better_by"] = _interval(lost, seed)
    return {"n_problems": len(rows), "arms": arms, "by_likelihood": all(row["by_likelihood"] for row in rows)}


def _interval(values: np.ndarray, seed: int) -> dict[str, float]:
    found = bootstrap([{"sample": {str(i): float(value) for i, value in enumerate(values)}}], seed=seed)
    return {"value": found.value, "low": found.low, "high": found.high}


def _hidden(found: dict[str, list[Row]], best: str, seed: int) -> list[str]:
    """The templates with which the best example led to fewer right answers than with `best`, on the same problems."""
    ours = np.array([np.mean(row["rewards"]["best"]) for row in found[best]])
    gaps = {t: ours - [np.mean(row["rewards"]["best"]) for row in rows] for t, rows in found.items() if t != best}
    return [template for template, gap in gaps.items() if _interval(gap, seed)["low"] > 0]


def _verdict(tables: dict[str, dict[str, Any]], template: str, hidden: Sequence[str]) -> tuple[str, list[str]]:
    """`helps`, `may help`, `too weak` or `too easy`, and why."""
    arms = tables[template]["arms"]
    none, best = arms["none"], arms["best"]
    helps = best["gain"]["low"] > 0
    reasons = [
        f"with the best of the candidates {_told(best)} right, with none {_told(none)}: "
        + ("an example helps beyond chance" if helps else "no example was seen to help beyond chance")
    ]
    reasons += _alike(arms) + _templates(tables, template, hidden) + _groups(arms)
    if none["value"] > EASY:
        return "too easy", [*reasons, "the policy solves nearly all without examples; take harder problems"]
    if not helps and best["high"] < WEAK:
        weak = "even with the best example next to nothing is right: the policy is too weak for these problems, or its"
        return "too weak", [*reasons, f"{weak} answers cannot be read (see the verifier's reasons)"]
    return ("helps" if helps else "may help"), reasons


def _alike(arms: dict[str, Any]) -> list[str]:
    found = []
    for name in ("bm25", "untuned"):
        if name in arms and arms[name]["best_is_better_by"]["low"] > 0:
            harms = ", and harms" if arms[name]["gain"]["high"] < 0 else ""
            found.append(
                f"{TITLES[name]} misleads{harms}: {_told(arms[name])} right; that gap to the best is what a retriever "
                "trained on benefit has to win"
            )
    return found


def _templates(tables: dict[str, dict[str, Any]], best: str, hidden: Sequence[str]) -> list[str]:
    right = {template: _told(table["arms"]["best"]) for template, table in tables.items()}
    return [
        f"the {template} template hides the example from this policy ({right[template]} right with the best one, "
        f"{right[best]} with {best}); train and evaluate with --prompt.template {best}"
        for template in hidden
    ]


def _groups(arms: dict[str, Any]) -> list[str]:
    bare, with_best = arms["none"]["mixed_groups"], arms["best"]["mixed_groups"]
    line = (
        f"groups whose samples get differing rewards, which is what GRPO learns from: {bare:.0%} without an example, "
        f"{arms['random']['mixed_groups']:.0%} with a random one, {with_best:.0%} with the best"
    )
    if bare < LEARNABLE <= with_best:
        line += "; plain GRPO would stand still where RL with examples can learn"
    elif max(bare, with_best) < LEARNABLE:
        line += "; RL will hardly move"
    return [line]


def _lengths(rows: Sequence[Row], facts: dict[str, Any]) -> list[str]:
    lengths = np.array([length for row in rows for length in row["lengths"]] or [0])
    cut = sum(row["truncated"] for row in rows) / max(1, len(lengths))
    longest, limit = max(row["longest_prompt"] for row in rows), facts["context_length"]
    line = (
        f"answers have {np.median(lengths):.0f} tokens in the median, 95 % of them {np.quantile(lengths, 0.95):.0f} or "
        f"less; {cut:.0%} were cut at {facts['max_new_tokens']}; the longest prompt has {longest}"
        + (f", of {limit} that the model takes" if limit else "")
    )
    return [line + ("; raise --max-new-tokens" if cut > LEARNABLE else "")]


def _costs(rows: Sequence[Row], facts: dict[str, Any]) -> list[str]:
    pairs, scoring = facts["scored_pairs"], facts["scoring_seconds"]
    rollouts, sampling = sum(row["rollouts"] for row in rows), sum(row["seconds"] for row in rows)
    found = [
        f"on this machine 1,000 rollouts take {1000 * sampling / max(1, rollouts):.0f} s; a training step of 16 x 16 "
        f"about {256 * sampling / max(1, rollouts):.0f} s of sampling, and about as much again for its update"
    ]
    if pairs:
        found.append(f"likelihood labels take {1000 * scoring / pairs:.0f} s per 1,000 pairs")
    return found


def _told(value: dict[str, float]) -> str:
    return f"{100 * value['value']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _page(result: dict[str, Any]) -> str:
    lines = [f"# Preflight: {result['verdict']}", "", *(f"- {reason}" for reason in result["reasons"])]
    for template, table in result["templates"].items():
        how = "the likelihood of the solution, then the other half of the samples" if table["by_likelihood"] else (
            "the other half of the samples"
        )  # fmt: skip
        lines += ["", f"## Template {template}, {table['n_problems']} problems (best chosen by {how})", ""]
        lines += ["| in the prompt | right | gain over none | differing groups | verifier |", "|---|---|---|---|---|"]
        for name, arm in table["arms"].items():
            reasons = ", ".join(f"{reason} {share:.0%}" for reason, share in arm["reasons"].items())
            gain = "" if name == "none" else _told(arm["gain"])
            lines.append(f"| {TITLES[name]} | {_told(arm)} | {gain} | {arm['mixed_groups']:.0%} | {reasons} |")
    return "\n".join(lines) + "\n"
