"""`evaluate` with a real (tiny, random) policy: rollouts, contexts, resuming after a kill, and bad input."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.evaluation import EvaluateConfig, evaluate, read_rollouts, scores
from rarft.evaluation.contexts import variation
from rarft.records.rows import write_jsonl

MODULE = import_module("rarft.evaluation.evaluate")  # the package has the stage of that name
ANSWERS = ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A one-layer Llama whose words include whole answers, so that random weights give some right ones."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<eos>", "so", "then", *ANSWERS, "Problem:", "Solution:", "one", "two", "three", "what"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, eos_token_id=1, bos_token_id=None, pad_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("policy")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    problems = [{"id": f"p{i}", "question": f"what {['one', 'two', 'three'][i % 3]}", "answer": str(i % 3 + 1)}
                for i in range(6)]  # fmt: skip
    traces = [{"id": f"t{i}", "problem": "one", "solution": f"so {ANSWERS[i % 3]}"} for i in range(4)]
    write_jsonl(tmp_path / "bench.jsonl", problems)
    write_jsonl(tmp_path / "traces.jsonl", traces)
    rows = [
        {"problem_id": f"p{i}", "rank": rank, "trace_id": f"t{(i + rank) % 4}", "score": 1.0 / rank}
        for i in range(6) for rank in (3, 1, 2)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "analogies.parquet")
    write_jsonl(tmp_path / "other.jsonl", [{"id": "elsewhere", "question": "what", "answer": "1"}])
    write_jsonl(tmp_path / "two.jsonl", traces[:3])
    write_jsonl(tmp_path / "again.jsonl", [{"id": "p5", "question": "what else", "answer": "1"}])
    return {path.name: str(path) for path in tmp_path.iterdir()}


def config(policy: str, files: dict[str, str], retrieval: bool = False, **more: object) -> EvaluateConfig:
    values: dict[str, object] = {"problems": files["bench.jsonl"], "model": policy, "samples": 4, "max_new_tokens": 6}
    if retrieval:
        values |= {"traces": files["traces.jsonl"], "analogies": files["analogies.parquet"]}
    return EvaluateConfig.model_validate(values | more)


def test_rollouts_and_scores(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    folder = evaluate(config(policy, files), tmp_path / "eval")
    rows = read_rollouts(folder)
    assert [(row.problem_id, row.sample) for row in rows] == [(f"p{i}", s) for i in range(6) for s in range(4)]
    for row in rows:
        last = [word for word in row.completion.split() if word in ANSWERS]
        assert row.reward == float(bool(last) and last[-1] == ANSWERS[int(row.problem_id[1]) % 3])
        assert row.n_tokens == 6 if row.truncated else 1 <= row.n_tokens <= 6
        assert row.trace_ids == [] and row.n_prompt_tokens > 0
    assert 0 < sum(row.reward for row in rows) < len(rows), "a random policy is right sometimes"
    assert 0 < sum(row.truncated for row in rows) < len(rows), "and ends sometimes"
    found = json.loads((folder / "scores.json").read_text())
    again = scores(rows)
    assert found["overall"] == again["overall"]
    assert found["benchmarks"]["bench"]["decontamination"]["status"] == "unchecked"
    ledger = read_manifest(folder)["ledger"]
    assert ledger["tokens_out"] == sum(row.n_tokens for row in rows)
    assert ledger["tokens_in"] == sum(row.n_prompt_tokens for row in rows[::4])
    assert ledger["calls"] == 24


def no_engine(*_: object) -> None:
    raise AssertionError("something would be sampled")


def test_another_k_samples_nothing_again(
    policy: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = evaluate(config(policy, files, k=4), tmp_path / "eval")
    rollouts, ledger = (folder / "rollouts.parquet").read_bytes(), read_manifest(folder)["ledger"]
    monkeypatch.setattr(MODULE, "open_engine", no_engine)
    with pytest.raises(InputError, match="k was 4, is 2"):
        evaluate(config(policy, files, k=2), folder)
    evaluate(config(policy, files, k=2), folder, overwrite=True)
    found = json.loads((folder / "scores.json").read_text())
    assert found["k"] == 2 and found["overall"] == scores(read_rollouts(folder), k=2)["overall"]
    assert (folder / "rollouts.parquet").read_bytes() == rollouts
    after = read_manifest(folder)["ledger"]
    assert [after[name] for name in ("tokens_in", "tokens_out", "calls")] == [
        ledger[name] for name in ("tokens_in", "tokens_out", "calls")
    ]
    assert after["wall_seconds"] > ledger["wall_seconds"]
    for change in ({"seed": 1}, {"samples": 2}):
        with pytest.raises(AssertionError, match="would be sampled"):
            evaluate(config(policy, files, k=2, **change), folder, overwrite=True)


def test_an_interrupted_run_goes_on_with_another_k(
    policy: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MODULE, "scores", stop)  # all is sampled
        with pytest.raises(KeyboardInterrupt):
            evaluate(config(policy, files, k=4), tmp_path / "eval")
    monkeypatch.setattr(MODULE, "open_engine", no_engine)
    assert evaluate.status(config(policy, files, k=2), tmp_path / "eval").state == "interrupted"
    folder = evaluate(config(policy, files, k=2), tmp_path / "eval")
    assert json.loads((folder / "scores.json").read_text())["k"] == 2


def test_each_context_is_sampled_alone(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    folder = evaluate(config(policy, files, True, top_k=3, contexts="each"), tmp_path / "each")
    rows = read_rollouts(folder)
    assert len(rows) == 6 * 3 * 4
    assert {(row.context, *row.trace_ids) for row in rows if row.problem_id == "p1"} == {
        (1, "t2"), (2, "t3"), (3, "t0"),
    }  # fmt: skip
    found = variation(rows)
    assert [row.problem_id for row in found] == [f"p{i}" for i in range(6)]
    assert found[1].trace_ids == {1: "t2", 2: "t3", 3: "t0"}


def test_spread_deals_samples_over_contexts(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    folder = evaluate(config(policy, files, True, top_k=3, contexts="spread"), tmp_path / "spread")
    ranks = [row.context for row in read_rollouts(folder) if row.problem_id == "p0"]
    assert ranks == [1, 1, 2, 3]


def test_together_puts_all_traces_in_one_prompt(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    folder = evaluate(config(policy, files, True, top_k=2), tmp_path / "together")
    rows = read_rollouts(folder)
    assert {tuple(row.trace_ids) for row in rows if row.problem_id == "p0"} == {("t1", "t2")}
    bare = read_rollouts(evaluate(config(policy, files), tmp_path / "bare"))
    assert rows[0].n_prompt_tokens > bare[0].n_prompt_tokens


def test_problems_without_analogies_are_asked_bare(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    table = pq.read_table(files["analogies.parquet"]).to_pylist()
    few = [row for row in table if row["problem_id"] != "p0" and (row["problem_id"], row["rank"]) != ("p1", 2)]
    pq.write_table(pa.Table.from_pylist(few), tmp_path / "few.parquet")
    chosen = config(policy, files, True, top_k=3, analogies=str(tmp_path / "few.parquet"))
    folder = evaluate(chosen, tmp_path / "eval")
    traces = {row.problem_id: row.trace_ids for row in read_rollouts(folder)}
    assert traces["p0"] == [] and traces["p1"] == ["t2", "t0"] and len(traces["p2"]) == 3
    assert read_manifest(folder)["results"]["problems_without_analogy"] == 1


def test_killed_run_goes_on_and_gives_the_same(
    policy: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module("rarft.evaluation.evaluate")
    monkeypatch.setattr(module, "ROLLOUTS_PER_CHUNK", 8)
    whole = read_rollouts(evaluate(config(policy, files), tmp_path / "whole"))
    sample, calls = module._Policy.sample, []

    def dies_in_the_second_chunk(self, chunk):  # type: ignore[no-untyped-def]
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append([prompt[1].id for prompt in chunk])
        return sample(self, chunk)

    monkeypatch.setattr(module._Policy, "sample", dies_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config(policy, files), tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    monkeypatch.setattr(module._Policy, "sample", lambda self, chunk: calls.append([p[1].id for p in chunk])
                        or sample(self, chunk))  # fmt: skip
    folder = evaluate(config(policy, files, batch_size=3), tmp_path / "killed")
    assert calls == [["p0", "p1"], ["p2", "p3"], ["p4", "p5"]], "finished chunks are not sampled again"
    assert read_rollouts(folder) == whole
    assert read_manifest(folder)["ledger"]["calls"] == 24


def test_several_benchmarks_limit_and_overlap(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    words = "a farmer has seven red hens and nine white ducks how many"
    write_jsonl(tmp_path / "long.jsonl", [{"id": "x", "question": words, "answer": "16"}])
    write_jsonl(tmp_path / "seen.jsonl", [{"id": "y", "question": f"Once {words}, altogether?", "answer": "16"},
                                          {"id": "z", "question": "nothing alike", "answer": "1"}])  # fmt: skip
    both = [files["bench.jsonl"], str(tmp_path / "long.jsonl")]
    chosen = config(policy, files, problems=both, limit=4, trained_on=str(tmp_path / "seen.jsonl"))
    folder = evaluate(chosen, tmp_path / "both")
    found = json.loads((folder / "scores.json").read_text())
    assert found["benchmarks"]["bench"]["n_problems"] == 4
    assert found["benchmarks"]["bench"]["decontamination"]["status"] == "clean"
    check = found["benchmarks"]["long"]["decontamination"]
    assert (check["status"], check["overlapping"], check["checked"]) == ("overlap", 1, 2)


def test_a_turn_of_phrase_is_no_contamination() -> None:
    from rarft.evaluation.evaluate import contamination
    from rarft.records.problems import Problem

    ending = "how many of them does she have left in the end"
    problems = [Problem(str(i), f"{name} has {i} hens, {ending}?", "1") for i, name in enumerate("ABCD")]
    assert contamination(problems, [f"Zoe has ten cows, {ending}?"])["status"] == "clean"
    assert contamination(problems[:2], [f"Zoe has ten cows, {ending}?"])["status"] == "overlap"
    assert contamination(problems, [])["status"] == "unchecked"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"analogies": "analogies.parquet"}, "give the --traces"),
        ({"contexts": "each"}, "needs --analogies"),
        ({"retrieval": True, "problems": "other.jsonl"}, "no analogy for any of the problems"),
        ({"retrieval": True, "traces": "two.jsonl"}, "trace 't3' is not in"),
        ({"retrieval": True, "problems": ["bench.jsonl", "again.jsonl"]}, "share ids, such as p5"),
        ({"max_new_tokens": 500}, "p0"),
        ({"problems": ["bench.jsonl", "bench.jsonl"]}, "second benchmark called bench"),
    ],
)
def test_bad_input_is_one_line(
    policy: str, files: dict[str, str], tmp_path: Path, more: dict[str, object], message: str
) -> None:
    def named(value: object) -> object:
        return [named(item) for item in value] if isinstance(value, list) else files.get(str(value), value)

    with pytest.raises(InputError, match=message) as caught:
        evaluate(config(policy, files, **{key: named(value) for key, value in more.items()}), tmp_path / "bad")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad").exists()


def test_a_config_that_makes_no_sense_is_refused(policy: str, files: dict[str, str]) -> None:
    for wrong in ({"samples": 0}, {"contexts": "all"}, {"temperature": -1}):
        with pytest.raises(ValidationError):
            config(policy, files, **wrong)


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_finished_chunks_nothing(policy: str, files: dict[str, str], tmp_path: Path) -> None:
    """The command itself, killed again and again, ends with the rollouts of an unbroken run."""
    import subprocess
    import sys
    import time

    write_jsonl(tmp_path / "many.jsonl", [{"id": f"m{i}", "question": f"what {i}", "answer": "1"} for i in range(160)])
    problems = str(tmp_path / "many.jsonl")
    command = [sys.executable, "-m", "rarft.cli", "evaluate", "--problems", problems, "--model", policy]
    command += ["--samples", "16", "--max-new-tokens", "24", "--output"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    scratch = tmp_path / ".killed.partial" / "scratch"
    kills, seen = 0, 0
    for _ in range(5):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(scratch.glob("chunk-*"))) <= seen:
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        now = len(list(scratch.glob("chunk-*")))
        assert now > seen, "a finished chunk stays"
        kills, seen = kills + 1, now
    else:
        subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert kills >= 3
    assert read_rollouts(tmp_path / "killed") == read_rollouts(tmp_path / "whole")


def test_k_above_the_samples_and_an_unknown_reward_are_told_before_the_model_is_loaded(
    files: dict[str, str], tmp_path: Path
) -> None:
    for options, message in (({"k": 5}, "k is 5, and problem p. of bench gets 4 samples"), ({"reward": "mth"}, "mth")):
        config = EvaluateConfig(problems=[str(tmp_path / "bench.jsonl")], model="no-such/model", samples=4, **options)
        with pytest.raises(InputError, match=message):
            evaluate(config, tmp_path / "out")
        assert not list(tmp_path.glob(".out*"))
