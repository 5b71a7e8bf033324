"""TRL's GRPO and RLOO trainers, with a group's prompt computed once in rollout and update.

`SharedPrefix` overrides the two methods in which both trainers meet the model: the log-probs (loss, old and reference
policy) and the transformers rollout; and it keeps a group's rows together, which TRL shuffles apart. Everything else,
losses and options included, is TRL's. Where a model or option cannot share, TRL's own path runs, after one warning.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast
from trl import GRPOTrainer, RLOOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from rarft.core.progress import log
from rarft.models.generation import generate
from rarft.models.prefix import base_model, run_shared, why_not_shared

if TYPE_CHECKING:
    Base: TypeAlias = Any
else:
    Base = object  # a mixin: the trainer comes after it in the bases


def share_prompts(model: Any) -> None:
    """Let `model(input_ids=completions, shared=(...), fused_lm_head=True, shift_labels=...)` run a group's prompt once.

    The decoder inside `model` gets a `shared` argument: prompt ids, prompt mask, completion mask, group, as in
    `run_shared`. It then returns the hidden states (B, C, H) that predict each completion token. Going through the
    model's own forward keeps PEFT, DDP, FSDP and TRL's chunked log-probs in place.
    """
    decoder = base_model(model).base_model
    plain: Callable[..., Any] = decoder.forward

    def forward(*args: Any, shared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None, **kwargs: Any) -> Any:
        if shared is None:
            return plain(*args, **kwargs)
        prompt_ids, prompt_mask, completion_mask, group = shared
        on_prompt, rest = run_shared(plain, prompt_ids, prompt_mask, kwargs["input_ids"], completion_mask, group)
        hidden = on_prompt.last_hidden_state[:, -1:].index_select(0, group)
        if rest is not None:
            hidden = torch.cat([hidden, rest.last_hidden_state], dim=1)
        return BaseModelOutputWithPast(last_hidden_state=hidden)

    decoder.forward = forward


def find_groups(prompt_ids: Tensor, prompt_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with the same prompt.

    Args:
        prompt_ids: (B, P), padded on the left; `prompt_mask` likewise.

    Returns:
        first: (N,) a row of each prompt; group: (B,) each row's prompt.
    """
    distinct, group = prompt_ids.masked_fill(prompt_mask == 0, -1).unique(dim=0, return_inverse=True)
    first = torch.full((len(distinct),), len(group), device=group.device)
    rows = torch.arange(len(group), device=group.device)
    return first.scatter_reduce(0, group, rows, "amin"), group


class SharedPrefix(Base):
    """Mixin for TRL's GRPOTrainer and RLOOTrainer. Use `SharedGRPOTrainer` and `SharedRLOOTrainer`."""

    rollout_batch = 128
    """Most rows decoded at a time on the transformers path."""
    _learning_rows: Tensor | None = None
    """The rows that the loss needs, where these are not all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._warned: set[str] = set()
        self._buffered_inputs: Any = None
        share_prompts(self.model)
        if self.ref_model is not None:
            share_prompts(self.ref_model)

    def _send_telemetry(self) -> None:
        """TRL reports each run to its makers; we don't."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL writes a README at every checkpoint; ours are resume state."""

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            if self.accelerator.is_main_process:
                log(f"train: {what}")

    # Update

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """TRL's log-probs (B, C), entropies (B, C) and auxiliary loss, each distinct prompt run once per chunk."""
        reason = "images in the prompt" if any(v is not None for v in inputs.values()) else why_not_shared(model)
        experts = compute_aux_loss or getattr(base_model(model).config.get_text_config(), "output_router_logits", False)
        if experts and not reason:
            reason = "the load-balancing loss of its experts needs every prompt copy"
        if reason:
            self._warn(f"the prompt is computed once per rollout, not once per group: {reason}")
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                compute_aux_loss=compute_aux_loss,
                **inputs,
            )
        rows, total = self._learning_rows, len(input_ids)
        if rows is not None:
            input_ids, attention_mask = input_ids[rows], attention_mask[rows]
        batch_size = batch_size or len(input_ids)
        parts = [
            self._shared_logps(model, input_ids[i : i + batch_size], attention_mask[i : i + batch_size], logits_to_keep)
            for i in range(0, len(input_ids), batch_size)
        ]
        logps, entropy = (torch.cat(values) for values in zip(*parts, strict=True))
        if rows is not None:
            average = (entropy.sum() / attention_mask[:, -logits_to_keep:].sum().clamp(min=1)).detach()
            entropy = average.expand(total, logits_to_keep).index_copy(0, rows, entropy)  # logged over computed rows
            logps = logps.new_zeros(total, logits_to_keep).index_copy(0, rows, logps)
        return logps, entropy if compute_entropy else None, None

    def _shared_logps(self, model: Any, input_ids: Tensor, attention_mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
        prompt_ids, prompt_mask = input_ids[:, :-width], attention_mask[:, :-width]
        completion_ids, completion_mask = input_ids[:, -width:], attention_mask[:, -width:]
        first, group = find_groups(prompt_ids, prompt_mask)
        order = group.argsort(stable=True)
        group, completion_ids, completion_mask = group[order], completion_ids[order], completion_mask[order]
        prompt_ids, prompt_mask = prompt_ids[first], prompt_mask[first]
        # a micro-batch needs only its own longest prompt and completion, not the generation batch's
        blank = prompt_ids.size(1) - int(prompt_mask.sum(-1).max())
        used = max(1, int(completion_mask.sum(-1).max()))
        ids, mask = completion_ids[:, :used], completion_mask[:, :used]
        with self.accelerator.autocast():
            output = model(
                input_ids=ids,
                shared=(prompt_ids[:, blank:], prompt_mask[:, blank:], mask, group),
                shift_labels=ids.masked_fill(mask == 0, -100),
                fused_lm_head=True,
            )
        back = order.argsort()

        def restore(values: Tensor) -> Tensor:
            return torch.nn.functional.pad(values, (0, width - used))[back]

        # the reference model's head computes no entropy
        entropy = torch.zeros_like(output.log_probs) if output.entropy is None else output.entropy
        return restore(output.log_probs), restore(entropy)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's buffering of a generation batch, with the rows left in order, so that groups stay whole."""
        model, args = self.model, self.args
        if not model.training:
            return super()._prepare_inputs(generation_batch)
        step, chunks = self._step, args.steps_per_generation
        if step % (chunks * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(batch, chunks)
        return self._buffered_inputs[step % chunks]

    # Rollout

    def _why_not_grouped(self, images: Any, multimodal_fields: Any) -> str | None:
        args = self.args
        if images or multimodal_fields:
            return "images in the prompt"
        if args.repetition_penalty != 1.0 or args.generation_kwargs or args.cache_implementation:
            return "repetition_penalty, generation_kwargs or cache_implementation is set"
        if self.is_fsdp_enabled:
            return "FSDP needs generation in lockstep"
        return why_not_shared(self.model)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, *rest: Any, **more: Any
    ) -> Any:
        args = self.args
        if args.use_vllm or args.use_transformers_continuous_batching:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest, **more)
        with torch.no_grad():
            reason = self._why_not_grouped(images, multimodal_fields)
        if reason:
            self._warn(f"rollouts copy the prompt to each row: {reason}")
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest, **more)
        places: dict[tuple[int, ...], list[int]] = {}
        for i, ids in enumerate(prompt_ids):
            places.setdefault(tuple(ids), []).append(i)
        with self._generation_model() as model:
            groups = generate(
                model,
                self._tokenizer,
                list(places),
                num_samples=[len(rows) for rows in places.values()],
                max_new_tokens=self.max_completion_length,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k or 0,
                min_p=self.min_p or 0.0,
                seed=[self._rollout_seed(len(prompt_ids), rows[0]) for rows in places.values()],
                first_sample=[self._place(len(prompt_ids), rows[0])[1] for rows in places.values()],
                batch_size=self.rollout_batch,
                eos_ids=self.eos_token_ids,
                autocast=self.autocast_dtype,
            )
        completions: list[list[int]] = [[] for _ in prompt_ids]
        for rows, group in zip(places.values(), groups, strict=True):
            for i, completion in zip(rows, group, strict=True):
                completions[i] = completion.token_ids
        return (completions, None) if isinstance(self, GRPOTrainer) else completions

    def _generation_model(self) -> AbstractContextManager[Any]:
        """The policy for rollouts, unwrapped; also used for evaluation during training."""
        return unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        )

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of mixed precision, None without it."""
        args = self.args
        return torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None

    def _place(self, rows: int, row: int) -> tuple[int, int]:
        """The group that a row of this process's `rows` belongs to, over all processes, and its place in it."""
        return divmod(self.args.process_index * rows + row, self.num_generations)

    def _rollout_seed(self, rows: int, row: int) -> int:
        """The seed of a row's group. It depends on the step, not on processes or micro-batches; resuming repeats it."""
        turn = self._step % self.args.gradient_accumulation_steps // self.args.steps_per_generation
        place = (int(self.state.global_step) * 2**16 + turn) * 2**32 + self._place(rows, row)[0]
        return int(self.args.seed) * 2**96 + place


class SharedGRPOTrainer(SharedPrefix, GRPOTrainer):
    """TRL's GRPOTrainer with a group's prompt computed once.

    A row whose advantage is 0 (its group's rewards were equal) adds nothing to an on-policy loss without KL penalty or
    entropy bonus, so it is not run at all. TRL runs it and multiplies by 0; loss and gradients are the same.
    """

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self._learning_rows = self._rows_that_learn(inputs)
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._learning_rows = None

    def _rows_that_learn(self, inputs: dict[str, Any]) -> Tensor | None:
        args = self.args
        simple = self.beta == 0 and not self._entropy_bonus_enabled and args.top_entropy_quantile == 1.0
        if not simple or "old_per_token_logps" in inputs or args.off_policy_mask_threshold is not None:
            return None
        advantages = inputs["advantages"]
        rows = (advantages if advantages.dim() == 1 else advantages.abs().amax(-1)).nonzero().squeeze(1)
        if len(rows) == len(advantages):
            return None
        return rows if len(rows) else rows.new_zeros(1)  # backward needs a row, other processes wait for it


class SharedRLOOTrainer(SharedPrefix, RLOOTrainer):
    """TRL's RLOOTrainer with a group's prompt computed once."""
