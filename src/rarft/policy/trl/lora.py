"""PEFT's config for our LoRA options."""

from __future__ import annotations

from peft import LoraConfig

from rarft.policy.config import LoraOptions


def lora_config(options: LoraOptions) -> LoraConfig | None:
    """The adapters that the options ask for; None where all parameters are trained."""
    if not options.rank:
        return None
    names = options.target_modules
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=names if names == "all-linear" else [name.strip() for name in names.split(",")],
        task_type="CAUSAL_LM",
    )
