"""vLLM's engine against the transformers one: same scores, same distribution, nothing left behind. `make test-vllm`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from vllm_models import SMALL, house_rules, needs_vllm, real_models, tiny_model, vllm_server

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError, StageError
from rarft.models.engines import EngineOptions, open_engine
from rarft.models.engines.base import Metered, Sampling
from rarft.records.labels import read_labels
from rarft.records.rollouts import read_rollouts
from rarft.relevance.label import LabelConfig, label

pytestmark = needs_vllm
WITHIN = 1e-3
"""Nats per token, issue 15's bound; float32 engines differ by a hundredth of it."""
TEXTS = [
    ("The capital of France is", [" Paris.", " Paris, where the river Seine flows past Notre-Dame.", " 7"]),
    ("Question: 12 apples, 5 eaten. How many are left?\nAnswer:", [" 12 - 5 = 7", " 8"]),
    ("def add(a, b):\n    return", [" a + b\n"]),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return real_models(tmp_path_factory.mktemp("smollm2"))[0]


@pytest.fixture(scope="module")
def both(model: str) -> Iterator[tuple[Metered, Metered]]:
    """The transformers engine and vLLM's, in float32."""
    options = EngineOptions(dtype="float32", vllm=SMALL)
    engines = open_engine("transformers", model, options), open_engine("vllm", model, options)
    yield engines
    for engine in engines:
        engine.close()


def rows(engine: Metered) -> tuple[list[list[int]], list[list[list[int]]]]:
    def ids(text: str) -> list[int]:
        return list(engine.tokenizer(text)["input_ids"])

    return [ids(prompt) for prompt, _ in TEXTS], [[ids(text) for text in texts] for _, texts in TEXTS]


def furthest(a: Sequence[Sequence[np.ndarray]], b: Sequence[Sequence[np.ndarray]]) -> float:
    pairs = [(x, y) for of_a, of_b in zip(a, b, strict=True) for x, y in zip(of_a, of_b, strict=True)]
    assert all(x.shape == y.shape and x.dtype == np.float32 for x, y in pairs)
    return max(float(np.abs(x - y).max()) for x, y in pairs)


def test_scores_are_those_of_transformers_in_any_order(both: tuple[Metered, Metered]) -> None:
    ours, vllm = both
    prompts, texts = rows(ours)
    expected = ours.score(prompts, texts)
    assert furthest(vllm.score(prompts, texts), expected) < WITHIN
    vllm.sample(prompts, [4] * len(prompts), [0, 1, 2], Sampling(8))  # leaves prompts in the prefix cache
    assert furthest(vllm.score(prompts[::-1], texts[::-1]), expected[::-1]) < WITHIN
    assert furthest(vllm.score(prompts * 20, texts * 20), expected * 20) < WITHIN


@pytest.mark.skipif(not os.environ.get("RARFT_TEST_MODELS"), reason="RARFT_TEST_MODELS names no further model")
def test_scores_of_every_model_are_those_of_transformers() -> None:
    for name in os.environ["RARFT_TEST_MODELS"].split(os.pathsep)[1:]:
        options = EngineOptions(dtype="float32", vllm=SMALL)
        ours, vllm = open_engine("transformers", name, options), open_engine("vllm", name, options)
        prompts, texts = rows(ours)
        found = furthest(vllm.score(prompts, texts), ours.score(prompts, texts))
        vllm.close()
        assert found < WITHIN, name


def exact(engine: Metered, prompt: Sequence[int], temperature: float, top_p: float) -> np.ndarray:
    """The probabilities of the first token, computed apart from both engines' samplers."""
    with torch.no_grad():
        logits = engine.engine.model(input_ids=torch.tensor([list(prompt)])).logits[0, -1].double()
    probs = (logits / temperature).softmax(-1).numpy()
    order = np.argsort(-probs)
    before = np.cumsum(probs[order]) - probs[order]  # a token stays if those ahead of it do not reach top_p
    probs[order[before >= top_p]] = 0
    return probs / probs.sum()


def p_value(tokens: Sequence[int], probs: np.ndarray) -> float:
    """Chi-square of counts against probabilities; what is expected less than 5 times goes into one bin."""
    counts = np.bincount(tokens, minlength=len(probs))
    if counts[probs == 0].any():
        return 0.0
    expected = probs * len(tokens)
    often = expected >= 5
    seen, wanted = [*counts[often], counts[~often].sum()], [*expected[often], expected[~often].sum()]
    if wanted[-1] < 5:
        seen, wanted = [*seen[:-2], seen[-2] + seen[-1]], [*wanted[:-2], wanted[-2] + wanted[-1]]
    return float(stats.chisquare(seen, wanted).pvalue)


@pytest.mark.parametrize("which", [0, 1], ids=["transformers", "vllm"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.8), (0.8, 0.9)])
def test_first_tokens_have_the_exact_distribution(
    both: tuple[Metered, Metered], which: int, temperature: float, top_p: float
) -> None:
    prompt = list(both[0].tokenizer("My favourite word is")["input_ids"])
    drawn = both[which].sample([prompt] * 8, [250] * 8, list(range(8)), Sampling(1, temperature, top_p))
    tokens = [sample.token_ids[0] for group in drawn for sample in group]
    assert len(tokens) == 2000
    assert p_value(tokens, exact(both[0], prompt, temperature, top_p)) > 1e-4
    assert p_value(tokens, exact(both[0], prompt, 1.1 * temperature, top_p)) < 1e-4  # the test would notice
    if top_p < 1:
        assert p_value(tokens, exact(both[0], prompt, temperature, top_p - 0.08)) < 1e-4
        assert p_value(tokens, exact(both[0], prompt, temperature, top_p + 0.08)) < 1e-4


def test_a_sample_depends_on_its_prompt_and_seed_alone(both: tuple[Metered, Metered]) -> None:
    vllm = both[1]
    prompts, _ = rows(vllm)
    sampling = Sampling(6)
    once = vllm.sample(prompts, [3, 2, 4], [5, 6, 7], sampling)
    again = vllm.sample(prompts[::-1], [4, 2, 3], [7, 6, 5], sampling)
    assert again[::-1] == once
    other = vllm.sample(prompts[:1], [3], [6], sampling)
    assert other[0] != once[0] and len({tuple(sample.token_ids) for sample in once[2]}) > 1


def test_greedy_and_the_end_are_those_of_transformers(both: tuple[Metered, Metered]) -> None:
    ours, vllm = both
    chat = ours.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Say hi."}], add_generation_prompt=True, tokenize=False
    )
    prompts = [list(ours.tokenizer(text)["input_ids"]) for text in (chat, "One, two, three,")]
    found = [engine.sample(prompts, [1, 1], [0, 0], Sampling(64, temperature=0)) for engine in both]
    assert found[0] == found[1]
    ended = found[1][0][0]
    assert ended.finished and ended.token_ids[-1] in vllm.engine._stop
    (short,) = vllm.sample(prompts[:1], [1], [0], Sampling(len(ended.token_ids) - 1, temperature=0))
    assert not short[0].finished and short[0].token_ids == ended.token_ids[:-1]


def test_a_text_too_long_is_told(both: tuple[Metered, Metered]) -> None:
    vllm = both[1]
    assert vllm.context_length == 512
    with pytest.raises(InputError, match="a text of 512 tokens to be scored"):
        vllm.score([[5] * 500], [[[5] * 12]])
    with pytest.raises(StageError, match="longer than the maximum model length of 512"):
        vllm.sample([[5] * 600], [1], [0], Sampling(4))
    assert len(vllm.sample([[5] * 9], [1], [0], Sampling(4))[0]) == 1  # the engine lives on


def test_what_does_not_fit_or_is_no_option_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_model(tmp_path / "tiny", max_position_embeddings=2**20, num_key_value_heads=2)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    with pytest.raises(StageError, match=r"does not fit: it wants 0.0 GiB of weights and 1.50 GiB of cache") as told:
        chunks = {"enforce_eager": True, "enable_chunked_prefill": True, "max_num_batched_tokens": 4096}
        open_engine("vllm", tiny, EngineOptions(vllm=chunks))
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match=r"has no such argument.*nonsense"):
        open_engine("vllm", tiny, EngineOptions(vllm={"nonsense": 1}))
    with pytest.raises(InputError, match=r"vllm\.trust_remote_code"):
        open_engine("vllm", tiny, EngineOptions(vllm={"trust_remote_code": True}))


def gains(folder: Path) -> list[float]:
    """Nats per token, as the labels' rationales have them."""
    return [float(row.rationale.split()[1]) for row in read_labels(str(folder))]


def test_labels_of_both_engines_agree(tmp_path: Path, model: str) -> None:
    data = house_rules(tmp_path / "data", 8)
    folders = []
    for engine in ("transformers", "vllm"):
        options = {
            "problems": str(data / "problems.jsonl"), "traces": str(data / "corpus"),
            "gold_solutions": str(data / "train"),
            "candidates": {"per_problem": 8}, "prompt": {"instruction": ""}, "model": model, "engine": engine,
            "labeler": "likelihood", "likelihood": {"dtype": "float32", "threshold": 0.5}, "vllm": SMALL,
        }  # fmt: skip
        folders.append(label(LabelConfig.parse(options, "test"), tmp_path / engine))
    ours, vllms = (list(read_labels(str(folder))) for folder in folders)
    assert len(ours) == 64 and 5 < sum(row.relevant for row in ours) < 59
    assert gains(folders[0]) == pytest.approx(gains(folders[1]), abs=WITHIN)
    for one, other in zip(ours, vllms, strict=True):
        assert (one.problem_id, one.trace_id) == (other.problem_id, other.trace_id)
        assert one.score == pytest.approx(other.score, abs=0.02)  # in standard deviations
        assert one.relevant == other.relevant or abs(one.score - 0.5) < 0.02
    tokens, same = (read_manifest(folder)["ledger"]["tokens_in"] for folder in folders)
    assert tokens == same > 64 * 100
    assert read_manifest(folders[1])["results"]["tokens_per_second"]["in"] > 0


# Kills


def engine_processes() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"rarft.models.engines.vllm_worker" in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_killed_evaluation_goes_on_and_leaves_no_engine(tmp_path: Path) -> None:
    tiny = tiny_model(tmp_path / "tiny")
    problems = tmp_path / "sums.jsonl"
    lines = [{"id": f"p{i}", "question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(64)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in lines))
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "rarft.cli", "evaluate", "--problems", str(problems), "--model", tiny),
        *("--engine", "vllm", "--vllm.data-parallel-size", "2", "--vllm.enforce-eager", "true"),
        *("--samples", "64", "--max-new-tokens", "48", "--prompt.instruction", "", "--output", str(output)),
    ]
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    before = engine_processes()
    killed = subprocess.Popen(command, env=env)
    chunks = tmp_path / ".out.partial" / "scratch"
    while not list(chunks.glob("chunk-*.parquet")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    started = engine_processes() - before
    assert len(started) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {path.name: read_rollouts(path) for path in chunks.glob("chunk-*.parquet")}
    assert 0 < len(kept) < 16
    while engine_processes() & started:
        time.sleep(0.05)
    subprocess.run(command, env=env, check=True)
    assert engine_processes() <= before
    rollouts = read_rollouts(output / "rollouts.parquet")
    assert len(rollouts) == len({(row.problem_id, row.sample) for row in rollouts}) == 64 * 64
    at = {(row.problem_id, row.sample): row for row in rollouts}
    assert all(at[row.problem_id, row.sample] == row for rows in kept.values() for row in rows)
    manifest = read_manifest(output)
    assert manifest["ledger"]["tokens_out"] == sum(row.n_tokens for row in rollouts)
    assert manifest["results"]["tokens_per_second"]["out"] > 0
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "vllm" not in again.stderr.lower()


# A running server


def test_a_server_gives_what_the_engine_gives(both: tuple[Metered, Metered], model: str, tmp_path: Path) -> None:
    ours, vllm = both
    prompts, texts = rows(ours)
    with vllm_server(model, tmp_path / "log") as url:
        server = open_engine(f"{url}/v1/", model)
        assert server.context_length == 512
        assert furthest(server.score(prompts, texts), ours.score(prompts, texts)) < WITHIN
        sampling = Sampling(6)
        found = server.sample(prompts, [3, 2, 4], [5, 6, 7], sampling)
        assert found == vllm.sample(prompts, [3, 2, 4], [5, 6, 7], sampling)
        with pytest.raises(InputError, match="a text of 512 tokens"):
            server.score([[5] * 500], [[[5] * 12]])
        server.close()
        tiny = tiny_model(tmp_path / "tiny")
        with pytest.raises(InputError, match=rf"serves .*, not {tiny}; start it with `vllm serve {tiny}`"):
            open_engine(url, tiny)
        link = tmp_path / "link"
        link.symlink_to(model)
        open_engine(url, str(link)).close()  # the same folder by another name
        with pytest.raises(InputError, match="are the server's"):
            open_engine(url, model, EngineOptions(dtype="float32"))
    with pytest.raises(InputError, match="nothing answers"):
        open_engine(url, model)
