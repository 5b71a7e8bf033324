"""The one door to models: whoever wants tokens or log-probs asks an engine. Start at `base.py`.

engine = open_engine("auto", "runs/policy")
groups = engine.sample(prompts, [8] * len(prompts), seeds, Sampling(max_new_tokens=256))
logps = engine.score(prompts, [[solution] for solution in solutions])
"""

from rarft.models.engines.base import Completion, Engine, EngineConfig, Sampling, TokenIds, open_engine

__all__ = ["Completion", "Engine", "EngineConfig", "Sampling", "TokenIds", "open_engine"]
