"""Context variation, ensembling and diversity: against enumeration, and on rollouts whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rarft.evaluation.contexts import diversity, ensemble, summarise, variation
from rarft.records.rollouts import Rollout


def sampled(accuracies: dict[str, list[float]], n: int, seed: int = 0) -> list[Rollout]:
    """n rollouts per problem and context; context i of problem p is right with chance accuracies[p][i]."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem, chances in accuracies.items():
        for rank, chance in enumerate(chances, start=1):
            for sample in range(n):
                right = bool(rng.random() < chance)
                rows.append(Rollout("b", problem, rank, sample, [f"t{rank}"], "", "4" if right else f"w{sample % 3}",
                                    float(right), "correct" if right else "wrong", 5, False))  # fmt: skip
    return rows


def test_contexts_that_do_not_matter_spread_only_by_chance() -> None:
    rows = sampled({f"p{i}": [0.5] * 4 for i in range(300)}, n=8)
    found = variation(rows)
    summary = summarise(found)
    assert len(found) == 300
    assert summary["spread"]["value"] > 0.3
    assert summary["spread"]["value"] == pytest.approx(summary["spread_by_chance"]["value"], abs=0.04)
    assert summary["best"]["value"] > 0.65
    assert summary["best_held_out"]["value"] == pytest.approx(0.5, abs=0.07)


def test_contexts_that_matter_spread_more_than_chance() -> None:
    rows = sampled({f"p{i}": [0.9, 0.5, 0.1] for i in range(30)}, n=16)
    baseline = [
        Rollout("b", f"p{i}", 0, s, [], "", "4", float(s % 2), "correct", 5, False) for i in range(30) for s in range(4)
    ]
    found = variation(rows, baseline)
    summary = summarise(found)
    assert summary["spread"]["low"] > summary["spread_by_chance"]["high"]
    assert summary["best_held_out"]["value"] == pytest.approx(0.9, abs=0.05)
    assert summary["worst"]["value"] == pytest.approx(0.1, abs=0.06)
    assert summary["baseline"]["value"] == 0.5
    assert summary["top_1_minus_baseline"]["value"] == pytest.approx(0.4, abs=0.06)
    assert summary["top_1_at_least_baseline"]["value"] == 1.0
    assert found[0].trace_ids == {1: "t1", 2: "t2", 3: "t3"}


def test_seeds_are_pooled() -> None:
    runs = [sampled({f"p{i}": [0.8, 0.2] for i in range(40)}, n=8, seed=seed) for seed in range(3)]
    summary = summarise(*[variation(rows) for rows in runs])
    assert summary["top_1"]["n_seeds"] == 3
    assert summary["top_1"]["value"] == pytest.approx(
        np.mean([row.reward for rows in runs for row in rows if row.context == 1])
    )
    assert summary["spread_beyond_chance"]["low"] > 0
    found = ensemble(*runs)
    assert found and found["avg"]["difference"]["n_seeds"] == 3 and found["avg"]["difference"]["high"] < 0


def test_variation_needs_two_contexts() -> None:
    with pytest.raises(ValueError, match="at least two contexts"):
        variation(sampled({"p": [0.5]}, n=4))


def test_spread_pass_is_exact() -> None:
    rows = sampled({"p": [0.6, 0.4]}, n=6, seed=3)
    by_rank = [[row.reward for row in rows if row.context == rank] for rank in (1, 2)]
    halves = [list(itertools.combinations(rewards, 3)) for rewards in by_rank]
    passed = [any(a) or any(b) for a, b in itertools.product(*halves)]
    found = ensemble(rows)
    assert (found["k"], found["contexts"]) == (6, 2)
    assert found["pass"]["spread"]["value"] == pytest.approx(np.mean(passed))
    assert found["pass"]["top_1"]["value"] == float(any(by_rank[0]))
    assert found["avg"]["spread"]["value"] == pytest.approx(np.mean([row.reward for row in rows]))


def test_spreading_helps_where_one_unknown_context_works() -> None:
    rng = np.random.default_rng(1)
    table = {f"p{i}": [float(c) for c in rng.permutation([0.6, 0.0, 0.0, 0.0])] for i in range(80)}
    found = ensemble(sampled(table, n=16, seed=2))
    assert found["pass"]["difference"]["low"] > 0
    assert abs(found["avg"]["difference"]["value"]) < 0.1
    assert ensemble(sampled({"p": [0.5, 0.5, 0.5]}, n=2)) is None  # too few samples to spread


def test_diversity() -> None:
    vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0]), "c": np.array([1.0, 0.0])}
    found = diversity({"p": ["a", "b"], "q": ["a", "c"]}, embeddings=vectors, patterns={"a": "x", "b": "y", "c": "x"})
    assert found["embedding_distance"]["value"] == pytest.approx(0.5)  # 1 for p, 0 for q
    assert found["distinct_patterns"]["value"] == pytest.approx(1.5)
    assert found["contexts"] == 2


def test_solved_by_sets() -> None:
    rows = sampled({"p": [1.0, 0.0], "q": [0.0, 1.0], "r": [1.0, 1.0], "s": [0.0, 0.0]}, n=2)
    found = diversity({}, rollouts=rows)["solved_by"]
    assert found["only"] == {"1": ["p"], "2": ["q"]}
    assert found["share_solved"] == {"1": 0.5, "2": 0.5}
    assert found["share_solved_by_any"] == 0.75
    assert found["share_solved_by_one"] == 0.5
    assert found["jaccard_distance"] == pytest.approx(2 / 3)
