"""Preflight: the stage on a tiny policy, its kill, and what follows from numbers made for it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.models.engines.base import EngineOptions
from rarft.models.engines.transformers import TransformersEngine
from rarft.models.loading import load_policy
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.preflight import preflight as stage
from rarft.preflight.verdict import conclude
from tests.policy.tiny import save_policy
from tests.relevance.test_measured import values

FACTS = {
    **{"context_length": 2048, "max_new_tokens": 48, "problems": 500, "scored_pairs": 640, "scoring_seconds": 20.0},
    **{"samples": 8, "shortlist": 3, "candidates": 64, "too_long": 0.0},
}


def command(folder: Path, *more: str) -> list[str]:
    values(folder, "")
    model = folder / "model"
    if not model.exists():
        save_policy(model)
    return [
        *("preflight", "--problems", str(folder / "problems.jsonl"), "--traces", str(folder / "traces.jsonl")),
        *("--model", str(model), "--samples", "4", "--candidates", "4", "--shortlist", "2", "--n-problems", "4"),
        *("--max-new-tokens", "4", *more, "--output", str(folder / "out")),
    ]


def test_every_arm_is_measured_and_a_page_says_what_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    result = json.loads((tmp_path / "out" / "preflight.json").read_text())
    (table,) = result["templates"].values()  # the tiny tokenizer has no chat template
    assert set(table["arms"]) == {"none", "random", "bm25", "untuned", "best"}
    assert table["n_problems"] == 4 and table["by_likelihood"]
    page = (tmp_path / "out" / "preflight.md").read_text()
    assert page in capsys.readouterr().out and page.startswith(f"# Preflight: {result['verdict']}")
    ledger = read_manifest(tmp_path / "out")["ledger"]
    assert ledger["tokens_out"] >= 4 * 6 * 4 and ledger["calls"] == 4 * 6 * 4


def test_a_killed_run_goes_on_and_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with one problem to a call, where the whole run had all in one."""
    assert main(command(tmp_path)) == 0
    whole = json.loads((tmp_path / "out" / "preflight.json").read_text())
    sample, asked = stage._Policy._sample, []

    def fail_at_the_third(self: Any, call: Any) -> Any:
        asked.append([one.problem.id for one in call])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return sample(self, call)

    monkeypatch.setattr(stage._Policy, "_sample", fail_at_the_third)
    other = [*command(tmp_path, "--batch-size", "8")[:-1], str(tmp_path / "again")]
    assert main(other) == 130
    assert main(other) == 0
    assert len(asked) == 5 and asked[2] == asked[3]  # the first two are not measured again
    again = json.loads((tmp_path / "again" / "preflight.json").read_text())
    assert without_times(again) == without_times(whole)
    assert main([*command(tmp_path, "--batch-size", "96")[:-1], str(tmp_path / "at-once")]) == 0
    assert list(map(len, asked)) == [1, 1, 1, 1, 1, 4]


def test_what_is_tried_makes_the_solution_likeliest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a plain forward pass for each pair."""
    ask, asked = stage._Policy.ask, []
    row, scored = stage._Scorer.row, {}

    def keep_row(self: Any, own: Any, *rest: Any) -> dict[str, Any]:
        scored[own[0].problem.id] = row(self, own, *rest)
        return scored[own[0].problem.id]

    def keep_asked(*given: Any) -> Any:
        asked.append(ask(*given))
        return asked[-1]

    monkeypatch.setattr(stage._Scorer, "row", keep_row)
    monkeypatch.setattr(stage._Policy, "ask", keep_asked)
    assert main(command(tmp_path)) == 0
    model, tokenizer = load_policy(str(tmp_path / "model"))
    config = stage.PreflightConfig(
        problems=str(tmp_path / "problems.jsonl"), traces=str(tmp_path / "traces.jsonl"), candidates=4, n_problems=4,
        model=str(tmp_path / "model"), shortlist=2,
    )  # fmt: skip
    problems, traces = stage.sample_of(config, stage.load_problems(config.problems))
    pools = stage.candidates(problems, traces, config, lambda problem, trace: True)
    for problem, pool, tried in zip(problems, pools, asked, strict=True):
        text = tokenizer(f" {problem.extra['solution']}", add_special_tokens=False)["input_ids"]
        expected = []
        for trace in pool:
            ids = render_prompt(tokenizer, problem.question, [trace], PromptConfig(template="plain", instruction=""))
            logps = model(torch.tensor([ids + text])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
            expected.append(float(logps.gather(1, torch.tensor(text)[:, None]).detach().mean()))
        assert scored[problem.id]["means"] == pytest.approx(expected, abs=1e-4)
        order = sorted(range(len(pool)), key=lambda i: -expected[i])
        prompt = PromptConfig(template="plain", instruction="")
        assert tried.arms[-2:] == ["best-0", "best-1"]
        assert tried.prompts[-2:] == [render_prompt(tokenizer, problem.question, [pool[i]], prompt) for i in order[:2]]


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return result | {"reasons": [line for line in result["reasons"] if "1,000" not in line]}


class OutOfOrder:
    """The transformers engine; of three calls at once the first ends last."""

    calls_at_once, call_tokens, scores_ends = 3, 1, True

    def __init__(self, model: str, options: EngineOptions) -> None:
        self.inner = TransformersEngine.load(model, options)
        self.tokenizer, self.context_length, self.close = self.inner.tokenizer, 256, self.inner.close
        self.calls, self.lock = 0, threading.Lock()

    def sample(self, *given: Any) -> Any:
        with self.lock:
            self.calls += 1
            late, found = self.calls == 1, self.inner.sample(*given)
        time.sleep(0.5 * late)
        return found

    def score(self, *given: Any) -> Any:
        with self.lock:
            return self.inner.score(*given)


def test_several_calls_at_once_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(command(tmp_path)) == 0
    whole = json.loads((tmp_path / "out" / "preflight.json").read_text())
    append, kept = stage.AppendLog.append, []

    def keep(self: Any, row: dict[str, Any]) -> None:
        kept.append(row)
        append(self, row)

    monkeypatch.setattr(stage.AppendLog, "append", keep)
    other = ["--engine", f"{__name__}:OutOfOrder", "--batch-size", "8", "--output", str(tmp_path / "again")]
    began = time.monotonic()
    assert main([*command(tmp_path)[:-2], *other]) == 0
    rows = [row for row in kept if "rewards" in row]
    assert len(rows) == 4 and rows[0]["problem"] != "p0"  # the first call ended after others
    assert sum(row["seconds"] for row in rows) <= time.monotonic() - began
    again = json.loads((tmp_path / "again" / "preflight.json").read_text())
    assert without_times(again) == without_times(whole)


def test_only_traces_that_fit_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A long trace of every problem's own words is neither the best BM25 finds nor a candidate."""
    asked = command(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    problems = [json.loads(line)["question"] for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    long = [
        rows[0] | {"id": f"long{i}", "problem": "zzz", "solution": f"{text} " * 20} for i, text in enumerate(problems)
    ]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*long, *rows)))
    assert main(asked) == 0
    result = json.loads((tmp_path / "out" / "preflight.json").read_text())
    (table,) = result["templates"].values()
    assert set(table["arms"]) == {"none", "random", "bm25", "untuned", "best"}
    assert any("of the traces looked at are too long to stand before" in line for line in result["reasons"])
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    assert main([*asked, "--overwrite"]) == 2
    assert "too long for the model with 4 new tokens" in capsys.readouterr().err
    assert main([*asked, "--overwrite", "--max-new-tokens", "250"]) == 2


def test_without_gold_solutions_the_samples_choose(tmp_path: Path) -> None:
    values(tmp_path, "")
    rows = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    asked = command(tmp_path)
    (tmp_path / "problems.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k != "solution"}) + "\n" for row in rows)
    )
    assert main(asked) == 0
    (table,) = json.loads((tmp_path / "out" / "preflight.json").read_text())["templates"].values()
    assert not table["by_likelihood"]


def test_the_best_is_chosen_and_scored_without_luck() -> None:
    def tried(rewards: Any) -> list[stage.Sampled]:
        return [stage.Sampled(list(of), [str(value) for value in of]) for of in rewards]

    best = stage._best(tried([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    assert best.rewards == [0.0, 0.0, 0.0, 0.0]  # each half chose the other's worst
    assert best.reasons == ["0.0"] * 4
    assert stage._best(tried([[0.0] * 8, [1.0] * 8, [0.0] * 8])).rewards == [1.0] * 8
    drawn = (np.random.default_rng(0).random((2000, 3, 8)) < 0.3).astype(float)
    means = [np.mean(stage._best(tried(of)).rewards) for of in drawn]
    assert np.mean(means) == pytest.approx(0.3, abs=0.02)
    assert drawn.mean(-1).max(-1).mean() > 0.4  # what choosing and scoring on the same samples would say


def rows(seed: int, chances: dict[str, float], n: int = 40) -> list[dict[str, Any]]:
    """Rows of a policy that is right with these chances."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        drawn = {name: (rng.random(8) < chance).astype(float).tolist() for name, chance in chances.items()}
        reasons = {name: ["correct" if value else "wrong" for value in of] for name, of in drawn.items()}
        found.append(
            {"template": "t", "problem": f"p{i}", "rewards": drawn, "reasons": reasons,
             "lengths": [20] * 40, "truncated": 0, "longest_prompt": 300, "by_likelihood": True,
             "seconds": 4.0, "rollouts": 56, "tokens_out": 800}
        )  # fmt: skip
    return found


LOOK_ALIKES_MISLEAD = {"none": 0.2, "random": 0.15, "bm25": 0.05, "untuned": 0.1, "best": 0.7}
NOTHING = dict.fromkeys(LOOK_ALIKES_MISLEAD, 0.0)


@pytest.mark.parametrize(
    "chances, verdict, told",
    [
        (LOOK_ALIKES_MISLEAD, "helps", "what BM25 finds alike misleads, and harms"),
        (LOOK_ALIKES_MISLEAD | {"bm25": 0.2}, "helps", "what BM25 finds alike misleads: "),
        (LOOK_ALIKES_MISLEAD | {"bm25": 0.5}, "helps", "what BM25 finds alike helps, and falls short of the best: "),
        (LOOK_ALIKES_MISLEAD | {"none": 0.0}, "helps", "plain GRPO would stand still where RL with examples can learn"),
        (NOTHING, "too weak", "the policy is too weak for these problems"),
        (NOTHING, "too weak", "RL will hardly move"),
        (dict.fromkeys(NOTHING, 0.99), "too easy", "take harder problems"),
        (dict.fromkeys(NOTHING, 0.4), "may help", "no example was seen to help beyond chance"),
    ],
)
def test_what_follows(chances: dict[str, float], verdict: str, told: str) -> None:
    result, page = conclude({"plain": rows(0, chances)}, FACTS, 0)
    assert result["verdict"] == verdict and told in page
    assert "1,000 rollouts take 71 s: one pass of RL over 500 problems, 16 samples each, would sample for 9m31s" in page
    assert "at least 31 s per 1,000 pairs" in page and "8m20s for 32 candidates of each problem" in page


def test_a_template_that_hides_the_example_is_found() -> None:
    found = {"chat": rows(0, NOTHING | {"none": 0.05}), "plain": rows(1, LOOK_ALIKES_MISLEAD)}
    result, page = conclude(found, FACTS, 0)
    assert result["template"] == "plain"
    assert "the chat template hides the example from this policy" in page
    weak = LOOK_ALIKES_MISLEAD | {"none": 0.0, "best": 0.1}
    for chat, hides in ((NOTHING, True), (weak, False)):  # on the same problems, and only beyond chance
        found = {"chat": rows(0, chat, 24), "plain": rows(1, weak, 24)}
        assert any("hides" in reason for reason in conclude(found, FACTS, 0)[0]["reasons"]) is hides
    easier = {
        "none": 0.5,
        "random": 0.5,
        "bm25": 0.5,
        "untuned": 0.5,
        "best": 0.95,
    }  # the same gain, from a better start
    for chat in (
        NOTHING | {"best": 0.45},
        dict.fromkeys(NOTHING, 0.7) | {"best": 0.9},
    ):  # and a smaller one that is seen
        both, _ = conclude({"chat": rows(0, chat), "plain": rows(1, easier)}, FACTS, 0)
        assert not any("hides" in reason for reason in both["reasons"])
    cut = [row | {"truncated": 38} for row in rows(0, NOTHING)]
    _, page = conclude({"chat": cut, "plain": rows(1, LOOK_ALIKES_MISLEAD)}, FACTS, 0)
    assert "95% of its answers were cut, so that a larger --max-new-tokens may show otherwise" in page
    same, _ = conclude({"chat": rows(0, LOOK_ALIKES_MISLEAD), "plain": rows(1, LOOK_ALIKES_MISLEAD)}, FACTS, 0)
    assert not any("hides" in reason for reason in same["reasons"])


def test_a_template_that_needs_no_example_is_no_help_by_examples() -> None:
    """In one template the bare policy is as good as with an example in the other."""
    plain = rows(1, LOOK_ALIKES_MISLEAD | {"none": 0.05, "best": 0.83})
    result, page = conclude({"chat": rows(0, dict.fromkeys(NOTHING, 0.8)), "plain": plain}, FACTS, 0)
    assert result["verdict"] == "may help" and "hides" not in page
    assert "the chat template without an example does as well" in page
    easy, page = conclude({"chat": rows(0, dict.fromkeys(NOTHING, 0.98)), "plain": plain}, FACTS, 0)
    assert easy["verdict"] == "too easy" and "with the chat template the policy solves nearly all" in page


def test_few_problems_say_nothing() -> None:
    for n, chances in ((1, LOOK_ALIKES_MISLEAD), (7, LOOK_ALIKES_MISLEAD), (7, NOTHING)):
        result, page = conclude({"plain": rows(0, chances, n)}, FACTS, 0)
        assert result["verdict"] == "may help" and f"{n} problems are too few" in page
    few = FACTS | {"samples": 4}  # not one of 32 right: 5 % right would show that in one run of five
    assert conclude({"plain": rows(0, NOTHING, 8)}, few, 0)[0]["verdict"] == "may help"
    assert conclude({"plain": rows(0, NOTHING, 16)}, few, 0)[0]["verdict"] == "too weak"


def test_claims_that_chance_explains_are_seldom_made() -> None:
    """All arms alike: `helps` and `misleads` in at most 2.5 % of samples, but for the interval's roughness."""
    alike = dict.fromkeys(NOTHING, 0.3)
    pages = [conclude({"plain": rows(seed, alike, 24)}, FACTS, 0) for seed in range(60)]
    assert sum(result["verdict"] == "helps" for result, _ in pages) <= 6
    assert sum("misleads" in page for _, page in pages) <= 6
    seldom = dict.fromkeys(NOTHING, 0.01)  # hardly a group differs, whatever is in the prompt
    pages = [conclude({"plain": rows(seed, seldom, 24)}, FACTS, 0) for seed in range(60)]
    assert sum("plain GRPO would stand still" in page for _, page in pages) <= 6
