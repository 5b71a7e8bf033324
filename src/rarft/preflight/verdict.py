"""What follows from a preflight's numbers, in words: does an example help, which one, in which template, at what cost.

A claim is made where a 95 % interval over problems bears it (paired, since all arms answer the same problems), and only
then. The thresholds are few: LEARNABLE is the share of groups with differing rewards under which GRPO mostly stands
still; below WEAK right even with the best example a policy is called too weak.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rarft.core.config import Config
from rarft.core.progress import format_seconds
from rarft.policy.config import TrainConfig
from rarft.relevance.candidates import CandidateConfig
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
        facts: `context_length`, `max_new_tokens`, `problems` (how many there are in all), `scored_pairs`,
            `scoring_seconds`.

    Returns:
        preflight.json's content (`verdict`, `reasons`, `templates`), and preflight.md's text.
    """
    tables = {template: table_of(rows, seed) for template, rows in found.items()}
    best = max(tables, key=lambda t: (tables[t]["arms"]["best"]["value"], tables[t]["arms"]["none"]["value"]))
    verdict, reasons = _verdict(tables, best, _hidden(found, tables, best, seed))
    reasons += _lengths(found[best], tables[best]["cut"], facts) + _costs(found[best], facts)
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
    cut = sum(row["truncated"] for row in rows) / max(1, sum(len(row["lengths"]) for row in rows))
    by_likelihood = all(row["by_likelihood"] for row in rows)
    return {"n_problems": len(rows), "arms": arms, "cut": cut, "by_likelihood": by_likelihood}


def _interval(values: np.ndarray, seed: int) -> dict[str, float]:
    found = bootstrap([{"sample": {str(i): float(value) for i, value in enumerate(values)}}], seed=seed)
    return {"value": found.value, "low": found.low, "high": found.high}


def _hidden(found: dict[str, list[Row]], tables: dict[str, dict[str, Any]], best: str, seed: int) -> list[str]:
    """The templates with which no example is seen to help, and less than with `best`, on the same problems."""

    def gains(rows: Sequence[Row]) -> np.ndarray:
        return np.array([np.mean(row["rewards"]["best"]) - np.mean(row["rewards"]["none"]) for row in rows])

    helps = {template: table["arms"]["best"]["gain"]["low"] > 0 for template, table in tables.items()}
    if not helps[best]:
        return []
    gain = gains(found[best])
    return [t for t in found if not helps[t] and _interval(gain - gains(found[t]), seed)["low"] > 0]


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
            gain = arms[name]["gain"]
            if gain["high"] < 0:
                what = f"misleads, and harms: {_told(arms[name])} right"
            elif gain["low"] <= 0:
                what = f"misleads: {_told(arms[name])} right, no better than none beyond chance"
            else:
                what = f"helps, and falls short of the best: {_told(arms[name])} right"
            found.append(
                f"{TITLES[name]} {what}; the gap to the best is what a retriever trained on benefit has to win"
            )
    return found


def _templates(tables: dict[str, dict[str, Any]], best: str, hidden: Sequence[str]) -> list[str]:
    def told(template: str) -> str:
        arms = tables[template]["arms"]
        return f"{_told(arms['none'])} right with none and {_told(arms['best'])} with the best one"

    reasons = []
    for template in hidden:
        line = (
            f"the {template} template hides the example from this policy: {told(template)}, with {best} {told(best)}; "
        )
        if (cut := tables[template]["cut"]) > LEARNABLE:
            line += (
                f"{cut:.0%} of its answers were cut, so that a larger --max-new-tokens may show otherwise; until then "
            )
        reasons.append(line + f"train and evaluate with --prompt.template {best}")
    return reasons


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


def _lengths(rows: Sequence[Row], cut: float, facts: dict[str, Any]) -> list[str]:
    lengths = np.array([length for row in rows for length in row["lengths"]] or [0])
    longest, limit = max(row["longest_prompt"] for row in rows), facts["context_length"]
    line = (
        f"answers have {np.median(lengths):.0f} tokens in the median, 95 % of them {np.quantile(lengths, 0.95):.0f} or "
        f"less; {cut:.0%} were cut at {facts['max_new_tokens']}; the longest prompt has {longest}"
        + (f", of {limit} that the model takes" if limit else "")
    )
    return [line + ("; raise --max-new-tokens" if cut > LEARNABLE else "")]


def _costs(rows: Sequence[Row], facts: dict[str, Any]) -> list[str]:
    problems, group = facts["problems"], _default(TrainConfig, "num_generations")
    sampling = sum(row["seconds"] for row in rows) / max(1, sum(row["rollouts"] for row in rows))
    once = format_seconds(sampling * problems * group)
    found = [
        f"on this machine 1,000 rollouts take {1000 * sampling:.0f} s: one pass of RL over {problems:,} problems, "
        f"{group} samples each, would sample for {once}; updates were not measured"
    ]
    if facts["scored_pairs"]:
        scoring, each = facts["scoring_seconds"] / facts["scored_pairs"], _default(CandidateConfig, "per_problem")
        every = format_seconds(scoring * problems * each)
        found.append(
            f"likelihood labels take {1000 * scoring:.0f} s per 1,000 pairs: {every} for {each} candidates of each "
            "problem"
        )
    return found


def _default(config: type[Config], field: str) -> int:
    return int(config.model_fields[field].default)


def _told(value: dict[str, float]) -> str:
    return f"{100 * value['value']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _page(result: dict[str, Any]) -> str:
    lines = [f"# Preflight: {result['verdict']}", "", *(f"- {reason}" for reason in result["reasons"])]
    for template, table in result["templates"].items():
        how = "the likelihood of the solution, then the other half of the samples" if table["by_likelihood"] else (
            "the other half of the samples"
        )  # fmt: skip
        lines += ["", f"## Template {template}, {table['n_problems']} problems (best chosen by {how})", ""]
        lines += [f"{table['cut']:.0%} of the answers were cut.", ""]
        lines += ["| in the prompt | right | gain over none | differing groups | verifier |", "|---|---|---|---|---|"]
        for name, arm in table["arms"].items():
            reasons = ", ".join(f"{reason} {share:.0%}" for reason, share in arm["reasons"].items())
            gain = "" if name == "none" else _told(arm["gain"])
            lines.append(f"| {TITLES[name]} | {_told(arm)} | {gain} | {arm['mixed_groups']:.0%} | {reasons} |")
    return "\n".join(lines) + "\n"
