import json

import pytest

from rarft.core.errors import InputError
from rarft.records.problems import load_problems, load_traces
from rarft.rewards import check_golds, get_reward, verify
from rarft.testbed.reasoning_gym import SOLVERS, ReasoningGymConfig, make_reasoning_gym

pytest.importorskip("reasoning_gym")
NAME = "reasoning-gym"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config = ReasoningGymConfig(
        families=[*SOLVERS, "isomorphic_strings"],
        n_train=48,
        n_eval=24,
        n_corpus=30,
        options={"tower_of_hanoi": {"max_disks": 5}, "knights_knaves": {"n_people": 3}},
    )
    return make_reasoning_gym(config, tmp_path_factory.mktemp("gym") / "out")


def test_families_are_shared_evenly_and_no_question_occurs_twice(made):
    train, evaluation = load_problems(str(made / "train")), load_problems(str(made / "eval"))
    corpus = load_traces(str(made / "corpus"))
    for rows, each in ((train, 8), (evaluation, 4)):
        kinds = [row.kind for row in rows]
        assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys([*SOLVERS, "isomorphic_strings"], each)
    assert {trace.kind for trace in corpus} == set(SOLVERS)
    questions = [row.question for row in train + evaluation] + [trace.problem for trace in corpus]
    assert len(set(questions)) == len(questions)


def test_every_written_out_solution_earns_the_reward_and_anothers_does_not(made):
    problems = {problem.id: problem for problem in load_problems(str(made / "train"))}
    traces = load_traces(str(made / "train"))
    assert len(traces) == 40
    owners = [problems[trace.id] for trace in traces]
    extras = [problem.extra for problem in owners]
    golds = [problem.answer for problem in owners]
    assert {v.reason for v in verify(golds, [t.solution for t in traces], name=NAME, extras=extras)} == {"correct"}
    without = [trace.solution.replace("\\boxed", "") for trace in traces]
    for trace, stripped in zip(traces, without, strict=True):
        assert "The answer is {" in stripped and len(trace.solution.splitlines()) >= 2
    moved = traces[20:] + traces[:20]  # solutions of another family
    assert {v.reason for v in verify(golds, [t.solution for t in moved], name=NAME, extras=extras)} == {"wrong"}


def test_gold_answers_are_checked_against_their_scorer(made):
    problems = load_problems(str(made / "train"))
    golds, extras = [p.answer for p in problems], [p.extra for p in problems]
    assert check_golds(golds, name=NAME, extras=extras) == [None] * len(golds)
    planned = [problem.extra for problem in problems if problem.kind == "tower_of_hanoi"]  # scored by trying the moves
    faults = check_golds(["nonsense"] * len(planned), name=NAME, extras=planned)
    assert all(fault and "full marks" in fault for fault in faults)
    assert "metadata" in check_golds(["1"], name=NAME, extras=[{}])[0]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{\text{True}}", "True"),
        ("<answer> True </answer>", "True"),
        ("<answer>False</answer> \\boxed{True}", "True"),
        ("The answer is True.", "True"),
        ("\\boxed{Move disk 1 from Peg 1 to Peg 2\nMove disk 2 from Peg 1 to Peg 3}",
         "Move disk 1 from Peg 1 to Peg 2\nMove disk 2 from Peg 1 to Peg 3"),
        ("<answer>1</answer> or <answer>2</answer>, not </answer> nor <answer>3", "2"),
        ("<answer>1<answer>2</answer>", "2"),
        ("<answer></answer>", None),
        ("</answer><answer>5. The answer is 6.", "6"),
        ("\\boxed{}", None),
        ("True", None),
    ],
)  # fmt: skip
def test_extraction(completion, answer):
    assert get_reward(NAME).extract(completion) == answer


def test_form_alone_earns_nothing(made):
    problems = [p for p in load_problems(str(made / "train")) if p.kind in SOLVERS]
    golds, extras = [p.answer for p in problems], [p.extra for p in problems]
    for text in (r"\boxed{?}", r"\boxed{True or False}", "\\boxed{" + "0 1 2 3 4 5 6 7 8 9 " * 50 + "}"):
        assert {v.reason for v in verify(golds, [text] * len(golds), name=NAME, extras=extras)} == {"wrong"}


def test_the_same_seed_makes_the_same_problems(tmp_path):
    folders = [
        make_reasoning_gym(ReasoningGymConfig(n_train=6, n_eval=2, n_corpus=4, seed=seed), tmp_path / str(i))
        for i, seed in enumerate((1, 1, 2))
    ]
    first, again, other = [(folder / "train" / "problems.jsonl").read_text() for folder in folders]
    assert first == again != other
    row = json.loads(first.splitlines()[0])
    assert json.loads(row["metadata"])["source_dataset"] == row["kind"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["isomorphic_strings"]}, "none of them has traces"),
        ({"families": ["gcd", "no_such"]}, "family no_such"),
        ({"families": ["gcd"], "options": {"gcd": {"no_such": 1}}}, "family gcd"),
        ({"families": ["gcd"], "options": {"lcm": {}}}, "lcm is not among the families"),
        ({"families": ["tower_of_hanoi"], "options": {"tower_of_hanoi": {"max_disks": 3}}}, "different problems"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make_reasoning_gym(ReasoningGymConfig(**options), tmp_path / "out")
