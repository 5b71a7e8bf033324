"""RL with vLLM sampling, on its CPU build: at every step the engine's log-probs are the policy's. `make test-vllm`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from policy.tiny import write_problems
from vllm_models import house_rules, needs_vllm, real_models, tiny_model, vllm_server

from rarft.core.stages import Work
from rarft.models.packing import completion_logps
from rarft.policy.train import TrainConfig, train
from rarft.policy.trl import training

pytestmark = needs_vllm
PROMPT, TEXT = list(range(5, 45)), list(range(50, 80))
WITHIN = 1e-4

Trainers = list[Any]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return tiny_model(tmp_path / "model", max_position_embeddings=512)


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small cache, and float32, of which vLLM by itself makes bfloat16."""
    import vllm

    monkeypatch.setattr("trl.generation.vllm_generation.LLM", partial(vllm.LLM, dtype="float32"))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "ERROR")


def config(tmp_path: Path, model: str, **options: Any) -> TrainConfig:
    data = str(write_problems(tmp_path / "data"))
    values = {
        "problems": data, "traces": data, "analogies": data, "model": model, "prompt": {"instruction": ""},
        "reward": "tests.policy.rewards:Capitals", "num_generations": 4, "prompts_per_step": 2, "micro_batch": 8,
        "steps": 4, "learning_rate": 1e-2, "max_new_tokens": 12,
        "eval_problems": data, "eval_limit": 2, "eval_every": 2,
    }  # fmt: skip
    return TrainConfig.parse({**values, **options}, "test")


def colocated(generation: Any) -> torch.Tensor:
    """Log-probs of TEXT after PROMPT by the engine in this process."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0)
    (out,) = generation.llm.generate([{"prompt_token_ids": PROMPT + TEXT}], params, use_tqdm=False)
    places = out.prompt_logprobs[len(PROMPT) :]
    return torch.tensor([at[token].logprob for at, token in zip(places, TEXT, strict=True)])


def served(generation: Any) -> torch.Tensor:
    """The same by the server."""
    client = generation.vllm_client
    body = {"model": client.model, "prompt": PROMPT + TEXT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    (choice,) = client.session.post(f"{client.base_url}/v1/completions", json=body).json()["choices"]
    places = choice["prompt_logprobs"][len(PROMPT) :]
    return torch.tensor([at[str(token)]["logprob"] for at, token in zip(places, TEXT, strict=True)])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Train; whenever tokens are sampled, take the engine's log-probs and the policy's."""

    def run(job: TrainConfig, output: Path, of_engine: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        from trl.generation.vllm_generation import VLLMGeneration

        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        generate = VLLMGeneration.generate

        def note(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = generate(self, *args, **kwargs)
            adapted = hasattr(self.model, "merge_adapter")
            with torch.no_grad():
                ((policy,),) = completion_logps(self.model, [PROMPT], [[TEXT]])
            assert adapted == (job.lora.rank > 0)
            found.append((of_engine(self), policy))
            return result

        monkeypatch.setattr(VLLMGeneration, "generate", note)
        train(job, output)
        return found

    yield run


def check(found: list[tuple[torch.Tensor, torch.Tensor]], output: Path, steps: int) -> None:
    assert len(found) == steps + 3  # and three evaluations
    for engine, policy in found:
        assert (engine - policy).abs().max() < WITHIN
    moved = (found[-1][1] - found[0][1]).abs().max()
    assert moved > 100 * WITHIN  # weights that stayed behind would show
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "loss" in row]
    assert len(trained) == steps
    assert all(row["engine_logp_difference"] < WITHIN for row in trained)
    assert all(row["engine_importance_ratio"] == pytest.approx(1, abs=1e-3) for row in trained)
    assert len([row for row in rows if "eval_accuracy" in row]) == 3


@pytest.mark.parametrize("rank", [0, 4], ids=["all parameters", "lora"])
def test_colocated(tmp_path: Path, model: str, compared: Any, rank: int) -> None:
    job = config(tmp_path, model, vllm="colocate", lora={"rank": rank}, trl={"vllm_max_model_length": 256})
    check(compared(job, tmp_path / "out", colocated), tmp_path / "out", job.steps or 0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """SmolLM2, and options: problems told in English, each with a worked example."""
    data = house_rules(tmp_path_factory.mktemp("data") / "house-rules", 8)
    return real_models(tmp_path_factory.mktemp("smollm2"))[0], {
        "problems": str(data / "problems.jsonl"), "traces": str(data / "corpus"),
        "analogies": str(data / "analogies.parquet"), "eval_problems": str(data / "eval"),
        "reward": "tests.policy.rewards:EvenLength", "micro_batch": 4, "steps": 3, "learning_rate": 1e-5,
    }  # fmt: skip


def test_a_pretrained_model_colocated(tmp_path: Path, pretrained: Any, compared: Any) -> None:
    model, options = pretrained
    job = config(tmp_path, model, vllm="colocate", trl={"vllm_max_model_length": 512}, **options)
    check(compared(job, tmp_path / "out", colocated), tmp_path / "out", 3)


def test_a_pretrained_model_with_a_server(tmp_path: Path, pretrained: Any, compared: Any) -> None:
    model, options = pretrained
    extension = ["--worker-extension-cls", "rarft.policy.trl.vllm_worker.Reload"]
    with vllm_server(model, tmp_path / "log", "--logprobs-mode", "processed_logprobs", *extension) as url:
        job = config(tmp_path, model, vllm="server", trl={"vllm_server_base_url": url}, **options)
        check(compared(job, tmp_path / "out", served), tmp_path / "out", 3)


def test_the_importance_correction_can_be_turned_off(tmp_path: Path, model: str) -> None:
    options = {"vllm_max_model_length": 256, "vllm_importance_sampling_correction": False}
    work = Work(tmp_path / "out")
    work.path.mkdir()
    training.train_policy(config(tmp_path, model, vllm="colocate", steps=1, trl=options), work)
    (row,) = [r for r in map(json.loads, (work.path / "log.jsonl").read_text().splitlines()) if "loss" in r]
    assert "engine_importance_ratio" not in row
