"""What follows from a preflight's numbers, in words: does an example help, which one, in which template, at what cost.

A claim is made where a 95 % interval over problems bears it (paired, since all arms and templates answer the same
problems), and only then. The thresholds are few: LEARNABLE is the share of groups with differing rewards under which
GRPO mostly stands still; below WEAK right even with the best example a policy is called too weak, above EASY without
one the problems too easy. An interval over fewer than FEW problems says next to nothing, and nothing follows from it.
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
FEW = 8
TITLES = {
    "none": "no example",
    "random": "a random one",
    "bm25": "what BM25 finds alike",
    "untuned": "what the untuned encoder finds alike",
}
ARMS = (*TITLES, "best")
Row = dict[str, Any]
Rows = Sequence[Row]


def conclude(found: dict[str, list[Row]], facts: dict[str, Any], seed: int) -> tuple[dict[str, Any], str]:
    """The result and its page.

    Args:
        found: for each template the rows of its problems, in the same order, as `_Policy.measure` makes them.
        facts: `context_length`, `max_new_tokens`, `too_long` (share of the traces looked at), `problems` (how many
            there are in all), `samples`, `shortlist`, `candidates`, `scored_pairs`, `scoring_seconds`.

    Returns:
        preflight.json's content (`verdict`, `template`, `reasons`, `templates`), and preflight.md's text.
    """
    tables = {template: table_of(rows, facts, seed) for template, rows in found.items()}
    best = max(tables, key=lambda t: (tables[t]["arms"]["best"]["value"], tables[t]["arms"]["none"]["value"]))
    verdict, reasons = _verdict(found, tables, best, facts, seed)
    reasons += _lengths(found[best], tables[best]["cut"], facts) + _costs(found, best, facts)
    result = {"verdict": verdict, "template": best, "reasons": reasons, "templates": tables}
    return result, _page(result)


def table_of(rows: Rows, facts: dict[str, Any], seed: int) -> dict[str, Any]:
    """Each arm's accuracy and its gain over no example, the share of groups with differing rewards, and the reasons."""
    arms: dict[str, Any] = {}
    by_likelihood = sum(row["by_likelihood"] for row in rows)
    titles = TITLES | {"best": _best_title(by_likelihood, len(rows), facts)}
    for name in ARMS:
        own = [row for row in rows if name in row["rewards"]]
        if not own:
            continue
        reasons = Counter(reason for row in own for reason in row["reasons"][name])
        arms[name] = {
            "title": titles[name],
            **_interval(_right(own, name), seed),
            "gain": _interval(_gain(own, name), seed),
            "mixed_groups": float(_mixed(own, name).mean()),
            "reasons": {reason: n / sum(reasons.values()) for reason, n in reasons.most_common()},
        }
    cut = sum(row["truncated"] for row in rows) / max(1, sum(len(row["lengths"]) for row in rows))
    return {"n_problems": len(rows), "arms": arms, "cut": cut, "by_likelihood": by_likelihood}


def _best_title(by_likelihood: int, n_problems: int, facts: dict[str, Any]) -> str:
    n, of = facts["shortlist"], facts["candidates"]
    if not by_likelihood:
        return f"the best of {n} random ones"
    title = f"the best of the {n} likeliest of {of}"
    without = n_problems - by_likelihood
    return title + (f" (for {without} problems without a solution, of {n} random ones)" if without else "")


def _right(rows: Rows, name: str) -> np.ndarray:
    """Each problem's accuracy with an arm, (problems,)."""
    return np.array([np.mean(row["rewards"][name]) for row in rows])


def _gain(rows: Rows, name: str) -> np.ndarray:
    return _right(rows, name) - _right(rows, "none")


def _mixed(rows: Rows, name: str) -> np.ndarray:
    """1 for the problems whose samples with an arm got differing rewards, (problems,)."""
    return np.array([float(len(set(row["rewards"][name])) > 1) for row in rows])


def _interval(values: np.ndarray, seed: int) -> dict[str, float]:
    found = bootstrap([{"sample": {str(i): float(value) for i, value in enumerate(values)}}], seed=seed)
    return {"value": found.value, "low": found.low, "high": found.high}


def _verdict(
    found: dict[str, list[Row]], tables: dict[str, dict[str, Any]], best: str, facts: dict[str, Any], seed: int
) -> tuple[str, list[str]]:
    """`helps`, `may help`, `too weak` or `too easy`, and why."""
    rows, arms = found[best], tables[best]["arms"]
    if len(rows) < FEW:
        return "may help", [f"{len(rows)} problems are too few to say anything; take {FEW} or more, better 24"]
    with_best = _right(rows, "best")
    as_good = [t for t in found if _interval(with_best - _right(found[t], "none"), seed)["low"] <= 0]  # without example
    helps = not as_good
    reasons = [
        f"with {arms['best']['title']} {_told(arms['best'])} right, with none {_told(arms['none'])}: "
        + ("an example helps beyond chance" if helps else "no example was seen to help beyond chance")
    ]
    if best not in as_good:
        reasons += [
            f"the {t} template without an example does as well, {_told(tables[t]['arms']['none'])} right, as {best} "
            "with one: what the example shows may be the form of an answer, which an instruction can ask for"
            for t in as_good
        ]
    reasons += _alike(rows, arms, seed)
    if helps:
        reasons += _hiding(found, tables, best, seed)
    reasons += _groups(rows, arms, facts, seed)
    easy = [t for t, table in tables.items() if table["arms"]["none"]["value"] > EASY]
    if easy:
        return "too easy", [
            *reasons,
            f"with the {easy[0]} template the policy solves nearly all without examples; take harder problems",
        ]
    enough = len(rows) * facts["samples"] * WEAK >= 3  # else not one right answer would be no news
    if not helps and enough and arms["best"]["high"] < WEAK:
        weak = "even with the best example next to nothing is right: the policy is too weak for these problems, or its"
        return "too weak", [*reasons, f"{weak} answers cannot be read (see the verifier's reasons)"]
    return ("helps" if helps else "may help"), reasons


def _alike(rows: Rows, arms: dict[str, Any], seed: int) -> list[str]:
    """What is said of look-alikes that are worth less than the best, beyond chance."""
    found = []
    for name in ("bm25", "untuned"):
        own = [row for row in rows if name in row["rewards"]]
        if not own or _interval(_right(own, "best") - _right(own, name), seed)["low"] <= 0:
            continue
        gain = arms[name]["gain"]
        if gain["high"] < 0:
            what = f"misleads, and harms: {_told(arms[name])} right"
        elif gain["low"] > 0:
            what = f"helps, and falls short of the best: {_told(arms[name])} right"
        elif _interval(_gain(own, name) - _gain(own, "best") / 2, seed)["high"] < 0:
            what = (
                f"misleads: {_told(arms[name])} right, which was not seen to be better than none, and is less than "
                "half of what the best brings"
            )
        else:
            what = f"falls short of the best, and was not seen to help: {_told(arms[name])} right"
        found.append(f"{TITLES[name]} {what}; the gap to the best is what a retriever trained on benefit has to win")
    return found


def _hiding(found: dict[str, list[Row]], tables: dict[str, dict[str, Any]], best: str, seed: int) -> list[str]:
    """The templates with which no example is seen to help, and less than with `best`, on the same problems."""

    def told(template: str) -> str:
        arms = tables[template]["arms"]
        return f"{_told(arms['none'])} right with none and {_told(arms['best'])} with the best one"

    reasons = []
    for template, rows in found.items():
        helps = tables[template]["arms"]["best"]["gain"]["low"] > 0
        if helps or _interval(_gain(found[best], "best") - _gain(rows, "best"), seed)["low"] <= 0:
            continue
        line = (
            f"the {template} template hides the example from this policy: {told(template)}, with {best} {told(best)}; "
        )
        if (cut := tables[template]["cut"]) > LEARNABLE:
            line += (
                f"{cut:.0%} of its answers were cut, so that a larger --max-new-tokens may show otherwise; until then "
            )
        reasons.append(line + f"train and evaluate with --prompt.template {best}")
    return reasons


def _groups(rows: Rows, arms: dict[str, Any], facts: dict[str, Any], seed: int) -> list[str]:
    line = (
        f"groups of {facts['samples']} samples that get differing rewards, which is what GRPO learns from: "
        f"{arms['none']['mixed_groups']:.0%} without an example, {arms['random']['mixed_groups']:.0%} with a random "
        f"one, {arms['best']['mixed_groups']:.0%} with the best"
    )
    bare, best = _mixed(rows, "none"), _mixed(rows, "best")
    seldom = _interval(bare, seed)["high"] < LEARNABLE
    if seldom and best.mean() >= LEARNABLE and _interval(best - bare, seed)["low"] > 0:
        line += "; plain GRPO would stand still where RL with examples can learn"
    elif seldom and best.mean() < LEARNABLE:
        line += "; RL will hardly move"
    return [line]


def _lengths(rows: Sequence[Row], cut: float, facts: dict[str, Any]) -> list[str]:
    lengths = np.array([length for row in rows for length in row["lengths"]] or [0])
    longest, limit = max(row["longest_prompt"] for row in rows), facts["context_length"]
    line = (
        f"answers have {np.median(lengths):.0f} tokens in the median, 95 % of them {np.quantile(lengths, 0.95):.0f} or "
        f"less; {cut:.0%} were cut at {facts['max_new_tokens']}; the longest prompt has {longest}"
        + (f", with its answer {longest + facts['max_new_tokens']} of {limit} that the model takes" if limit else "")
    )
    if facts["too_long"]:
        line += f"; {facts['too_long']:.0%} of the traces looked at are too long to stand before their problem"
    return [line + ("; raise --max-new-tokens" if cut > LEARNABLE else "")]


def _costs(found: dict[str, list[Row]], best: str, facts: dict[str, Any]) -> list[str]:
    """What RL and labels would take. Seconds are those of all templates: calls may hold several, and overlap."""
    every = [row for rows in found.values() for row in rows]
    problems, group = facts["problems"], _default(TrainConfig, "num_generations")
    per_token = sum(row["seconds"] for row in every) / max(1, sum(row["tokens_out"] for row in every))
    length = sum(row["tokens_out"] for row in found[best]) / max(1, sum(row["rollouts"] for row in found[best]))
    sampling = per_token * length
    told = [
        f"on this machine 1,000 rollouts take {1000 * sampling:.0f} s: one pass of RL over {problems:,} problems, "
        f"{group} samples each, would sample for {format_seconds(sampling * problems * group)}; updates were not "
        "measured"
    ]
    if facts["scored_pairs"]:
        scoring, each = facts["scoring_seconds"] / facts["scored_pairs"], _default(CandidateConfig, "per_problem")
        told.append(
            f"likelihood labels take at least {1000 * scoring:.0f} s per 1,000 pairs, which is what they take here "
            f"where all problems share their candidates: {format_seconds(scoring * problems * each)} for {each} "
            "candidates of each problem"
        )
    return told


def _default(config: type[Config], field: str) -> int:
    return int(config.model_fields[field].default)


def _told(value: dict[str, float]) -> str:
    return f"{100 * value['value']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _page(result: dict[str, Any]) -> str:
    lines = [f"# Preflight: {result['verdict']}", "", *(f"- {reason}" for reason in result["reasons"])]
    for template, table in result["templates"].items():
        lines += ["", f"## Template {template}, {table['n_problems']} problems", ""]
        lines += [f"{table['cut']:.0%} of the answers were cut.", ""]
        lines += ["| in the prompt | right | gain over none | differing groups | verifier |", "|---|---|---|---|---|"]
        for name, arm in table["arms"].items():
            reasons = ", ".join(f"{reason} {share:.0%}" for reason, share in arm["reasons"].items())
            gain = "" if name == "none" else _told(arm["gain"])
            lines.append(f"| {arm['title']} | {_told(arm)} | {gain} | {arm['mixed_groups']:.0%} | {reasons} |")
    return "\n".join(lines) + "\n"
