"""Which families of reasoning-gym the reward works for; the count is in docs/beyond-math.md."""

import pytest

from rarft.core.errors import InputError
from rarft.rewards import verify
from rarft.testbed.reasoning_gym import ReasoningGymConfig, make_reasoning_gym

reasoning_gym = pytest.importorskip("reasoning_gym")
NOT = {"arc_agi", "boxnet", "composite", "game_of_life_halting", "graph_color", "propositional_logic", "rearc",
       "rubiks_cube", "rush_hour"}  # fmt: skip


@pytest.mark.slow
def test_every_family_but_nine_rewards_its_own_answer_and_no_other(tmp_path):
    from reasoning_gym.factory import DATASETS

    from rarft.records.problems import load_problems

    works = set()
    for family in sorted(DATASETS):
        config = ReasoningGymConfig(families=[family, "gcd"], n_train=4, n_eval=0, n_corpus=2)
        try:
            folder = make_reasoning_gym(config, tmp_path / family)
        except InputError:
            continue
        problems = [problem for problem in load_problems(str(folder / "train")) if problem.kind == family]
        golds, extras = [problem.answer for problem in problems], [problem.extra for problem in problems]
        own = [f"So it is \\boxed{{{gold}}}" for gold in golds]
        right = verify(golds, own, name="reasoning-gym", extras=extras, timeout=20)
        wrong = verify(golds, [r"\boxed{no idea}"] * len(golds), name="reasoning-gym", extras=extras, timeout=20)
        if all(v.reward == 1 for v in right) and all(v.reward == 0 for v in wrong):
            works.add(family)
    assert set(DATASETS) - works <= NOT
