"""The part of benchmarks/export_check.py that runs in a trainer's own environment.

    python export_trainers.py TO FOLDER [PART]      # only the checks whose name holds PART

FOLDER holds exports, `exports/TO-KIND.json` with the token ids that `rarft train` uses for their rows, and
completions.jsonl with the verdicts of `rarft verify`. Of rarft nothing is imported but `rarft.rewards`, and that only
by the exports' reward.py. What stands in for a part that needs a GPU is an inference engine that returns given tokens.
Prints `ok` or `FAILED` and one line for each check; the exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import importlib.util
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

KINDS = ("chat", "arguments", "plain", "bos")
LONGEST = 1 << 20
"""Tokens of a completion at most, so that nothing cuts the hostile ones."""


class Export:
    """An export and what `rarft train` says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wanted = json.loads((folder.parent / f"{folder.name}.json").read_text())
        self.ids: list[list[int]] = wanted["ids"]
        self.options: dict[str, Any] = wanted["options"]
        own = folder / "tokenizer"
        self.tokenizer_path = str(own if own.exists() else wanted["tokenizer"])

    @property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.tokenizer_path)

    def value(self, name: str) -> int:
        """A number that run.sh fixes."""
        found = re.search(rf"^{name}=(\d+)$", (self.folder / "run.sh").read_text(), re.MULTILINE)
        assert found is not None, f"run.sh has no {name}"
        return int(found[1])

    def given(self) -> list[str]:
        """The arguments that run.sh starts the trainer with; a program that writes them down stands for it."""
        programs = self.folder.parent / "programs"
        programs.mkdir(exist_ok=True)
        for name in ("python", "trl"):
            (programs / name).write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done\n')
            (programs / name).chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OUT": str(self.folder) + ".run"}
        done = subprocess.run(["bash", str(self.folder / "run.sh")], env=environment, capture_output=True, check=True)
        return done.stdout.decode().split("\0")[:-1]

    def same(self, made: Sequence[Sequence[int]]) -> str:
        """Compare the trainer's token ids with those of `rarft train`."""
        assert len(made) == len(self.ids), f"{len(made)} rows of {len(self.ids)}"
        wrong = [i for i, (a, b) in enumerate(zip(made, self.ids, strict=True)) if list(a) != b]
        assert not wrong, f"{len(wrong)} of {len(made)} rows have other token ids, first row {wrong[0]}"
        return f"{len(made)} rows, token ids equal"


def load(path: Path, name: str) -> ModuleType:
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Completions:
    """Token ids of completions, and the verdicts of `rarft verify` on their texts."""

    def __init__(self, folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / "completions.jsonl").open()]
        self.golds, self.ids, self.texts = ([row[name] for row in rows] for name in ("gold", "ids", "text"))
        self.rewards, self.reasons = ([row[name] for row in rows] for name in ("reward", "reason"))

    def same(self, rewards: Sequence[float], reasons: Sequence[str] | None = None) -> str:
        """Compare a trainer's rewards, and its reasons where it keeps those of each row."""
        wrong = [i for i, (a, b) in enumerate(zip(rewards, self.rewards, strict=True)) if a != b]
        assert not wrong, f"{len(wrong)} of {len(self.rewards)} rewards differ, first {self.texts[wrong[0]][:200]!r}"
        if reasons is not None:
            other = [i for i, (a, b) in enumerate(zip(reasons, self.reasons, strict=True)) if a != b]
            assert not other, f"{len(other)} reasons differ, first {self.texts[other[0]][:200]!r}: {reasons[other[0]]}"
        return f"{len(self.rewards)} rewards equal" + (", and reasons" if reasons is not None else "")

    @property
    def shares(self) -> dict[str, float]:
        """Reason -> its share."""
        return {reason: n / len(self.reasons) for reason, n in Counter(self.reasons).items()}


def reason_of(row: dict[str, Any], prefix: str = "reason_") -> str:
    """The reason whose metric is 1."""
    return next(name.removeprefix(prefix) for name, value in row.items() if name.startswith(prefix) and value == 1)


def in_ray_actor(function: Callable[[Export, Completions], Any], export: Export) -> Any:
    """What a function of this file returns in a Ray actor, on the export and completions read there."""
    import ray

    class Actor:
        def run(self, file: str, name: str, folder: str) -> Any:
            module = load(Path(file), "export_trainers")
            where = Path(folder)
            return getattr(module, name)(module.Export(where), module.Completions(where.parent.parent))

    ray.init(num_cpus=1, include_dashboard=False)
    actor = ray.remote(num_cpus=1)(Actor).remote()
    found = ray.get(actor.run.remote(__file__, function.__name__, str(export.folder)))
    ray.shutdown()
    return found


# verl


def verl_config(export: Export, *more: str) -> Any:
    """The configuration that run.sh makes."""
    import verl
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        return compose("ppo_trainer", overrides=[*export.given()[2:], *more])


def verl_dataset(export: Export) -> Any:
    """As the trainer makes its training data."""
    from verl.trainer.ppo.utils import create_rl_dataset
    from verl.utils import hf_tokenizer

    config = verl_config(export, f"+data.cache_dir={export.folder.parent}/cache")
    tokenizer = hf_tokenizer(export.tokenizer_path)
    return create_rl_dataset(config.data.train_files, config.data, tokenizer, None, is_train=True), config, tokenizer


def verl_prompts(export: Export) -> str:
    """As an agent loop makes prompts from rows, with the model's own type of builder."""
    from transformers import AutoConfig
    from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

    data, config, tokenizer = verl_dataset(export)
    model = str(config.actor_rollout_ref.model.path)
    options = {
        "hf_model_type": AutoConfig.from_pretrained(model).model_type,
        "chat_template_kwargs": dict(config.data.apply_chat_template_kwargs),
    }
    builder = create_continuous_token_builder(tokenizer, **options)
    made = [builder.build_initial_tokens(list(data[i]["raw_prompt"]), tools=None) for i in range(len(data))]
    assert max(map(len, made)) == config.data.max_prompt_length == config.actor_rollout_ref.rollout.prompt_length
    return export.same(made)


def verl_options(export: Export) -> str:
    """run.sh's, by verl's own validation."""
    from torch.utils.data import SequentialSampler
    from verl.trainer.ppo.utils import create_rl_sampler, need_critic, need_reference_policy
    from verl.utils.config import validate_config

    data, config, _ = verl_dataset(export)
    validate_config(config, need_reference_policy(config), need_critic(config))
    config.data.shuffle = False
    assert isinstance(create_rl_sampler(config.data, data), SequentialSampler)
    return "every option of run.sh is known and valid"


def verl_reward(export: Export, completions: Completions) -> str:
    """Each completion of its own, to one of verl's reward workers in Ray, as its agent loop sends them."""
    import numpy as np
    import ray
    import torch
    from tensordict import TensorDict
    from verl import DataProto
    from verl.experimental.reward_loop.reward_loop import RewardLoopManager, migrate_legacy_reward_impl
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    data, config, _ = verl_dataset(export)
    config = verl_config(export, "reward.num_workers=2", "actor_rollout_ref.model.path=" + export.tokenizer_path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True,
             runtime_env={"env_vars": dict(config.ray_kwargs.ray_init.runtime_env.env_vars)})  # fmt: skip
    manager = RewardLoopManager(migrate_legacy_reward_impl(config))

    def batch(i: int) -> DataProto:
        prompt, response = torch.tensor(export.ids[0]), torch.tensor(completions.ids[i] or [0])
        ids = torch.cat([prompt, response])[None]
        mask = torch.ones_like(ids)
        row = {**data[i % len(data)], "reward_model": {"style": "rule", "ground_truth": completions.golds[i]}}
        row["extra_info"] = {**row["extra_info"], "columns": "{}"}
        row.pop("dummy_tensor")
        tensors = {"prompts": prompt[None], "responses": response[None], "input_ids": ids, "attention_mask": mask,
                   "position_ids": mask.cumsum(-1) - 1}  # fmt: skip
        others = {
            **{name: np.array([value]) for name, value in row.items() if name != "raw_prompt"},
            "__num_turns__": np.array([2]),
            "tool_extra_fields": np.array([{"turn_scores": [], "tool_rewards": []}], dtype=object),
        }
        return DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=others)

    draw = random.Random(0)
    handles = manager.reward_loop_worker_handles
    found: list[dict[str, Any]] = []
    for start in range(0, len(completions.ids), 250):
        part = range(start, min(start + 250, len(completions.ids)))
        found += ray.get([draw.choice(handles).compute_score.remote(batch(i)) for i in part])
    infos = [row["reward_extra_info"] for row in found]
    logged = process_validation_metrics(
        ["rarft"] * len(found), [str(i) for i in range(len(found))], {k: [r[k] for r in infos] for k in infos[0]}
    )["rarft"]
    for reason, share in completions.shares.items():
        assert abs(logged[f"reason_{reason}"]["mean@1"] - share) < 1e-6, f"validation logs another share of {reason}"
    ray.shutdown()
    return completions.same([row["reward_score"] for row in found], [reason_of(info) for info in infos])


def verl_saved(folder: Path, name: str, lora: bool) -> tuple[Path, Path]:
    """A checkpoint of two FSDP shards on CPUs by verl's manager, and the folder that verl's merger makes of it."""
    sharded, merged = folder / f"{name}-checkpoint", folder / f"{name}-merged"
    for old in (sharded, merged):
        shutil.rmtree(old, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    port = 29500 + os.getpid() % 1000
    ranks = [
        context.Process(target=verl_rank, args=(rank, port, str(folder / "model"), str(sharded), lora))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(900)
        assert process.exitcode == 0, f"saving ended with code {process.exitcode}"
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    subprocess.run([*command, "--local_dir", str(sharded), "--target_dir", str(merged)], check=True, stdout=sys.stderr)
    return sharded, merged


def verl_checkpoint(folder: Path) -> str:
    """All parameters: the merged weights are those that were sharded."""
    import torch
    from safetensors.torch import load_file

    sharded, merged = verl_saved(folder, "verl", lora=False)
    found, was = load_file(merged / "model.safetensors"), load_file(sharded / "expected.safetensors")
    assert all(torch.equal(found[name], was[name]) for name in found), "weights differ"
    assert set(was) - set(found) <= {"lm_head.weight"}, "weights are missing"
    return f"{len(list(sharded.glob('model_*.pt')))} shards merged, {len(found)} tensors equal"


def verl_lora_checkpoint(folder: Path) -> str:
    """LoRA: verl's merger puts the adapter into `lora_adapter` and the base around it."""
    _, merged = verl_saved(folder, "verl-lora", lora=True)
    assert (merged / "lora_adapter" / "adapter_model.safetensors").is_file() and (merged / "config.json").is_file()
    return "2 shards merged into a base model and lora_adapter"


def verl_rank(rank: int, port: int, model: str, target: str, lora: bool) -> None:
    """One of two processes that hold a model by FSDP, change it, and save it."""
    import torch
    from omegaconf import OmegaConf
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK="0")
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    policy: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    if lora:
        from peft import LoraConfig, get_peft_model

        policy = get_peft_model(
            policy, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", target_modules="all-linear")
        )
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if not lora:
                parameter.mul_(1.001)
            elif "lora_B" in name:
                parameter.normal_(std=0.02)
        whole = {name: value.clone() for name, value in policy.state_dict().items()}
        ids = torch.arange(100, 164)[None]
        exact = copy.deepcopy(policy).float()  # in bfloat16 rounding alone moves logits half as far as the adapter does
        logits = {"ids": ids, "logits": exact(ids).logits}
        if lora:
            with exact.disable_adapter():
                logits["base"] = exact(ids).logits
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("fsdp",))
    for layer in (policy.get_base_model() if lora else policy).model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    contents = OmegaConf.create({"save_contents": ["model"], "load_contents": ["model"]})
    tokenizer = AutoTokenizer.from_pretrained(model)
    manager = FSDPCheckpointManager(policy, processing_class=tokenizer, checkpoint_config=contents)
    manager.save_checkpoint(target, global_step=1)
    if rank == 0:
        save_file(whole, Path(target) / "expected.safetensors")
        save_file({name: value.contiguous() for name, value in logits.items()}, Path(target) / "logits.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# SkyRL


def skyrl_config(export: Export) -> Any:
    """The configuration that run.sh makes. On Python 3.11 skyrl 0.3.0 can be imported with this one change alone."""
    if sys.version_info < (3, 12):
        import typing

        import typing_extensions

        typing.TypedDict = typing_extensions.TypedDict  # type: ignore[assignment]
    from skyrl.train.config import SkyRLTrainConfig

    return SkyRLTrainConfig.from_cli_overrides(export.given()[1:])


def skyrl_dataset(export: Export, config: Any) -> Any:
    """As the entry point makes its training data."""
    from skyrl.train.dataset import PromptDataset

    return PromptDataset(datasets=config.data.train_data, tokenizer=export.tokenizer,
                         max_prompt_length=config.trainer.max_prompt_length, num_workers=1)  # fmt: skip


class GivenTokens:
    """An inference engine for SkyRL's generator: completion N for the prompt that ends in `number N`, in any order."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], ids: Sequence[list[int]]) -> None:
        self.tokenizer, self.texts, self.ids = tokenizer, texts, ids

    async def generate(self, engine_input: Any, model: str | None = None) -> dict[str, Any]:
        prompt = self.tokenizer.decode(engine_input["prompt_token_ids"][0])
        found = re.findall(r"number (\d+)", prompt)
        i = int(found[-1]) if found else 0
        return {"responses": [self.texts[i]], "response_ids": [list(self.ids[i]) or [0]], "stop_reasons": ["stop"],
                "response_logprobs": None}  # fmt: skip

    async def finish_session(self, session_id: str) -> None:
        pass


def skyrl_generate(export: Export, config: Any, rows: Sequence[Any], engine: GivenTokens) -> dict[str, Any]:
    """SkyRL's generator on rows of its dataset, the environment registered as reward.py's entry point does."""
    from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
    from skyrl_gym.envs.registration import register, registry

    registry.pop("rarft", None)  # of the export before
    register(id="rarft", entry_point=load(export.folder / "reward.py", "reward").RarftEnv)
    config.generator.sampling_params.max_generate_length = LONGEST
    generator = SkyRLGymGenerator(config.generator, config.environment.skyrl_gym, engine, export.tokenizer)
    given = {"prompts": [row[0] for row in rows], "env_classes": [row[1] for row in rows],
             "env_extras": [row[2] for row in rows], "sampling_params": None, "trajectory_ids": None,
             "batch_metadata": None}  # fmt: skip
    return dict(asyncio.run(generator.generate(given)))


def skyrl_prompts(export: Export) -> str:
    config = skyrl_config(export)
    data = skyrl_dataset(export, config)
    engine = GivenTokens(export.tokenizer, ["x"], [[5]])
    made = skyrl_generate(export, config, [data[i] for i in range(len(data))], engine)
    return export.same(made["prompt_token_ids"])


def skyrl_options(export: Export) -> str:
    from skyrl.train.utils import validate_cfg

    config = skyrl_config(export)
    try:
        validate_cfg(config)
    except ImportError as error:  # validation looks for the inference engine
        return f"every option of run.sh is known; validation needs {error}"
    return "every option of run.sh is known and valid"


def skyrl_scored(export: Export, completions: Completions) -> tuple[list[float], dict[str, Any]]:
    """Rewards, and what SkyRL logs."""
    config = skyrl_config(export)
    _, env, extra, _ = skyrl_dataset(export, config)[0]
    rows = []
    for i, gold in enumerate(completions.golds):
        reward_spec = {"method": "rule", "ground_truth": gold}
        mine = {**extra, "reward_spec": reward_spec, "extra_info": {**extra["extra_info"], "columns": "{}"}}
        rows.append(([{"role": "user", "content": f"number {i}"}], env, mine))
    engine = GivenTokens(export.tokenizer, completions.texts, completions.ids)
    made = skyrl_generate(export, config, rows, engine)
    return [sum(r) if isinstance(r, list) else r for r in made["rewards"]], made["rollout_metrics"]


def skyrl_reward(export: Export, completions: Completions) -> str:
    """In a Ray actor, as SkyRL's trainer runs; environments step in its generator's 32 threads."""
    rewards, logged = in_ray_actor(skyrl_scored, export)
    told = completions.same(rewards)
    shares = {reason: logged[f"environment/reason_{reason}"] for reason in completions.shares}
    assert all(abs(shares[reason] - share) < 1e-6 for reason, share in completions.shares.items()), (
        f"logged {shares}, not {completions.shares}"
    )
    return told + "; shares of the reasons in rollout_metrics"


# OpenRLHF


def openrlhf_module(path: str) -> ModuleType:
    """A file of OpenRLHF, whose packages import DeepSpeed and vLLM on the way."""
    found = Path(str(metadata.distribution("openrlhf").locate_file(f"openrlhf/{path}")))
    return load(found, "openrlhf_" + path.replace("/", "_")[:-3])


def openrlhf_arguments(export: Export) -> Any:
    """run.sh's, by OpenRLHF's parser, which is built where it is run and is read from there."""
    file = Path(str(metadata.distribution("openrlhf").locate_file("openrlhf/cli/train_ppo_ray.py")))
    source = file.read_text()
    start, end = (source.index(text) for text in ("    parser = argparse.Arg", "    args = parser.parse_args()"))
    scope: dict[str, Any] = {"argparse": argparse}
    exec("import os, re\nfrom datetime import datetime\nif True:\n" + source[start:end], scope)
    arguments = scope["parser"].parse_args(export.given()[2:])
    return openrlhf_module("utils/config.py").hierarchize(arguments)


class GivenIds:
    """An inference engine for OpenRLHF's executor: the prompt's ids come in, the given ones go out."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.prompt: list[int] = []

    async def generate(self, prompt_ids: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        self.prompt = list(prompt_ids)
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=self.ids, finish_reason="stop", logprobs=None)])


def openrlhf_data(export: Export, arguments: Any) -> Any:
    strategy = SimpleNamespace(args=arguments, is_rank_0=lambda: True, print=lambda *_: None)
    prompts, utils = openrlhf_module("datasets/prompts_dataset.py"), openrlhf_module("datasets/utils.py")
    data = utils.blending_datasets(arguments.data.prompt_dataset, None, strategy)
    return prompts.PromptDataset(data, export.tokenizer, strategy, input_template=arguments.data.input_template)


def openrlhf_execute(export: Export, arguments: Any, rows: Sequence[tuple[str, str, Sequence[int]]]) -> list[Any]:
    """OpenRLHF's executor on (prompt, label, completion's ids), 64 at a time; the engine's prompt in each result."""
    executor = openrlhf_module("utils/agent.py").SingleTurnAgentExecutor([arguments.reward.remote_url])
    tokenizer = export.tokenizer
    room = asyncio.Semaphore(64)

    async def one(prompt: str, label: str, ids: Sequence[int], most: int) -> Any:
        engine = GivenIds(ids)
        sampling = SimpleNamespace(max_tokens=arguments.rollout.max_new_tokens, logprobs=None)
        async with room:
            made = await executor.execute(prompt, label, sampling, most, tokenizer, engine)
        return made | {"prompt_ids": engine.prompt}

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(one(*row, arguments.data.max_len) for row in rows))

    return asyncio.run(all_of_them())


def openrlhf_prompts(export: Export) -> str:
    arguments = openrlhf_arguments(export)
    data = openrlhf_data(export, arguments)
    _, prompts, labels, _ = data.collate_fn([data[i] for i in range(len(data))])
    made = openrlhf_execute(export, arguments, [(p, label, [5]) for p, label in zip(prompts, labels, strict=True)])
    assert all(row["reward"] is not None for row in made), "no reward came back"
    return export.same([row["prompt_ids"] for row in made])


def openrlhf_options(export: Export) -> str:
    arguments = openrlhf_arguments(export)
    assert arguments.data.max_len == export.value("MAX_PROMPT") + export.value("MAX_NEW")
    return "every option of run.sh is known"


def openrlhf_scored(export: Export, completions: Completions) -> list[tuple[float, dict[str, float]]]:
    """Reward and log of each completion; queries hold a prompt with a boxed answer of its own."""
    arguments = openrlhf_arguments(export)
    data = openrlhf_data(export, arguments)
    shown = [data[i] for i in range(len(data)) if "\\boxed{" in data[i][1]]
    rows, end = [], [export.tokenizer.eos_token_id]
    for i, (gold, ids) in enumerate(zip(completions.golds, completions.ids, strict=True)):
        _, prompt, label, _ = shown[i % len(shown)]
        rows.append((prompt, json.dumps(json.loads(label) | {"gold": gold, "columns": {}}), ids + end))
    made = openrlhf_execute(export, arguments, rows)
    return [(float(row["reward"]), {k: float(v) for k, v in row["extra_logs"].items()}) for row in made]


def openrlhf_reward(export: Export, completions: Completions) -> str:
    """In a Ray actor with an event loop, as its engines have it."""
    found = in_ray_actor(openrlhf_scored, export)
    return completions.same([reward for reward, _ in found], [reason_of(logs) for _, logs in found])


# TRL


def trl_arguments(export: Export) -> Any:
    from trl.scripts.grpo import make_parser

    arguments = [*export.given()[1:], "--use_cpu", "true", "--bf16", "false"]
    return make_parser().parse_args_and_config(arguments, fail_with_unknown_args=True)


def trl_rows(export: Export, arguments: Any) -> Any:
    """As `trl grpo` loads them."""
    from datasets import load_dataset

    script = arguments[0]
    return load_dataset(script.dataset_name, name=script.dataset_config)[script.dataset_train_split]


def trl_trainer(export: Export) -> Any:
    """A GRPOTrainer made as `trl grpo` makes it, with a random model of the exported shape, small."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl import GRPOTrainer

    arguments = trl_arguments(export)
    script, training, model, _ = arguments
    training.output_dir = str(export.folder) + ".run"
    training.per_device_train_batch_size = training.num_generations = 2
    training.generation_batch_size = training.steps_per_generation = None
    training.gradient_accumulation_steps = 1
    config = AutoConfig.from_pretrained(model.model_name_or_path)
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 1, 36, 48
    config.head_dim = 4
    policy = AutoModelForCausalLM.from_config(config)
    sys.path.insert(0, str(export.folder))
    sys.modules.pop("reward", None)
    module = importlib.import_module(script.reward_funcs[0].rsplit(".", 1)[0])
    sys.path.pop(0)
    training.__post_init__()
    return GRPOTrainer(policy, module.reward, args=training, train_dataset=trl_rows(export, arguments),
                       processing_class=export.tokenizer)  # fmt: skip


def trl_prompts(export: Export) -> str:
    trainer = trl_trainer(export)
    made = trainer._tokenize_prompts([row["prompt"] for row in trainer.train_dataset])[0]
    return export.same(made)


def trl_options(export: Export) -> str:
    script, training, _, _ = trl_arguments(export)
    assert script.reward_funcs == ["reward.reward"] and training.max_completion_length == export.value("MAX_NEW")
    assert (training.chat_template_kwargs or {}) == export.options
    return "every option of run.sh is known"


def trl_inputs(export: Export, completions: Completions) -> tuple[list[Any], list[Any], list[Any]]:
    """Rows, prompts and completions as the trainer hands them to its rewards."""
    rows = trl_rows(export, trl_arguments(export))
    inputs = []
    for i, gold in enumerate(completions.golds):
        row = rows[i % len(rows)]
        info = {**row["extra_info"], "columns": "{}"}
        inputs.append({**row, "reward_model": {"style": "rule", "ground_truth": gold}, "extra_info": info})
    chat = isinstance(inputs[0]["prompt"], list)
    texts = [[{"role": "assistant", "content": text}] if chat else text for text in completions.texts]
    return inputs, [row["prompt"] for row in inputs], texts


def trl_reward(export: Export, completions: Completions) -> str:
    """By the trainer's own `_calculate_rewards`; its log has the share of each reason."""
    inputs, prompts, texts = trl_inputs(export, completions)
    trainer = trl_trainer(export)  # afterwards: parsing arguments anew would reset its devices
    found = trainer._calculate_rewards(inputs, prompts, texts, completions.ids)
    logged = trainer._pending_metrics
    for reason, share in completions.shares.items():
        [value] = logged[f"reason/{reason}"]
        assert abs(value - share) < 1e-6, f"{reason}: logged {value}, {share}"
    return completions.same(found[:, 0].tolist()) + "; shares of the reasons in the trainer's metrics"


def trl_daemon_child(folder: str, queue: Any) -> None:
    """As asynchronous GRPO's rollout process: daemon, spawned, an event loop, the reward in a thread of it."""
    from trl.experimental.async_grpo.async_rollout_worker import (
        RolloutGroup,
        TrainingSequence,
        _AsyncRolloutLoop,
        _scrub_child_env,
    )

    _scrub_child_env()
    export, completions = Export(Path(folder)), Completions(Path(folder).parent.parent)
    inputs, prompts, texts = trl_inputs(export, completions)
    loop = _AsyncRolloutLoop.__new__(_AsyncRolloutLoop)  # its start asks a vLLM server
    loop.reward_funcs = [load(export.folder / "reward.py", "reward").reward]
    loop.reward_func_names, loop._env_reward_types = ["reward"], []
    count = len(texts)
    group = RolloutGroup(
        prompts=prompts,
        reward_kwargs={name: [row[name] for row in inputs] for name in inputs[0] if name != "prompt"},
        completions=texts,
        completions_ids=completions.ids,
        completions_sequences=[[TrainingSequence([1], [1], [0.0], str(i))] for i in range(count)],
        tool_call_counts=[0] * count,
        tool_failure_counts=[0] * count,
        model_version=0,
        group_id=0,
        env_rewards=[None] * count,
        rollout_rewards=[None] * count,
    )
    samples = asyncio.run(loop._score_group(group))
    queue.put([sample.metrics["rewards/reward"] for sample in samples])


def trl_daemon(export: Export, completions: Completions) -> str:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=trl_daemon_child, args=(str(export.folder), queue), daemon=True)
    child.start()
    found = queue.get(timeout=600)
    child.join(60)
    return completions.same(found)


def checks(to: str, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Name and check, in order."""
    here = globals()
    for kind in KINDS:
        export = Export(folder / "exports" / f"{to}-{kind}")
        yield f"{to} {kind} prompts", lambda export=export: here[f"{to}_prompts"](export)  # type: ignore[misc]
        yield f"{to} {kind} options", lambda export=export: here[f"{to}_options"](export)  # type: ignore[misc]
    export, completions = Export(folder / "exports" / f"{to}-chat"), Completions(folder)
    yield f"{to} reward", lambda: here[f"{to}_reward"](export, completions)
    if to == "trl":
        yield "trl reward in a daemon", lambda: trl_daemon(export, completions)
    if to == "verl":
        yield "verl checkpoint", lambda: verl_checkpoint(folder)
        yield "verl lora checkpoint", lambda: verl_lora_checkpoint(folder)


def main() -> int:
    to, folder, part = sys.argv[1], Path(sys.argv[2]), "".join(sys.argv[3:])
    failed = False
    for what, check in checks(to, folder):
        if part not in what:
            continue
        start = time.monotonic()
        try:
            print(f"ok      {what}: {check()} ({time.monotonic() - start:.0f} s)", flush=True)
        except Exception as error:
            failed = True
            traceback.print_exc()
            print(f"FAILED  {what}: {type(error).__name__}: {str(error)[:600]}", flush=True)
    names = ("trl", "verl", "skyrl", "skyrl-gym", "openrlhf", "ray", "transformers", "torch", "math-verify",
             "antlr4-python3-runtime", "sympy", "tensordict")  # fmt: skip
    there = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    versions = {name: there[name] for name in names if name in there}
    (folder / f"{to}-versions.json").write_text(json.dumps(versions))
    print(f"{to} versions: {json.dumps(versions)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
