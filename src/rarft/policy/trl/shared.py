"""TRL's GRPO and RLOO trainers, with a group's prompt computed once in rollout and update.

`SharedPrefix` overrides what both trainers meet the model with: the log-probs (loss, old and reference policy), run as
packed rows (`rarft.models.packing`), and the transformers rollout; it keeps a group's rows together, which TRL shuffles
apart; and it cuts a micro-batch into pieces of `micro_batch_tokens`, each with its own backward pass. Everything else,
losses and options included, is TRL's. Where a model or option cannot share, TRL's own path runs, after one warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOTrainer, RLOOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from rarft.core.processes import release_memory
from rarft.core.progress import log
from rarft.models.generation import generate
from rarft.models.head import head_tiles
from rarft.models.packing import accept_packs, base_model, pack, why_not_shared

if TYPE_CHECKING:
    Base: TypeAlias = Any
else:
    Base = object  # a mixin: the trainer comes after it in the bases

HONOURED = {"max_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p", "eos_token_id"}
"""Fields of a generation config that our rollout follows."""
WITHOUT_EFFECT = {"bos_token_id", "pad_token_id", "max_length", "disable_compile", "use_cache", "transformers_version"}
NEUTRAL = {"repetition_penalty": 1.0, "num_beams": 1, "num_return_sequences": 1}


def find_groups(prompt_ids: Tensor, prompt_mask: Tensor) -> list[int]:
    """For each row the number of its group: rows with the same prompt.

    Args:
        prompt_ids: (B, P), padded on the left; `prompt_mask` likewise.
    """
    return prompt_ids.masked_fill(prompt_mask == 0, -1).unique(dim=0, return_inverse=True)[1].tolist()


def cut(group: Sequence[int], prompts: Sequence[int], completions: Sequence[int], most: int) -> list[list[int]]:
    """Cut rows into pieces that packed have at most `most` tokens; a row that is longer stands alone.

    Groups stay whole where a piece holds one, since a prompt is computed in each piece that has one of its rows.

    Args:
        group: for each row the number of its group; `prompts` and `completions`: its tokens.

    Returns:
        The rows of each piece, groups one after another.
    """
    pieces: list[list[int]] = [[]]
    room = most
    for _, rows in groupby(sorted(range(len(group)), key=group.__getitem__), key=group.__getitem__):
        of_group = list(rows)
        prompt = prompts[of_group[0]]
        whole = prompt + sum(completions[row] for row in of_group)
        least = whole if whole <= most else prompt + completions[of_group[0]]
        if pieces[-1] and least > room:
            pieces.append([])
            room = most
        room -= prompt
        for row in of_group:
            if pieces[-1] and completions[row] > room:
                pieces.append([])
                room = most - prompt
            pieces[-1].append(row)
            room -= completions[row]
    return pieces


@dataclass
class _Update:
    """How far the loss of a micro-batch has come."""

    piece: list[int]
    """The rows that run now, with gradient."""
    done: list[int]
    """The rows that ran before."""
    logps: Tensor
    """(B, C) of these; 0 elsewhere. `entropy` likewise."""
    entropy: Tensor


class SharedPrefix(Base):
    """Mixin for TRL's GRPOTrainer and RLOOTrainer. Use `SharedGRPOTrainer` and `SharedRLOOTrainer`."""

    rollout_batch = 128
    """Most rows decoded at a time on the transformers path."""
    micro_batch_tokens = 16384
    """Most tokens in one forward and backward pass, beyond one row; a micro-batch that has more is cut."""
    _update: _Update | None = None
    _metrics: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._warned: set[str] = set()
        self._buffered_inputs: Any = None
        self._calls: dict[bool, tuple[Any, int]] = {}
        if accept_packs(self.model) is None and self.ref_model is not None:
            accept_packs(self.ref_model, probe=False)

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

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss of a micro-batch, with the backward pass of all its pieces but the last already done.

        TRL's loss runs on the whole micro-batch for each piece, with log-probs that have a gradient in the piece's rows
        only: every weight and average is that of the micro-batch, so the gradients of the pieces add up to its own.
        At the last piece all log-probs are there, so its value and metrics are TRL's; those before are dropped.
        """
        if not self.model.training:
            return super().compute_loss(model, inputs, *args, **kwargs)
        rows = self._rows_that_learn(inputs)
        *first, last = self._pieces(model, inputs["prompt_ids"], inputs["prompt_mask"], inputs["completion_mask"], rows)
        self._release()  # rollouts, or the micro-batch before
        metrics = self._metrics
        nothing = torch.zeros_like(inputs["completion_mask"], dtype=torch.float32)
        self._update = _Update(last, [], nothing, nothing)
        try:
            for piece in first:
                self._update.piece, self._metrics = piece, {"train": defaultdict(list)}
                with model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext():
                    loss = super().compute_loss(model, inputs, *args, **kwargs)
                    if not isinstance(self, GRPOTrainer):  # RLOO leaves this to `training_step`
                        loss = loss / self.current_gradient_accumulation_steps
                    self.accelerator.backward(loss)
                del loss
                self._release()
            self._update.piece, self._metrics = last, metrics
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self._update, self._metrics = None, metrics

    def _release(self) -> None:
        """Give what was freed back to the kernel: the next piece's tensors don't fit the holes that this one's left."""
        if self.accelerator.device.type == "cpu":
            release_memory()

    def _rows_that_learn(self, inputs: dict[str, Any]) -> list[int]:
        """The rows that the loss needs."""
        return list(range(len(inputs["prompt_ids"])))

    def _pieces(
        self, model: Any, prompt_ids: Tensor, prompt_mask: Tensor, completion_mask: Tensor, rows: list[int]
    ) -> list[list[int]]:
        """The rows in pieces, as many in every process."""
        prompts, completions = prompt_mask[rows].sum(-1).tolist(), completion_mask[rows].sum(-1).tolist()
        if accept_packs(model) is None:
            group = find_groups(prompt_ids[rows], prompt_mask[rows])
        else:  # every row has its own prompt, and is as wide as the widest
            group = list(range(len(rows)))
            prompts, completions = [max(prompts)] * len(rows), [max(completions)] * len(rows)
        pieces = [[rows[i] for i in piece] for piece in cut(group, prompts, completions, self.micro_batch_tokens)]
        if self.accelerator.num_processes > 1:
            count = torch.tensor([len(pieces)], device=self.accelerator.device)
            pieces += [[]] * (int(self.accelerator.gather(count).max()) - len(pieces))
        whole = self._why_whole(model) if len(pieces) > 1 else None
        if whole:
            self._warn(f"a micro-batch is not cut by its tokens ({whole}); limit its rows instead")
            return [rows]
        return pieces

    def _why_whole(self, model: Any) -> str | None:
        """Why a micro-batch cannot be cut."""
        if self._has_experts_loss(model):
            return "the load-balancing loss of its experts looks at all rows"
        if getattr(self, "top_entropy_quantile", 1.0) < 1.0 or getattr(self, "use_adaptive_entropy", False):
            return "top_entropy_quantile and adaptive entropy look at all rows"
        if self._is_vlm or self.is_deepspeed_enabled:
            return "images and DeepSpeed want one backward pass"
        return None

    def _has_experts_loss(self, model: Any) -> bool:
        return self.aux_loss_enabled or getattr(
            base_model(model).config.get_text_config(), "output_router_logits", False
        )

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
        """TRL's log-probs (B, C), entropies (B, C) and auxiliary loss, each distinct prompt run once per piece."""
        whole = self._is_vlm or self._has_experts_loss(model)
        reason = accept_packs(model)
        if whole and not reason:
            reason = "it takes images" if self._is_vlm else "the load-balancing loss of its experts needs every copy"
        if reason:
            self._warn(f"the prompt is computed once per rollout, not once per group: {reason}")
        if whole:
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
        total, width, update = len(input_ids), logits_to_keep, self._update
        if update is None:
            prompts = input_ids[:, :-width], attention_mask[:, :-width]
            pieces = self._pieces(model, *prompts, attention_mask[:, -width:], list(range(total)))
        else:
            pieces = [update.piece]
        nothing = input_ids.new_zeros(total, width, dtype=torch.float32)
        logps, entropy = (nothing, nothing) if update is None else (update.logps, update.entropy)
        for piece in pieces:
            rows = piece or [0]  # other processes wait for this one's forward and backward pass
            with head_tiles(self.accelerator.device):
                part = (self._plain_logps if reason else self._packed_logps)(
                    model, input_ids[rows], attention_mask[rows], width
                )
            there = torch.tensor(rows, device=input_ids.device)
            if piece:
                logps, entropy = (
                    all_.index_copy(0, there, of) for all_, of in zip((logps, entropy), part, strict=True)
                )
            else:
                logps = logps + 0.0 * part[0].sum()
        if update is not None:
            update.logps, update.entropy = logps.detach(), entropy.detach()
            update.done += update.piece
            entropy = self._as_logged(entropy, attention_mask[:, -width:], update.done)
        return logps, entropy if compute_entropy else None, None

    @staticmethod
    def _as_logged(entropy: Tensor, mask: Tensor, rows: list[int]) -> Tensor:
        """Rows that don't run take the mean over those that do, so that the logged mean is over the latter."""
        ran = torch.zeros_like(mask[:, :1], dtype=torch.bool)
        ran[rows] = True
        mean = (entropy * mask * ran).sum() / (mask * ran).sum().clamp(min=1)
        return torch.where(ran, entropy, mean.detach())

    def _packed_logps(self, model: Any, input_ids: Tensor, attention_mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies (R, C) of rows whose groups stand side by side, in one packed row."""
        group = find_groups(input_ids[:, :-width], attention_mask[:, :-width])
        prompts = attention_mask[:, :-width].sum(-1).tolist()
        lengths = attention_mask[:, -width:].sum(-1).clamp(min=1).tolist()
        start = input_ids.size(1) - width
        groups = []
        for _, of in groupby(range(len(group)), key=lambda row: group[row]):
            rows = list(of)
            prompt = input_ids[rows[0], start - prompts[rows[0]] : start]
            groups.append((prompt, [input_ids[row, start : start + lengths[row]] for row in rows]))
        row = pack(groups)
        with self.accelerator.autocast():
            output = model(input_ids=row.ids, packed=row, shift_labels=row.targets.unsqueeze(0), fused_lm_head=True)

        def apart(values: Tensor) -> Tensor:
            rows = pad_sequence(values[0].split(lengths), batch_first=True)
            return torch.nn.functional.pad(rows, (0, width - rows.size(1)))

        # the reference model's head computes no entropy
        entropy = torch.zeros_like(output.log_probs) if output.entropy is None else output.entropy
        return apart(output.log_probs), apart(entropy)

    def _plain_logps(self, model: Any, input_ids: Tensor, attention_mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """The same on TRL's path, without the columns that are padding in all rows."""
        blank = input_ids.size(1) - width - int(attention_mask[:, :-width].sum(-1).max())
        used = max(1, int(attention_mask[:, -width:].sum(-1).max()))
        columns = slice(blank, input_ids.size(1) - width + used)
        logps, entropy, _ = super()._get_per_token_logps_and_entropies(
            model, input_ids[:, columns], attention_mask[:, columns], used, compute_entropy=True
        )
        return tuple(torch.nn.functional.pad(values, (0, width - used)) for values in (logps, entropy))

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's buffering of a generation batch, with the rows left in order, so that groups stay whole."""
        model, args = self.model, self.args
        if not model.training or self._is_vlm:
            return super()._prepare_inputs(generation_batch)
        step, chunks = self._step, args.steps_per_generation
        if step % (chunks * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(batch, chunks)
        return self._buffered_inputs[step % chunks]

    # Rollout

    def _generation_options(self) -> dict[str, Any]:
        """What `model.generate` would be told: the model's own settings, TRL's over them, later edits over both."""
        own, edited = base_model(self.model).generation_config, self.generation_config
        return {**own.to_diff_dict(), **self.generation_kwargs, **edited.to_diff_dict()}

    def _why_not_grouped(self, images: Any, multimodal_fields: Any) -> str | None:
        if images or multimodal_fields:
            return "images in the prompt"
        options = self._generation_options()
        asked = {key for key, value in options.items() if value and value != NEUTRAL.get(key)}
        others = sorted(key for key in asked - HONOURED - WITHOUT_EFFECT if not key.startswith("_"))
        if others:
            return f"the generation config sets {', '.join(others)}"
        if self.is_fsdp_enabled:
            return "FSDP needs generation in lockstep"
        return why_not_shared(self.model)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, *rest: Any, **more: Any
    ) -> Any:
        args = self.args
        if args.use_vllm or args.use_transformers_continuous_batching:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest, **more)
        reason = self._why_not_grouped(images, multimodal_fields)
        if reason:
            self._warn(f"rollouts copy the prompt to each row: {reason}")
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest, **more)
        places: dict[tuple[int, ...], list[int]] = {}
        for i, ids in enumerate(prompt_ids):
            places.setdefault(tuple(ids), []).append(i)
        options = self._generation_options()
        ends = options.get("eos_token_id") or []
        streams = self._random_streams(len(prompt_ids), [rows[0] for rows in places.values()])
        with self._generation_model() as model:
            groups = generate(
                model,
                self._tokenizer,
                list(places),
                num_samples=[len(rows) for rows in places.values()],
                max_new_tokens=options["max_new_tokens"],
                temperature=options.get("temperature", 1.0) if options.get("do_sample") else 0.0,
                top_p=options.get("top_p") or 1.0,
                top_k=options.get("top_k") or 0,
                min_p=options.get("min_p") or 0.0,
                seed=[seed for seed, _ in streams],
                first_sample=[first for _, first in streams],
                batch_size=self.rollout_batch,
                eos_ids=[*self.eos_token_ids, *(ends if isinstance(ends, list) else [ends])],
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

    def _random_streams(self, rows: int, first_rows: list[int]) -> list[tuple[int, int]]:
        """For each distinct prompt, given its first row of this process's `rows`: a seed, and the samples before it.

        The first call of a step numbers groups over all processes, so that neither processes nor micro-batches change
        the samples. Later calls of the same step (turns with tools, where rows drop out) have a stream for each first
        row of each process. All depend on the step and on the number of the call, so that resuming repeats them.
        """
        args, training = self.args, bool(self.model.training)
        now = int(self.state.global_step), self._step
        before, call = self._calls.get(training, (None, -1))
        call = call + 1 if now == before else 0
        self._calls[training] = now, call
        part = self._step % args.gradient_accumulation_steps // args.steps_per_generation
        base = int(args.seed) * 2**128 + call * 2**96 + (not training) * 2**95 + (now[0] * 2**16 + part) * 2**32
        if call:
            return [(base + args.process_index * 2**24 + row, 0) for row in first_rows]
        spots = [divmod(args.process_index * rows + row, self.num_generations) for row in first_rows]
        return [(base + group, before) for group, before in spots]


class SharedGRPOTrainer(SharedPrefix, GRPOTrainer):
    """TRL's GRPOTrainer with a group's prompt computed once.

    A row whose advantage is 0 (its group's rewards were equal) adds nothing to an on-policy loss without KL penalty or
    entropy bonus, so it is not run at all. TRL runs it and multiplies by 0; loss and gradients are the same.
    """

    def _rows_that_learn(self, inputs: dict[str, Any]) -> list[int]:
        args = self.args
        everything = super()._rows_that_learn(inputs)
        simple = self.beta == 0 and not self._entropy_bonus_enabled and args.top_entropy_quantile == 1.0
        if not simple or "old_per_token_logps" in inputs or args.off_policy_mask_threshold is not None:
            return everything
        advantages = inputs["advantages"]
        rows = (advantages if advantages.dim() == 1 else advantages.abs().amax(-1)).nonzero().squeeze(1).tolist()
        return rows or everything[:1]  # backward needs a row, other processes wait for it


class SharedRLOOTrainer(SharedPrefix, RLOOTrainer):
    """TRL's RLOOTrainer with a group's prompt computed once."""
