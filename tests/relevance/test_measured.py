"""Likelihood and pass-rate with a tiny policy, the statistics under them, and chains of labelers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fault_server import FaultServer
from scipy import integrate, stats

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.models.engines import transformers
from rarft.models.loading import load_policy
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.relevance.label import LabelConfig, label
from rarft.relevance.labelers import likelihood, pass_rate
from rarft.relevance.labelers.likelihood import calibrated_threshold
from rarft.relevance.labelers.pass_rate import probability_better
from rarft.relevance.relative import deviations
from rarft.stats import newcombe, wilson

WORDS = ["<unk>", "<eos>", "so", "then", "\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "one", "two", "three", "what"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A one-layer Llama whose words include whole answers, so that random weights give some right ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*WORDS, "Problem:", "Solution:"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, eos_token_id=1, bos_token_id=None, pad_token_id=1, initializer_range=0.4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("policy")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def values(folder: Path, policy: str, **changes: Any) -> dict[str, Any]:
    names = ["one", "two", "three"]
    problems = [
        {"id": f"p{i}", "question": f"what {names[i % 3]} {names[i // 3]} then", "answer": str(i % 3 + 1),
         "structure": i % 3, "solution": f"so {names[i % 3]} \\boxed{{{i % 3 + 1}}}"} for i in range(6)
    ]  # fmt: skip
    traces = [
        {"id": f"t{i}", "problem": f"so {names[i % 3]} then {names[(i // 3) % 3]} so so", "structure": i % 3,
         "solution": f"so so \\boxed{{{i % 3 + 1}}}"} for i in range(9)
    ]  # fmt: skip
    for name, rows in (("problems", problems), ("traces", traces)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "problems": str(folder / "problems.jsonl"),
        "traces": str(folder / "traces.jsonl"),
        "model": policy,
        "candidates": {"per_problem": 6},
        "prompt": {"instruction": ""},
        **changes,
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "labels.parquet").to_pylist())


def mean_logp(model: Any, prompt: list[int], target: list[int]) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1).gather(-1, torch.tensor(target).unsqueeze(-1)).mean())


@pytest.mark.parametrize("target", ["answer", "solution", "both", "auto"])
def test_likelihood_is_the_gain_of_the_model_run_in_full(tmp_path: Path, policy: str, target: str) -> None:
    from rarft.records.problems import load_problems, load_traces

    config = LabelConfig.parse(
        values(tmp_path, policy, labeler="likelihood", likelihood={"target": target, "threshold": 0.5}), "test"
    )
    folder = label(config, tmp_path / "out")
    model, tokenizer = load_policy(policy)
    problems = {p.id: p for p in load_problems(config.problems)}
    traces = {t.id: t for t in load_traces(config.traces)}
    found = rows(folder)
    assert len(found) == 36
    expected: dict[str, list[float]] = {}
    for row in found:
        problem, trace = problems[row["problem_id"]], traces[row["trace_id"]]
        gains = []
        for text in (f"\\boxed{{{problem.answer}}}", problem.extra["solution"]):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            prompts = [
                render_prompt(tokenizer, problem.question, c, PromptConfig(instruction="")) for c in ([trace], [])
            ]
            gains.append(mean_logp(model, prompts[0], ids) - mean_logp(model, prompts[1], ids))
        gain = {"answer": gains[0], "solution": gains[1], "both": sum(gains) / 2, "auto": gains[1]}[target]
        expected.setdefault(problem.id, []).append(gain)
        told = [float(word) for word in re.findall(r"(?:answer|solution) ([+-][.\d]+)", row["rationale"])]
        assert sum(told) / len(told) == pytest.approx(gain, abs=1e-4)
        assert row["relevant"] == (row["score"] > 0.5) and row["labeler"] == "likelihood"
    spread = {name: (1.4826 * stats.median_abs_deviation(own)) ** 2 for name, own in expected.items()}
    pooled = sum(spread.values()) / len(spread)
    for name, own in expected.items():
        scores = [row["score"] for row in found if row["problem_id"] == name]
        scale = math.sqrt((6 * spread[name] + 8 * pooled) / 14)
        assert scores == pytest.approx([(gain - np.median(own)) / scale for gain in own], abs=1e-2)


@pytest.mark.parametrize("smaller_batches", [False, True])  # as one tries after too little memory
@pytest.mark.parametrize("labeler", ["likelihood", "pass-rate"])
def test_goes_on_where_it_was_killed(
    tmp_path: Path, policy: str, labeler: str, smaller_batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = {"samples": 8, "base_samples": 16, "max_new_tokens": 4}
    config = LabelConfig.parse(values(tmp_path, policy, labeler=labeler, pass_rate=sampling), "test")
    monkeypatch.setattr(transformers, "CPU_WORK", 1)  # as with a large model: a problem to a call
    whole = label(config, tmp_path / "whole")
    worker = likelihood.Scorer if labeler == "likelihood" else pass_rate.Sampler
    compute, row, calls, kept = worker.compute, worker.row, [], []

    def fail_at_the_third(self: Any, prepared: Any) -> Any:
        calls.append(len(prepared))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, prepared)

    def note(self: Any, own: Any, *rest: Any) -> Any:
        kept.append(own[0].problem.id)
        return row(self, own, *rest)

    monkeypatch.setattr(worker, "compute", fail_at_the_third)
    monkeypatch.setattr(worker, "row", note)
    with pytest.raises(KeyboardInterrupt):
        label(config, tmp_path / "broken")
    if smaller_batches:
        smaller = {"likelihood": {"batch_tokens": 64}, "pass_rate": sampling | {"batch_size": 8}}
        config = LabelConfig.parse(values(tmp_path, policy, labeler=labeler, **smaller), "test")
    broken = label(config, tmp_path / "broken")
    assert calls == [1] * 7 and kept == ["p0", "p1", "p2", "p3", "p4", "p5"]  # the first two are not computed again
    if not smaller_batches:
        assert (broken / "labels.parquet").read_bytes() == (whole / "labels.parquet").read_bytes()
    for one, other in zip(rows(broken), rows(whole), strict=True):
        assert one | {"score": 0, "rationale": ""} == other | {"score": 0, "rationale": ""}
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
    ledgers = [read_manifest(folder)["ledger"] for folder in (broken, whole)]
    assert all(ledgers[0][count] == ledgers[1][count] for count in ("tokens_in", "tokens_out"))


@pytest.mark.parametrize("target", ["solution", "both"])
def test_problems_that_share_traces_in_one_call_get_the_same_gains(
    tmp_path: Path, policy: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LabelConfig.parse(values(tmp_path, policy, labeler="likelihood", likelihood={"target": target}), "test")
    seen: list[int] = []
    score = transformers.TransformersEngine.score

    def count(self: Any, prompts: Any, completions: Any, *wanted: Any) -> Any:
        seen.append(sum(map(len, prompts)) + sum(len(row) for of in completions for row in of))
        return score(self, prompts, completions, *wanted)

    monkeypatch.setattr(transformers.TransformersEngine, "score", count)
    together = rows(label(config, tmp_path / "together"))
    assert len(seen) == 1
    monkeypatch.setattr(transformers, "CPU_WORK", 1)
    apart = rows(label(config, tmp_path / "apart"))
    assert len(seen) == 7
    for one, other in zip(together, apart, strict=True):
        assert one | {"score": 0, "rationale": ""} == other | {"score": 0, "rationale": ""}
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
    if target == "solution":
        assert seen[0] < 0.85 * sum(seen[1:])


def test_a_call_that_was_cut_off_is_computed_again(tmp_path: Path, policy: str) -> None:
    config = LabelConfig.parse(values(tmp_path, policy, labeler="likelihood"), "test")
    whole = label(config, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "_choose_threshold", lambda *_: 1 / 0)
        label(config, tmp_path / "broken")
    (log,) = (tmp_path / ".broken.partial").rglob("likelihood-solution.jsonl")
    log.write_bytes(log.read_bytes()[:-40])
    assert (label(config, tmp_path / "broken") / "labels.parquet").read_bytes() == (
        whole / "labels.parquet"
    ).read_bytes()


def test_rows_of_other_pairs_are_refused(tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LabelConfig.parse(values(tmp_path, policy, labeler="likelihood"), "test")
    monkeypatch.setattr(likelihood.Scorer, "compute", lambda self, prepared: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        label(config, tmp_path / "out")
    (log,) = (tmp_path / ".out.partial").rglob("likelihood-solution.jsonl")
    log.write_text('{"rows": [{"problem": "p0", "traces": ["t0"], "gains": [[0.0]], "tokens": 1}]}\n')
    with pytest.raises(InputError, match="holds work on other pairs; delete it"):
        label(config, tmp_path / "out")


def test_auto_scores_all_pairs_by_one_target(tmp_path: Path, policy: str) -> None:
    config = LabelConfig.parse(values(tmp_path, policy, labeler="likelihood"), "test")
    problems = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    del problems[3]["solution"]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    folder = label(config, tmp_path / "out")
    assert read_manifest(folder)["results"]["likelihood_target"] == "answer"
    assert all(row["rationale"].startswith("answer ") for row in rows(folder))


def test_a_prompt_longer_than_the_model_takes_is_told(tmp_path: Path, policy: str) -> None:
    config = values(tmp_path, policy, labeler="likelihood")
    long = {"id": "t", "problem": "so " * 80, "solution": "so"}
    (tmp_path / "traces.jsonl").write_text(json.dumps(long) + "\n")
    with pytest.raises(InputError, match="problem p0: its prompt of"):
        label(LabelConfig.parse(config, "test"), tmp_path / "out")


def test_deviations_find_what_stands_out_of_its_own_problem() -> None:
    """One candidate in sixteen helps by 8 deviations; problems differ in how much any example brings, and in spread."""
    rng = np.random.default_rng(0)
    shift, spread = rng.normal(1, 3, 40), rng.uniform(0.02, 0.2, 40)
    gains = [
        [float(m + s * (rng.normal() + 8 * (i == 3))) for i in range(16)] for m, s in zip(shift, spread, strict=True)
    ]
    found = np.array(deviations(gains))
    assert (found[:, 3] > 2).mean() > 0.95 and (np.delete(found, 3, 1) > 2).mean() < 0.08
    assert deviations([[1.0, 1.0], [3.0]])[0].tolist() == [0, 0] and deviations([]) == []
    moved = deviations([[2 * gain + 7 for gain in own] for own in gains])
    assert np.array(moved) == pytest.approx(found)  # no matter the unit


def test_calibration_finds_the_threshold_and_checks_it_on_other_pairs() -> None:
    rng = np.random.default_rng(0)
    known = [(float(rng.normal(0.7 if relevant else 0.3, 0.1)), relevant) for relevant in [True] * 80 + [False] * 200]
    threshold, facts = calibrated_threshold(known, "labels", 0)
    assert 0.42 < threshold < 0.58
    assert facts["likelihood_balanced_accuracy"]["held_out"] > 0.9
    with pytest.raises(InputError, match="calibration needs"):
        calibrated_threshold(known[:80], "labels", 0)


def test_threshold_from_another_labelers_pairs(tmp_path: Path, policy: str) -> None:
    oracle = label(LabelConfig.parse(values(tmp_path, policy, labeler="oracle"), "test"), tmp_path / "oracle")
    config = values(tmp_path, policy, labeler="likelihood", calibrate_on=str(oracle))
    results = read_manifest(label(LabelConfig.parse(config, "test"), tmp_path / "out"))["results"]
    assert results["likelihood_calibration_pairs"] == 36
    assert min(row["score"] for row in rows(tmp_path / "out")) < results["likelihood_threshold"]


def test_pass_rate_counts_verified_samples(tmp_path: Path, policy: str) -> None:
    sampling = {"samples": 40, "base_samples": 80, "max_new_tokens": 4, "confidence": 0.8}
    config = LabelConfig.parse(values(tmp_path, policy, labeler="pass-rate", pass_rate=sampling), "test")
    found = rows(label(config, tmp_path / "one"))
    again = rows(label(config, tmp_path / "two"))
    assert found == again and len(found) == 36
    for row in found:
        words = row["rationale"].replace(",", "").replace(";", "").split()
        (right, n), (others, n_others), (base, n_base) = (map(int, words[i].split("/")) for i in (0, 3, 8))
        assert (n, n_others, n_base) == (40, 200, 80)
        assert row["score"] == pytest.approx(right / n - others / n_others)
        assert row["relevant"] == (probability_better(right, n, others, n_others) >= 0.8)
        assert words[12] == f"{right / n - base / n_base:+.3f}"
    ends = [[float(end) for end in row["rationale"].split("[")[1].split("]")[0].split(",")] for row in found]
    assert len({row["score"] for row in found}) > 3
    manifest = read_manifest(tmp_path / "one")
    assert manifest["ledger"]["tokens_out"] > 36 * 40
    assert {"accuracy_with_trace", "accuracy_without"} <= set(manifest["results"])
    assert manifest["results"]["better_than_none"] == sum(low > 0 for low, _ in ends)
    assert manifest["results"]["worse_than_none"] == sum(high < 0 for _, high in ends)
    gain, results = manifest["results"]["gain_over_none"], manifest["results"]
    assert gain["value"] == pytest.approx(results["accuracy_with_trace"] - results["accuracy_without"])
    assert gain["low"] < gain["value"] < gain["high"]
    for start in range(0, 36, 6):  # what one gains the others lose
        assert sum(row["score"] for row in found[start : start + 6]) == pytest.approx(0)


def test_pass_rate_of_a_single_candidate_is_told_against_none(tmp_path: Path, policy: str) -> None:
    sampling = {"samples": 8, "base_samples": 16, "max_new_tokens": 4}
    one = values(tmp_path, policy, labeler="pass-rate", pass_rate=sampling, candidates={"per_problem": 1})
    for row in rows(label(LabelConfig.parse(one, "test"), tmp_path / "out")):
        words = row["rationale"].replace(";", "").split()
        right, base = (int(words[i].split("/")[0]) for i in (0, 8))
        assert row["score"] == pytest.approx(right / 8 - base / 16)


def test_probability_better_is_the_integral() -> None:
    for right, n, base, n_base in ((3, 8, 2, 16), (0, 4, 9, 9), (8, 8, 0, 32), (5, 10, 10, 20)):
        p, p0 = stats.beta(1 + right, 1 + n - right), stats.beta(1 + base, 1 + n_base - base)
        expected = integrate.quad(lambda x, p=p, p0=p0: p.pdf(x) * p0.cdf(x), 0, 1)[0]
        assert probability_better(right, n, base, n_base) == pytest.approx(expected, abs=1e-6)


def test_intervals_are_those_of_the_literature() -> None:
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I
    low, high = newcombe(56, 70, 48, 80)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)  # Newcombe 1998b, method 10


def test_a_cheap_labeler_screens_and_a_dear_one_decides(tmp_path: Path, policy: str) -> None:
    with FaultServer() as server:
        judge = {"base_url": server.url, "model": "m"}
        config = values(tmp_path, policy, labeler="judge", screen="likelihood", screen_keep=0.5, judge=judge)
        folder = label(LabelConfig.parse(config, "test"), tmp_path / "out")
        assert len(server.bodies) == 18
    plain = rows(label(LabelConfig.parse(values(tmp_path, policy, labeler="likelihood"), "test"), tmp_path / "plain"))
    found = rows(folder)
    assert [(r["problem_id"], r["trace_id"]) for r in found] == [(r["problem_id"], r["trace_id"]) for r in plain]
    for start in range(0, 36, 6):
        group = range(start, start + 6)
        best = sorted(group, key=lambda i: -plain[i]["score"])[:3]
        for i in group:
            assert found[i]["labeler"] == ("judge" if i in best else "likelihood")
            if i not in best:
                assert not found[i]["relevant"] and found[i]["rationale"].startswith("screened out")


def test_screen_and_labeler_must_differ(tmp_path: Path, policy: str) -> None:
    config = values(tmp_path, policy, labeler="oracle", screen="oracle")
    with pytest.raises(InputError, match="another, cheaper labeler"):
        label(LabelConfig.parse(config, "test"), tmp_path / "out")


def test_oracle_without_its_column_is_told(tmp_path: Path, policy: str) -> None:
    config = values(tmp_path, policy, labeler="oracle", structure_column="shape")
    with pytest.raises(InputError, match="problem p0: no column `shape`"):
        label(LabelConfig.parse(config, "test"), tmp_path / "out")
