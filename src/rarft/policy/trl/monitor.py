"""What a training run tells a person: log.jsonl, samples.jsonl, held-out accuracy, time left, and what looks wrong."""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl.models import unwrap_model_for_generation

from rarft.core.artifacts import write_json
from rarft.core.errors import StageError
from rarft.core.progress import Progress, log
from rarft.models.engines.base import EngineOptions, Sampling
from rarft.models.engines.transformers import TransformersEngine
from rarft.policy.job import Job
from rarft.records.problems import Problem
from rarft.records.rollouts import ROLLOUTS, Rollout, write_rollouts
from rarft.rewards import Verdict
from rarft.rewards.problems import verify_problems

RENAMED = {
    "completions/mean_length": "mean_length",
    "completions/clipped_ratio": "truncated",
    "frac_reward_zero_std": "constant_groups",
    "sampling/sampling_logp_difference/mean": "engine_logp_difference",
    "sampling/sampling_logp_difference/max": "engine_logp_difference_max",
    "sampling/importance_sampling_ratio/mean": "engine_importance_ratio",
}
KEPT = ("loss", "reward", "reward_std", "grad_norm", "learning_rate", "entropy", "kl", "mean_token_accuracy")


def rollouts_file(scratch: Path, process: int) -> Path:
    """Where a process keeps its rollouts while it trains."""
    return scratch / f"rollouts-{process}.jsonl"


def rollouts_files(scratch: Path) -> list[Path]:
    """Those of all processes, also of an earlier, killed run that had more of them."""
    return sorted(scratch.glob("rollouts-*.jsonl"), key=lambda path: int(path.stem.split("-")[1]))


class Monitor(TrainerCallback):
    """Writes log.jsonl, samples.jsonl and the rollouts, evaluates, shows progress, and watches for trouble.

    Args:
        folder: of the result.
        scratch: what a killed run keeps.
    """

    def __init__(self, job: Job, folder: Path, scratch: Path) -> None:
        self.job, self.folder, self.scratch = job, folder, scratch
        self.tokens_in = self.tokens_out = 0
        self.before = [0, 0]  # tokens in and out up to the checkpoint it went on from; the first process has them all
        self.constant = 0
        self.cut_solutions = 0
        self.started = time.monotonic()
        self.trainer: Any = None
        self.progress: Progress | None = None

    def watch(self, trainer: Any) -> None:
        """Take the place of the trainer's own printing."""
        self.trainer = trainer
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(self)

    @property
    def writes(self) -> bool:
        return bool(self.trainer.accelerator.is_main_process)

    # Rollouts

    def note_rollouts(
        self,
        problems: Sequence[Problem],
        columns: dict[str, Any],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Count the rollouts of a step and write them, and a few for people, another place of the batch at each step.

        Args:
            columns: `demonstrations` (trace ids), `visit`, `sample` and `prompt_length` of each row.
        """
        trainer, config = self.trainer, self.job.config
        ends = {*trainer.eos_token_ids, self.job.tokenizer.pad_token_id}
        demonstrations = columns["demonstrations"]
        self.tokens_out += sum(map(len, completion_ids))
        step = trainer.state.global_step + 1
        with open(rollouts_file(self.scratch, trainer.accelerator.process_index), "a", encoding="utf-8") as file:
            for i, problem in enumerate(problems):
                row = {
                    "step": step,
                    "visit": columns["visit"][i],
                    "sample": columns["sample"][i],
                    "problem_id": problem.id,
                    "trace_ids": list(demonstrations[i]),
                    "completion": completions[i],
                    "answer": verdicts[i].answer,
                    "reward": verdicts[i].reward,
                    "reason": verdicts[i].reason,
                    "n_tokens": len(completion_ids[i]),
                    "truncated": completion_ids[i][-1] not in ends,
                    "n_prompt_tokens": columns["prompt_length"][i],
                }
                file.write(json.dumps(row) + "\n")
        if not self.writes or not config.samples_per_step:
            return
        count = min(config.samples_per_step, len(completions))
        with open(self.folder / "samples.jsonl", "a", encoding="utf-8") as file:
            for n in range(count):
                i = (step * 7 + n * max(1, len(completions) // count)) % len(completions)
                row = {
                    "step": step,
                    "problem_id": problems[i].id,
                    "question": problems[i].question,
                    "demonstrations": [
                        {"trace_id": trace.id, "problem": trace.problem, "solution": trace.solution}
                        for trace in self.job.demonstrations.analogies.get(problems[i].id, ())
                        if trace.id in demonstrations[i]
                    ],
                    "completion": completions[i],
                    "gold": problems[i].answer,
                    "answer": verdicts[i].answer,
                    "reward": verdicts[i].reward,
                    "reason": verdicts[i].reason,
                    "truncated": completion_ids[i][-1] not in ends,
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    # The trainer's calls

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.compute_steps(args, state.max_steps)  # how often to save is not the checkpoint's to say
        if state.global_step == 0:
            self._evaluate(0)
        if self.writes:
            counted = self._checkpoint(args, state).glob("tokens-*.json")
            counts = [json.loads(path.read_text(encoding="utf-8")) for path in counted]
            self.before = [sum(of_all) for of_all in zip([0, 0], *counts, strict=True)]
            self.progress = Progress("training", state.max_steps, state.global_step)
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "train_runtime" in logs:
            return
        row = {key: logs[key] for key in KEPT if logs.get(key) is not None}
        row |= {new: logs[old] for old, new in RENAMED.items() if logs.get(old) is not None}
        row |= {key: value for key, value in logs.items() if key.startswith("reason/")}
        row["seconds"] = round(time.monotonic() - self.started, 3)
        self.started = time.monotonic()
        self._write(state.global_step, row)
        self._look_for_trouble(state.global_step, row)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = self.job.config.eval_every
        if state.global_step == state.max_steps or (every and state.global_step % every == 0):
            self._evaluate(state.global_step)
        if self.progress is not None:
            self.progress.advance()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.writes or not self.job.targets:
            process = self.trainer.accelerator.process_index
            write_json(self._checkpoint(args, state) / f"tokens-{process}.json", self._tokens())

    def _checkpoint(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}"

    def _tokens(self) -> list[int]:
        """Tokens in and out of this process, in the first those of an earlier, killed run included.

        TRL counts SFT's tokens of all processes in each.
        """
        trained = self.trainer._total_train_tokens if self.job.targets else self.trainer.prompt_tokens
        return [self.before[0] + int(trained), self.before[1] + self.tokens_out]

    def close(self) -> None:
        """Training is over, well or not."""
        if self.progress is not None:
            self.progress.close()

    def finish(self) -> None:
        """After the last step: add up what all processes computed."""
        if self.job.targets:
            self.tokens_in, self.tokens_out = self._tokens()
            return
        accelerator = self.trainer.accelerator
        counts = torch.tensor(self._tokens(), device=accelerator.device)
        self.tokens_in, self.tokens_out = accelerator.reduce(counts).tolist()
        accelerator.wait_for_everyone()
        if self.writes:
            self._gather_rollouts()

    def _gather_rollouts(self) -> None:
        """Write rollouts.parquet from what each process kept, step by step."""
        with ExitStack() as stack:
            files = [stack.enter_context(path.open(encoding="utf-8")) for path in rollouts_files(self.scratch)]
            rows = heapq.merge(*(map(json.loads, file) for file in files), key=lambda row: row["step"])
            made = (Rollout("problems", context=0, **row) for row in rows)
            write_rollouts(self.folder / ROLLOUTS, made, training=True)

    def results(self) -> dict[str, Any]:
        """Facts for the manifest: the last logged values, and what hit the token limit.

        Of RL that is `truncated`, a share of rollouts, of sft `cut_solutions`, a number of problems.
        """
        rows = [json.loads(line) for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        found: dict[str, Any] = {"cut_solutions": self.cut_solutions} if self.job.targets else {}
        for key in ("loss", "reward", "eval_accuracy"):
            values = [row[key] for row in rows if key in row]
            if values:
                found[key] = values[-1]
        truncated = [row["truncated"] for row in rows if "truncated" in row]
        if truncated:
            found["truncated"] = sum(truncated) / len(truncated)
        return found

    def _write(self, step: int, row: dict[str, Any]) -> None:
        if self.writes:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **row}) + "\n")

    def _look_for_trouble(self, step: int, row: dict[str, Any]) -> None:
        for key in ("loss", "grad_norm"):
            if not math.isfinite(row.get(key, 0.0)):
                raise StageError(
                    f"training stopped at step {step}: {key} is {row[key]}; lower the learning rate, or turn bf16 off"
                )
        if "constant_groups" not in row:
            return
        self.constant = self.constant + 1 if row["constant_groups"] == 1.0 else 0
        if self.constant and self.constant % self.job.config.constant_reward_steps == 0 and self.writes:
            log(
                f"train: for {self.constant} steps every group's rewards were equal (mean {row['reward']:.3g}), so "
                "nothing was learned; the problems are too hard or too easy for this policy, or answers don't verify"
            )

    # Held-out accuracy

    def _evaluate(self, step: int) -> None:
        """Log avg@k on the held-out problems. The random numbers are the same each time, so that curves compare."""
        job, trainer, began = self.job, self.trainer, time.monotonic()
        if not job.eval_problems:
            return
        if getattr(trainer, "is_fsdp_enabled", False) and job.config.vllm == "none":
            if step == 0 and self.writes:
                log("train: held-out accuracy is not measured under FSDP without vLLM; use `rarft evaluate`")
            return
        accelerator = trainer.accelerator
        mine = range(accelerator.process_index, len(job.eval_problems), accelerator.num_processes)
        problems = [job.eval_problems[i] for i in mine for _ in range(job.config.eval_samples)]
        texts = job.tokenizer.batch_decode(self._sample(list(mine)), skip_special_tokens=True)
        verdicts = verify_problems(problems, texts, job.config.reward)
        totals = torch.tensor([sum(v.reward for v in verdicts), len(verdicts)], device=accelerator.device)
        total, count = accelerator.reduce(totals).tolist()
        self._write(step, {"eval_accuracy": total / count, "eval_seconds": round(time.monotonic() - began, 3)})
        if self.writes:
            log(f"train: step {step}, accuracy on {len(job.eval_problems)} held-out problems {total / count:.3f}")
        self.started += time.monotonic() - began  # not the step's time

    def _sample(self, places: list[int]) -> list[list[int]]:
        """Token ids of `eval_samples` completions for each of the held-out problems at `places`, side by side."""
        job, trainer = self.job, self.trainer
        config, args = job.config, trainer.args
        problems = [job.eval_problems[i] for i in places]
        prompts = [job.eval_prompts.of(problem, job.eval_demonstrations.best(problem)) for problem in problems]
        if config.vllm != "none":
            each = -(-len(job.eval_problems) // trainer.accelerator.num_processes)  # the server wants equal shares
            padded = [ids for ids in prompts + prompts[-1:] * (each - len(prompts)) for _ in range(config.eval_samples)]
            trainer.vllm_generation.sync_weights()
            _, sampled, _, _ = trainer.vllm_generation.generate(prompts=padded, images=None, num_generations=1)
            return list(sampled[: len(prompts) * config.eval_samples])
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            autocast = torch.bfloat16 if args.bf16 else None
            engine = TransformersEngine(model, job.tokenizer, EngineOptions(batch_size=config.rollout_batch), autocast)
            groups = engine.sample(
                prompts,
                [config.eval_samples] * len(prompts),
                [config.seed * 1_000_003 + i for i in places],
                Sampling(config.max_new_tokens, config.temperature),
            )
        return [completion.token_ids for group in groups for completion in group]
