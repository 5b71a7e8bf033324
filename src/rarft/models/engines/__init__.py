"""The one door to models: whoever wants tokens or log-probs asks an engine. Start at `base.py`.

engine = open_engine("auto", "runs/policy")
groups = engine.sample(prompts, [8] * len(prompts), seeds, Sampling(max_new_tokens=256))
logps = engine.score(prompts, [[solution] for solution in solutions])
"""

from __future__ import annotations

from rarft.core.doors import load_class
from rarft.core.errors import InputError
from rarft.models.engines.base import Engine, EngineOptions


def open_engine(engine: str, model: str, options: EngineOptions | None = None) -> Engine:
    """The engine that `--engine` names, with `model` loaded.

    Raises:
        InputError: no such engine or model.
    """
    options = options or EngineOptions()
    if engine in ("auto", "transformers"):
        from rarft.models.engines.transformers import TransformersEngine  # torch: keeps --help quick

        return TransformersEngine.load(model, options)
    if ":" in engine:
        made: Engine = load_class(engine, "engine")(model, options)
        return made
    raise InputError(f"--engine {engine}: no such engine; use auto, transformers, vllm, a URL or module:Class")
