"""The train stage end to end on random models: each algorithm, its files, resume after a kill, several processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rarft.core.artifacts import read_manifest
from rarft.core.checkpoints import cut_log
from rarft.core.errors import InputError, StageError
from rarft.models.engines.transformers import TransformersEngine
from rarft.models.loading import load_policy
from rarft.policy.contexts import Demonstrations, schedule, shares_of
from rarft.policy.job import load_job
from rarft.policy.train import TrainConfig, train
from rarft.policy.trl.monitor import Monitor
from rarft.policy.trl.training import arguments
from rarft.records.problems import Problem, Trace
from rarft.records.rollouts import read_rollouts
from tests.policy.tiny import save_policy, write_problems


def config(tmp_path: Path, **options: Any) -> TrainConfig:
    data = write_problems(tmp_path / "data")
    model = tmp_path / "model"
    values: dict[str, Any] = {
        "problems": str(data),
        "traces": str(data),
        "analogies": str(data),
        "model": str(model) if model.exists() else save_policy(model),
        "prompt": {"instruction": ""},
        "num_generations": 4,
        "prompts_per_step": 2,
        "steps": 3,
        "learning_rate": 1e-3,
        "max_completion_length": 12,
        "micro_batch": 4,
        **options,
    }
    return TrainConfig.parse(values, "test")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "rloo", "sft"])
def test_each_algorithm_trains_and_leaves_a_model(algorithm: str, tmp_path: Path) -> None:
    reward = {} if algorithm == "sft" else {"reward": "tests.policy.rewards:Capitals"}
    job = config(tmp_path, algorithm=algorithm, eval_problems=str(tmp_path / "data"), eval_every=2, **reward)
    out = train(job, tmp_path / "out")
    _, tokenizer = load_policy(str(out), device="cpu")
    assert tokenizer.eos_token == "<eos>" and not list(out.glob("*.bin")) and not (out / "scratch").exists()
    before = weights(tmp_path / "model")
    assert any(not torch.equal(weights(out)[name], before[name]) for name in before)
    log = rows(out / "log.jsonl")
    steps = [row for row in log if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3] and all(row["seconds"] > 0 for row in steps)
    assert [row["step"] for row in log if "eval_accuracy" in row] == [0, 2, 3]
    results = json.loads((out / "manifest.json").read_text())["results"]
    assert results["steps"] == 3 and results["with_demonstration"] == 5
    if algorithm == "sft":
        assert steps[-1]["loss"] < steps[0]["loss"]
        return
    assert all(abs(sum(row[f"reason/{r}"] for r in REASONS) - 1) < 1e-6 for row in steps)
    assert all(0 <= row["truncated"] <= 1 and row["mean_length"] <= 12 for row in steps)
    rollouts = read_rollouts(out)
    size = len(rollouts) // 3
    assert [rollout.step for rollout in rollouts] == [1] * size + [2] * size + [3] * size
    for step, row in enumerate(steps, 1):
        assert np.mean([r.reward for r in rollouts if r.step == step]) == pytest.approx(row["reward"])
    assert all(len(rollout.trace_ids) == (rollout.problem_id != "p5") for rollout in rollouts)
    assert len({(rollout.visit, rollout.sample) for rollout in rollouts}) == len(rollouts)
    samples = rows(out / "samples.jsonl")
    assert [row["step"] for row in samples] == [1, 2, 3]
    assert all(len(row["demonstrations"]) == (row["problem_id"] != "p5") for row in samples)


REASONS = ("correct", "wrong", "no_answer", "timeout", "error")


def test_without_retrieval_the_same_code_sees_bare_prompts(tmp_path: Path) -> None:
    out = train(config(tmp_path, retrieval=False, steps=1, samples_per_step=8), tmp_path / "out")
    assert all(row["demonstrations"] == [] for row in rows(out / "samples.jsonl"))
    assert json.loads((out / "manifest.json").read_text())["results"]["with_demonstration"] == 0


def test_lora_is_merged_into_a_plain_model(tmp_path: Path) -> None:
    out = train(config(tmp_path, lora={"rank": 2}, reward="tests.policy.rewards:Capitals", bf16=True), tmp_path / "out")
    before, after = weights(tmp_path / "model"), weights(out)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed
    assert all("proj" in name for name in changed)


def test_same_seed_same_result_and_micro_batches_do_not_matter(tmp_path: Path) -> None:
    """With plain gradient descent: AdamW's first steps turn the last bit of a small gradient into a full step."""
    options: dict[str, Any] = {"reward": "tests.policy.rewards:Capitals", "trl": {"optim": "sgd"}, "learning_rate": 0.1}
    one = train(config(tmp_path, **options), tmp_path / "one")
    two = train(config(tmp_path, **options), tmp_path / "two")
    wide = train(config(tmp_path, micro_batch=8, **options), tmp_path / "wide")
    tokens = [
        train(config(tmp_path, micro_batch=None, micro_batch_tokens=n, **options), tmp_path / f"tokens-{n}")
        for n in (1, 70, None)
    ]
    other = train(config(tmp_path, seed=1, **options), tmp_path / "other")
    a, b, c, d = map(weights, (one, two, wide, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], d[name]) for name in a)
    assert all(max((a[name] - w[name]).abs().max() for name in a) < 1e-6 for w in (c, *map(weights, tokens)))
    assert [r["reward"] for r in rows(one / "log.jsonl")] == [r["reward"] for r in rows(wide / "log.jsonl")]


def modules() -> str:
    """PYTHONPATH of a process that needs the tests, and finds the rest where this one does."""
    return os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])


def start(job: TrainConfig, output: Path) -> subprocess.Popen[bytes]:
    path = output.parent / "job.json"
    path.write_text(json.dumps(job.model_dump(mode="json")))
    code = (
        "import json, sys; from rarft.policy.train import TrainConfig, train;"
        f"train(TrainConfig(**json.load(open({str(path)!r}))), {str(output)!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": modules()})


def test_sft_takes_as_many_rows_as_their_tokens_allow(tmp_path: Path) -> None:
    options: dict[str, Any] = {"algorithm": "sft", "prompts_per_step": 4, "trl": {"optim": "sgd"}, "learning_rate": 0.1}

    def job(tokens: int) -> TrainConfig:
        return config(tmp_path, micro_batch=None, micro_batch_tokens=tokens, **options)

    rows_of = [arguments(load_job(job(n)), tmp_path)["per_device_train_batch_size"] for n in (1, 220, 10_000)]
    assert rows_of[0] == 1 < rows_of[1] < rows_of[2] == 4
    a, b = (weights(train(job(n), tmp_path / str(n))) for n in (1, 10_000))
    assert max((a[name] - b[name]).abs().max() for name in a) < 1e-6


def part(scratch: Path) -> None:
    """What one process left becomes what two would have: a problem of each step, and some tokens, are another's."""
    lines = (scratch / "rollouts-0.jsonl").read_bytes().splitlines(keepends=True)
    for process in range(2):
        of_process = [line for i, line in enumerate(lines) if i // 4 % 2 == process]
        (scratch / f"rollouts-{process}.jsonl").write_bytes(b"".join(of_process))
    for counted in scratch.glob("checkpoints/*/tokens-0.json"):
        tokens_in, tokens_out = json.loads(counted.read_text())
        counted.write_text(json.dumps([tokens_in - 7, tokens_out - 5]))
        counted.with_name("tokens-1.json").write_text("[7, 5]")


@pytest.mark.parametrize("algorithm", ["grpo", pytest.param("sft", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_with_the_same_curve(algorithm: str, tmp_path: Path) -> None:
    options = {"reward": "tests.policy.rewards:Capitals"} if algorithm == "grpo" else {"optimizer": "muon"}
    job = config(tmp_path, algorithm=algorithm, steps=40, save_every=3, **options)  # 13 passes over the problems
    whole = train(job, tmp_path / "whole")
    process = start(job, tmp_path / "killed")
    log = tmp_path / ".killed.partial" / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 8):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = len(log.read_text().splitlines())
    assert reached < 40
    if algorithm == "grpo":  # and goes on in fewer processes
        part(tmp_path / ".killed.partial" / "scratch")
    killed = train(job, tmp_path / "killed")
    a, b = rows(whole / "log.jsonl"), rows(killed / "log.jsonl")
    assert [row["step"] for row in b] == list(range(1, 41))
    if algorithm == "grpo":
        assert read_rollouts(killed) == read_rollouts(whole)
    for x, y in zip(a, b, strict=True):
        assert x["loss"] == y["loss"] and x.get("reward") == y.get("reward")
    assert all(torch.equal(weights(whole)[name], weights(killed)[name]) for name in weights(whole))
    ledgers = [read_manifest(folder)["ledger"] for folder in (whole, killed)]
    assert all(ledgers[0][tokens] == ledgers[1][tokens] for tokens in ("tokens_in", "tokens_out"))
    assert ledgers[0]["tokens_in"] > 0
    if algorithm == "grpo":
        assert rows(whole / "samples.jsonl") == rows(killed / "samples.jsonl")


@pytest.mark.parametrize(
    ("micro_batch", "trl", "steps"),
    [
        (4, {}, 3),
        (4, {"steps_per_generation": 1}, 3),
        (4, {"num_iterations": 2}, 4),
        (4, {"steps_per_generation": 4}, 4),
        (8, {"steps_per_generation": 4}, 4),
        (4, {"steps_per_generation": 5}, 5),
        (8, {"steps_per_generation": 2, "num_iterations": 3}, 6),
    ],
)
def test_checkpoints_lie_between_rollouts(micro_batch: int, trl: dict[str, int], steps: int, tmp_path: Path) -> None:
    job = load_job(config(tmp_path, micro_batch=micro_batch, trl=trl, save_every=3))
    assert arguments(job, tmp_path)["save_steps"] == steps


@pytest.mark.parametrize("trl", [{"num_iterations": 2}, {"steps_per_generation": 4}])
def test_a_run_whose_steps_share_rollouts_goes_on_in_phase(
    trl: dict[str, int], tmp_path: Path, monkeypatch: Any
) -> None:
    saved, breaks = [], [5]

    def on_save(self: Monitor, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        saved.append(state.global_step)
        noted(self, args, state, *rest, **more)

    def on_step_begin(self: Monitor, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        if state.global_step in breaks:
            raise KeyboardInterrupt

    def job(save_every: int) -> TrainConfig:
        options = {"reward": "tests.policy.rewards:Capitals", "steps": 8, "trl": trl, "save_every": save_every}
        return config(tmp_path, **options)

    noted = Monitor.on_save
    whole = train(job(3), tmp_path / "whole")
    monkeypatch.setattr(Monitor, "on_save", on_save)
    monkeypatch.setattr(Monitor, "on_step_begin", on_step_begin)
    with pytest.raises(KeyboardInterrupt):
        train(job(3), tmp_path / "broken")
    breaks.clear()
    broken = train(job(5), tmp_path / "broken")
    assert read_rollouts(broken) == read_rollouts(whole)
    assert all(torch.equal(weights(whole)[name], weights(broken)[name]) for name in weights(whole))
    assert saved == [4, 6, 8]


@pytest.mark.parametrize(
    ("torn", "step", "kept"),
    [("", 2, 3), ("", 5, 4), ('{"step": 2, "comp', 2, 3), ('{"step": 3}', 3, 4), ("\0\0\n", 3, 4), ("", 0, 0)],
)
def test_a_log_is_cut_at_the_first_later_row_without_being_written_again(
    torn: str, step: int, kept: int, tmp_path: Path, monkeypatch: Any
) -> None:
    """Line ends within a text are no ends of rows."""
    rows = [{"step": n, "completion": "a\u2028b\x85c\x0cd"} for n in (1, 2, 2, 3)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(lines) + torn, encoding="utf-8")
    with monkeypatch.context() as patch:
        for name in ("read_text", "read_bytes", "write_text", "write_bytes"):
            patch.delattr(Path, name)
        cut_log(log, step)
        cut_log(tmp_path / "none.jsonl", step)
    assert log.read_text(encoding="utf-8") == "".join(lines[:kept])


TWO = "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"


def test_fewer_processes_than_were_asked_for_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    """With --cpu, accelerate starts one process whatever it is asked for."""
    monkeypatch.setenv("PYTHONPATH", modules())
    with pytest.raises(InputError, match="num_processes is 2, but accelerate started 1"):
        train(config(tmp_path, launch=f"--cpu {TWO}"), tmp_path / "out")


def test_two_processes_give_the_update_of_one_with_twice_the_batch(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", modules())
    options: dict[str, Any] = {"reward": "tests.policy.rewards:Capitals", "steps": 2, "trl": {"optim": "sgd"}}
    options |= {"learning_rate": 0.1, "eval_problems": str(tmp_path / "data")}
    one = train(config(tmp_path, micro_batch=8, **options), tmp_path / "one")
    launch = f"--multi_gpu {TWO}"
    two = train(config(tmp_path, launch=launch, micro_batch=None, micro_batch_tokens=70, **options), tmp_path / "two")
    a, b, before = weights(one), weights(two), weights(tmp_path / "model")
    assert max((a[name] - before[name]).abs().max() for name in a) > 1e-3
    assert max((a[name] - b[name]).abs().max() for name in a) <= 1e-6
    for x, y in zip(rows(one / "log.jsonl"), rows(two / "log.jsonl"), strict=True):
        assert x.get("reward") == y.get("reward") and x.get("eval_accuracy") == y.get("eval_accuracy")


def descendants(root: int) -> dict[int, str]:
    """Ids and command lines of the processes below `root`."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found, grown = {root}, True
    while grown:
        below = {child for child, parent in parents.items() if parent in found}
        found, grown = found | below, not below <= found
    told = {}
    for child in found - {root}:
        with suppress(OSError):
            told[child] = (Path("/proc") / str(child) / "cmdline").read_text().replace("\0", " ")
    return told


@pytest.mark.slow
@pytest.mark.parametrize("when", ["while it starts", "while it trains"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_of_a_launch_end_with_rarft(when: str, number: signal.Signals, tmp_path: Path) -> None:
    launch = f"--multi_gpu {TWO}"
    options: dict[str, Any] = {"reward": "tests.policy.rewards:Capitals", "steps": 100_000, "launch": launch}
    process = start(config(tmp_path, micro_batch=8, **options), tmp_path / "out")
    log = tmp_path / ".out.partial" / "log.jsonl"
    handles: dict[int, int] = {}
    try:
        while True:
            assert process.poll() is None
            workers = [child for child, line in descendants(process.pid).items() if "rarft.policy.worker" in line]
            if len(workers) >= 3 and (when == "while it starts" or log.exists()):  # the launcher's line names it too
                break
            time.sleep(0.05)
        handles = {child: os.pidfd_open(child) for child in descendants(process.pid)}
    finally:
        process.send_signal(number)
        process.wait()
    for child, handle in handles.items():
        assert select.select([handle], [], [], 120)[0], f"process {child} goes on"  # readable once it has ended


def test_nothing_to_learn_from_is_reported(tmp_path: Path, capsys: Any) -> None:
    train(config(tmp_path, steps=4, constant_reward_steps=2, reward="tests.policy.rewards:Nothing"), tmp_path / "out")
    assert capsys.readouterr().err.count("every group's rewards were equal") == 2


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"stopped at step \d+: (loss|grad_norm) is (nan|inf)"):
        train(config(tmp_path, algorithm="sft", steps=20, learning_rate=1e30), tmp_path / "out")


def test_bad_input_is_told_before_training(tmp_path: Path, monkeypatch: Any) -> None:
    cases = [
        ({"num_generations": 1}, "at least 2 samples"),
        ({"traces": None}, "give the corpus"),
        ({"draw_top": 1, "top_k": 2}, "below top-k"),
        ({"contexts_per_group": 3}, "does not divide num-generations"),
        ({"demonstration_schedule": "linear:1"}, "give constant, or linear:FROM:TO"),
        ({"trl": {"epsilom": 0.1}}, "did you mean `epsilon`"),
        ({"trl": {"max_steps": 7}}, "trl.max_steps: is set by --steps; give that instead"),
        ({"launch": "'"}, "No closing quotation"),
        ({"report_to": "trackio"}, "trackio, which is not installed: pip install trackio"),
        ({"max_completion_length": 250}, "problem p.: its prompt of .* exceed the model's 256"),
        ({"algorithm": "sft", "eval_problems": str(tmp_path / "data"), "max_completion_length": 250}, "250 new ones"),
        ({"algorithm": "sft", "vllm": "colocate"}, "samples rollouts, and sft has none"),
        ({"algorithm": "sft", "traces": str(tmp_path / "data" / "few.jsonl"), "retrieval": False}, "sft needs one"),
        ({"traces": str(tmp_path / "data" / "few.jsonl")}, "trace 't1' is not in"),
    ]
    config(tmp_path)
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it were not installed
    (tmp_path / "data" / "few.jsonl").write_text(json.dumps({"id": "t0", "problem": "x", "solution": "y"}) + "\n")
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            train(config(tmp_path, **options), tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"draw_top": 2}, {"contexts_per_group": 2}, {"draw_top": 2, "algorithm": "sft"}])
def test_a_context_that_does_not_fit_is_told_before_training(options: dict[str, Any], tmp_path: Path) -> None:
    """The second-best trace of p0 is too long, and the best one is not."""
    job = config(tmp_path, steps=9, **options)
    path = tmp_path / "data" / "traces.jsonl"
    changed = [{**row, "solution": "1 " * 150} if row["id"] == "t1" else row for row in rows(path)]
    analogies = [{"problem_id": "p0", "rank": rank + 1, "trace_id": f"t{rank}"} for rank in range(2)]
    for name, made in (("traces", changed), ("analogies", analogies)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    job = job.model_copy(update={name: str(tmp_path / f"{name}.jsonl") for name in ("traces", "analogies")})
    with pytest.raises(InputError, match=r"problem p0: its prompt of .* exceed the model's 256"):
        load_job(job)


def test_demonstrations_on_a_visit() -> None:
    traces = [Trace(str(i), "p", "s") for i in range(5)]
    problem = Problem("q", "?", "1")
    assert [t.id for t in Demonstrations({"q": traces}, top_k=2).on_visit(problem, 7)] == ["0", "1"]
    assert Demonstrations({}, top_k=2).on_visit(problem, 7) == []
    dropping = Demonstrations({"q": traces}, drop=0.3)
    share = sum(not dropping.on_visit(problem, visit) for visit in range(2000)) / 2000
    assert abs(share - 0.3) < 0.04
    drawing = Demonstrations({"q": traces}, top_k=2, draw_top=4)
    seen = {tuple(t.id for t in drawing.on_visit(problem, visit)) for visit in range(200)}
    assert seen == {(a, b) for a in "0123" for b in "0123" if a < b}
    assert drawing.on_visit(problem, 3) == drawing.on_visit(problem, 3)


def test_demonstrations_fade_as_the_schedule_says() -> None:
    traces = [Trace(str(i), "p", "s") for i in range(3)]
    fading = Demonstrations({"q": traces}, shares=shares_of("linear:1:0"), visits=4000)
    shown = [bool(fading.on_visit(Problem("q", "?", "1"), visit)) for visit in range(4000)]
    assert np.mean(shown[:400]) > 0.9 and np.mean(shown[-400:]) < 0.1 and abs(np.mean(shown) - 0.5) < 0.03
    assert shares_of("constant") == (1, 1) and shares_of("linear:0.5:.25") == (0.5, 0.25)
    for wrong in ("linear", "linear:1", "linear:2:0", "linear:-1:0", "cosine:1:0", "linear:nan:0"):
        with pytest.raises(InputError, match=f"demonstration-schedule {wrong}: give constant, or linear:FROM:TO"):
            shares_of(wrong)


def test_the_contexts_of_a_group_are_the_best_traces_in_turn_or_draws() -> None:
    traces = [Trace(str(i), "p", "s") for i in range(5)]
    problem = Problem("q", "?", "1")
    best = Demonstrations({"q": traces}, top_k=2)
    assert [[t.id for t in best.on_visit(problem, 0, i)] for i in range(4)] == [
        ["0", "1"], ["2", "3"], ["3", "4"], ["3", "4"]
    ]  # fmt: skip
    drawing = Demonstrations({"q": traces}, draw_top=5)
    assert len({drawing.on_visit(problem, 0, context)[0].id for context in range(40)}) == 5


def test_held_out_problems_with_ids_of_training_problems_are_asked_their_own_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Noting(TransformersEngine):
        def sample(self, prompts: Any, *rest: Any) -> Any:
            asked.extend(self.tokenizer.batch_decode(prompts))
            return super().sample(prompts, *rest)

    monkeypatch.setattr("rarft.policy.trl.monitor.TransformersEngine", Noting)
    held_out = [{"id": f"p{i}", "question": f"What is {i}*7?", "answer": str(7 * i)} for i in range(6)]
    analogies = [{"problem_id": f"p{i}", "rank": 1, "trace_id": f"t{5 - i}"} for i in range(6)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    (tmp_path / "eval-analogies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in analogies))
    options = {"eval_problems": str(tmp_path / "eval.jsonl"), "reward": "tests.policy.rewards:Capitals"}
    job = config(tmp_path, eval_analogies=str(tmp_path / "eval-analogies.jsonl"), **options)
    out = train(job, tmp_path / "out")
    assert len(asked) == 12
    for i, prompt in enumerate(asked[:6]):
        assert f"What is {i}*7?" in prompt and f"{5 - i}+1?" in prompt and prompt.count("Problem:") == 2
    trained = {(rollout.problem_id, *rollout.trace_ids) for rollout in read_rollouts(out)}
    assert len(trained) > 3 and trained <= {(f"p{i}", f"t{i}") for i in range(5)} | {("p5",)}
    with pytest.raises(InputError, match=r"p0 has the id of another problem .*; give eval-analogies"):
        train(config(tmp_path, **options), tmp_path / "without")


def test_solutions_that_are_cut_are_told_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = {"instruction": "x" * 209}  # of the context of 256 it leaves fewer than 18
    for n, (options, cut) in enumerate(
        [({"max_completion_length": 19}, 0), ({"max_completion_length": 18}, 1), ({"prompt": prompt}, 6)]
    ):
        options = {"max_completion_length": 19, "algorithm": "sft", "retrieval": False, **options}
        out = train(config(tmp_path, **options), tmp_path / str(n))
        assert read_manifest(out)["results"]["cut_solutions"] == cut
        assert capsys.readouterr().err.count(f"{cut} of 6 solutions exceed max-new-tokens") == (cut > 0)


def test_samples_of_a_group_compete_with_different_demonstrations(tmp_path: Path) -> None:
    options = {"reward": "tests.policy.rewards:Capitals", "contexts_per_group": 2, "steps": 2}
    out = train(config(tmp_path, **options), tmp_path / "out")
    groups: dict[int, dict[int, tuple[str, ...]]] = {}
    for rollout in read_rollouts(out):
        groups.setdefault(rollout.visit or 0, {})[rollout.sample] = tuple(rollout.trace_ids)
    several = 0
    for group in groups.values():
        half = len(group) // 2
        assert len({group[i] for i in range(half)}) == len({group[i] for i in range(half, 2 * half)}) == 1
        several += group[0] != group[half]
    assert several


def test_the_schedule_passes_over_all_problems_again_and_again() -> None:
    order = schedule(5, 12, seed=0)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5)) and order[:5] != order[5:10]
