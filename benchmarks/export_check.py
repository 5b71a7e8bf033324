"""Checks exports against the released trainers themselves: their dataset classes, rewards, options.

    python -m venv /tmp/check && source /tmp/check/bin/activate
    pip install torch==2.13.0 rarft hydra-core==1.3.2 loguru tensordict ray==2.56.0 func_timeout
    pip install --no-deps verl==0.9.1 skyrl==0.3.0 skyrl-gym==0.4.0 openrlhf==0.11.2
    python benchmarks/export_check.py --problems P --traces T --analogies A --model M --output /tmp/exports

For each trainer, and for chat and plain prompts: export, load with the trainer's own dataset class, tokenize as its
rollout does, and compare with `rarft train` row by row. Then its reward is called the way the trainer calls it (verl's
reward manager, a Ray actor, SkyRL's `skyrl_gym.make`, OpenRLHF's executor) on completions, hostile ones among them, and
compared with `rarft.rewards.verify`. Then run.sh's options are read by the trainer's own parser. Needs no GPU.
A package that cannot be imported is reported as not checked, and the exit code is 1 if any check failed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from verify_corpus import hostile, ordinary

from rarft.export import ExportConfig, write_export
from rarft.models.loading import load_tokenizer
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.policy.contexts import Demonstrations
from rarft.records.analogies import read_analogies
from rarft.records.problems import load_problems, load_traces
from rarft.rewards import verify


def tokenizer_of(out: Path, model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(out / "tokenizer" if (out / "tokenizer").exists() else model)


# Datasets: the token ids of each row, as the trainer makes them


def verl_ids(out: Path, tokenizer: Any, options: dict[str, Any]) -> list[list[int]]:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset
    from verl.utils.tokenizer.continuous_token import build_continuous_token_builder

    longest = int(value_of(out, "MAX_PROMPT"))
    config = OmegaConf.create(
        {"max_prompt_length": longest, "filter_overlong_prompts": True, "filter_overlong_prompts_workers": 1,
         "cache_dir": str(out.parent / "cache"), "apply_chat_template_kwargs": options}
    )  # fmt: skip
    data = RLHFDataset(str(out / "train.parquet"), tokenizer, config)
    builder = build_continuous_token_builder(tokenizer, chat_template_kwargs=options)
    return [builder.build_initial_tokens(list(data[i]["raw_prompt"])) for i in range(len(data))]


def skyrl_ids(out: Path, tokenizer: Any, options: dict[str, Any]) -> list[list[int]]:
    from skyrl.train.dataset.dataset import PromptDataset

    data = PromptDataset([str(out / "train.parquet")], tokenizer, int(value_of(out, "MAX_PROMPT")), num_workers=1)
    return [
        tokenizer.apply_chat_template(
            data[i][0], add_generation_prompt=True, tokenize=True, return_dict=False, **options
        )
        for i in range(len(data))
    ]


def openrlhf_ids(out: Path, tokenizer: Any, options: dict[str, Any]) -> list[list[int]]:
    args = SimpleNamespace(data=SimpleNamespace(input_key="input", label_key="label", apply_chat_template=False))
    strategy = SimpleNamespace(args=args, is_rank_0=lambda: True, print=lambda *_: None)
    prompts, utils = openrlhf_module("datasets/prompts_dataset.py"), openrlhf_module("datasets/utils.py")
    data = prompts.PromptDataset(
        utils.blending_datasets(str(out / "train.parquet"), None, strategy), tokenizer, strategy
    )
    return [tokenizer(text=data[i][1], add_special_tokens=False)["input_ids"] for i in range(len(data))]


def trl_ids(out: Path, tokenizer: Any, options: dict[str, Any]) -> list[list[int]]:
    from datasets import load_dataset
    from trl import GRPOTrainer

    data = load_dataset(str(out))["train"]
    trainer = SimpleNamespace(
        processing_class=tokenizer, chat_template=None, chat_template_kwargs=options, tools=None, _is_vlm=False,
        environment_factories=None,
    )  # fmt: skip
    return [list(GRPOTrainer._tokenize_prompts(trainer, [row["prompt"]])[0][0]) for row in data]


def openrlhf_module(path: str) -> ModuleType:
    """A file of OpenRLHF, whose packages import DeepSpeed and vLLM on the way."""
    found = metadata.distribution("openrlhf").locate_file(f"openrlhf/{path}")
    return load(Path(str(found)), path.replace("/", "_")[:-3])


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def value_of(out: Path, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", (out / "run.sh").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


# Rewards, called as the trainer calls them


def info() -> dict[str, Any]:
    return {"index": 0, "split": "train", "reward": "math", "columns": "{}"}


def verl_rewards(out: Path, golds: list[str], texts: list[str]) -> list[float]:
    """Through verl's loader and its naive reward manager, in a Ray actor, as its reward loop has it."""
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def run(self, path: str, golds: list[str], texts: list[str]) -> list[float]:
            from omegaconf import OmegaConf
            from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
            from verl.trainer.ppo.reward import get_custom_reward_fn

            config = OmegaConf.create({"reward": {"custom_reward_function": {"path": path, "name": "compute_score"}}})
            manager = NaiveRewardManager.__new__(NaiveRewardManager)
            manager.compute_score = get_custom_reward_fn(config)
            manager.is_async_reward_score, manager.reward_router_address = False, None
            manager.tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: ids.text)

            async def score() -> list[float]:
                manager.loop = asyncio.get_running_loop()
                found = await asyncio.gather(
                    *(manager.run_single(Item(g, t)) for g, t in zip(golds, texts, strict=True))
                )
                return [row["reward_score"] for row in found]

            return asyncio.run(score())

    return list(ray.get(Worker.remote().run.remote(str(out / "reward.py"), golds, texts)))


class Ids:
    """Token ids that know their text; stands for a tensor."""

    shape = (1,)

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, _: Any) -> Ids:
        return self

    def sum(self) -> int:
        return 1


class Item:
    """One row as verl's DataProto has it."""

    def __init__(self, gold: str, text: str) -> None:
        self.batch = {"responses": Ids(text), "attention_mask": Ids(text)}
        self.non_tensor_batch = {
            "data_source": "rarft",
            "reward_model": {"style": "rule", "ground_truth": gold},
            "extra_info": info(),
        }

    def __getitem__(self, _: Any) -> Item:
        return self


def skyrl_rewards(out: Path, golds: list[str], texts: list[str]) -> list[float]:
    """In a Ray actor, through `skyrl_gym.make`."""
    import ray

    @ray.remote(num_cpus=0)
    def run(path: str, golds: list[str], texts: list[str]) -> list[float]:
        import skyrl_gym
        from skyrl_gym.envs.registration import register

        module = load(Path(path), "reward")
        register(id="rarft", entry_point=module.RarftEnv)
        found = []
        for gold, text in zip(golds, texts, strict=True):
            row = {"reward_spec": {"method": "rule", "ground_truth": gold}, "extra_info": info(), "max_turns": 1}
            env = skyrl_gym.make("rarft", env_config={}, extras=row)
            env.init([{"role": "user", "content": "?"}])
            found.append(env.step(text)["reward"])
            assert sum(env.get_metrics().values()) == 1
        return found

    return list(ray.get(run.remote(str(out / "reward.py"), golds, texts)))


def openrlhf_rewards(out: Path, golds: list[str], texts: list[str]) -> list[float]:
    """Through OpenRLHF's executor, which hands over one query at a time in a thread."""
    agent = openrlhf_module("utils/agent.py")
    executor = agent.SingleTurnAgentExecutor(remote_rm_url=[str(out / "reward.py")])
    prompt = "Problem: 1+1?\nSolution: So \\boxed{2}.\n\nProblem: ?\nSolution:"

    async def score() -> list[float]:
        found = []
        for gold, text in zip(golds, texts, strict=True):
            label = json.dumps({"gold": gold, "reward": "math", "columns": {}, "special_tokens": ["<|im_end|>"]})
            [row] = await executor._fetch_rewards_via_func([prompt + text + "<|im_end|>"], [prompt], [label])
            found.append(float(row["rewards"]))
        return found

    return asyncio.run(score())


def trl_rewards(out: Path, golds: list[str], texts: list[str]) -> list[float]:
    function = load(out / "reward.py", "reward").reward
    return list(
        function(
            prompts=["?"] * len(golds), completions=[[{"role": "assistant", "content": text}] for text in texts],
            completion_ids=[[1]] * len(golds), extra_info=[info()] * len(golds),
            reward_model=[{"style": "rule", "ground_truth": gold} for gold in golds],
            trainer_state=None, log_extra=None, log_metric=lambda *_: None,
        )
    )  # fmt: skip


# Options: run.sh's, read by the trainer's own parser


def given(out: Path) -> list[str]:
    """The arguments that run.sh would start the trainer with."""
    programs = out.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("python", "trl"):
        (programs / name).write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OUT": str(out.parent / "run")}
    done = subprocess.run(["bash", str(out / "run.sh")], env=environment, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def verl_options(out: Path) -> None:
    from hydra import compose, initialize_config_dir

    folder = Path(str(importlib.util.find_spec("verl").submodule_search_locations[0])) / "trainer/config"  # type: ignore
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=given(out)[2:])
    assert config.data.max_prompt_length == int(value_of(out, "MAX_PROMPT"))
    assert config.reward.custom_reward_function.path == str(out / "reward.py")


def skyrl_options(out: Path) -> None:
    from skyrl.train.config import SkyRLTrainConfig

    config = SkyRLTrainConfig.from_cli_overrides(given(out)[1:])
    assert config.trainer.max_prompt_length == int(value_of(out, "MAX_PROMPT"))
    assert config.environment.env_class == "rarft"


def openrlhf_options(out: Path) -> None:
    """Its parser is built where it is run, and is read from there."""
    file = Path(str(metadata.distribution("openrlhf").locate_file("openrlhf/cli/train_ppo_ray.py")))
    source = file.read_text()
    body = source[
        source.index("    parser = argparse.ArgumentParser(") : source.index("    args = parser.parse_args()")
    ]
    scope: dict[str, Any] = {"argparse": argparse}
    exec("import re\nfrom datetime import datetime\nif True:\n" + body, scope)
    parsed = vars(scope["parser"].parse_args(given(out)[2:]))
    assert parsed["data.max_len"] == int(value_of(out, "MAX_PROMPT")) + int(value_of(out, "MAX_NEW"))


def trl_options(out: Path) -> None:
    from trl.scripts.grpo import make_parser

    arguments = [*given(out)[1:], "--use_cpu", "true", "--bf16", "false"]
    script, training, _, _ = make_parser().parse_args_and_config(arguments, fail_with_unknown_args=True)
    assert script.reward_funcs == ["reward.reward"] and training.max_completion_length == int(value_of(out, "MAX_NEW"))


def main() -> int:
    """Run every check and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    for name in ("problems", "traces", "analogies", "model", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--completions", type=int, default=2000, help="how many are scored by each reward")
    parser.add_argument("--to", nargs="+", default=["trl", "verl", "skyrl", "openrlhf"])
    args = parser.parse_args()
    problems = load_problems(args.problems)
    traces = {trace.id: trace for trace in load_traces(args.traces)}
    best = Demonstrations(read_analogies(args.analogies, traces, args.traces))
    bad = [row for row in hostile() if not any("\ud800" <= c <= "\udfff" for c in row.completion)]
    bad = bad[:: max(1, len(bad) * 5 // args.completions)]
    rows = ordinary(args.completions - len(bad), seed=1) + bad
    golds, texts = [row.gold for row in rows], [row.completion for row in rows]
    expected = [verdict.reward for verdict in verify(golds, texts)]
    failed = False

    def check(what: str, run: Callable[[], str]) -> None:
        nonlocal failed
        try:
            print(f"{what}: {run()}", flush=True)
        except ImportError as error:
            print(f"{what}: NOT CHECKED ({error})", flush=True)
        except Exception:
            failed = True
            print(f"{what}: FAILED\n{traceback.format_exc()}", flush=True)

    here: dict[str, Any] = globals()
    for to in args.to:
        for kind in ("chat", "plain"):
            options = {"enable_thinking": False} if kind == "chat" else {}
            prompt = PromptConfig(template=kind, chat_template_kwargs=options)  # type: ignore[arg-type]
            values = {name: getattr(args, name) for name in ("problems", "traces", "analogies", "model")}
            config = ExportConfig(to=to, prompt=prompt, max_new_tokens=64, **values)
            out = write_export(config, Path(args.output) / f"{to}-{kind}", overwrite=True).resolve()
            plain = load_tokenizer(args.model)

            def ids(out: Path = out, prompt: PromptConfig = prompt, plain: Any = plain, to: str = to) -> str:
                made = here[f"{to}_ids"](out, tokenizer_of(out, args.model), prompt.chat_template_kwargs)
                wanted = [render_prompt(plain, p.question, best.best(p), prompt) for p in problems]
                assert [list(row) for row in made] == wanted, "token ids differ"
                return f"{len(wanted)} rows, token ids equal"

            def read(out: Path = out, to: str = to) -> str:
                here[f"{to}_options"](out)
                return "every option of run.sh is known"

            check(f"{to} {kind} dataset", ids)
            check(f"{to} {kind} options", read)

        def rewards(out: Path = out, to: str = to) -> str:
            found = here[f"{to}_rewards"](out, golds, texts)
            differ = sum(a != b for a, b in zip(found, expected, strict=True))
            assert not differ, f"{differ} of {len(expected)} rewards differ"
            return f"{len(expected)} rewards equal, {len(bad)} completions of them hostile"

        check(f"{to} reward", rewards)
    names = ("verl", "trl", "skyrl", "skyrl-gym", "openrlhf", "ray", "transformers", "torch")
    versions = {name: metadata.version(name) for name in names if _there(name)}
    print(json.dumps(versions))
    return int(failed)


def _there(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
