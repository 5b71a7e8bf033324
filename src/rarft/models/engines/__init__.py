"""The one door to models: whoever wants tokens or log-probs asks an engine. What an engine is stands in `base.py`.

engine = open_engine("auto", "runs/policy")
groups = engine.sample(prompts, [8] * len(prompts), seeds, Sampling(max_new_tokens=256))
logps = engine.score(prompts, [[solution] for solution in solutions])
"""

import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rarft.core.cluster import absolute
from rarft.core.doors import load_class
from rarft.core.errors import InputError
from rarft.models.engines.base import Engine, EngineOptions, Metered

URL = re.compile(r"https?://")


def open_engine(engine: str, model: str, options: EngineOptions | None = None, ray: str | None = None) -> Metered:
    """The engine that `--engine` names, with `model` loaded.

    Args:
        ray: `local` or the address of a Ray cluster, whose workers have the engines then.

    Raises:
        InputError: no such engine or model.
        StageError: the model does not fit the machine.
    """
    options = options or EngineOptions()
    if ray is None:
        return Metered(_open(choose(engine, model), model, options))
    if URL.match(engine):
        raise InputError(f"--engine {engine} with --ray: a running server does the work itself; leave one of them out")
    from rarft.models.engines.ray import RayEngine  # transformers

    return Metered(RayEngine(ray, partial(open_engine, engine, absolute(model), options), model, options))


def choose(engine: str, model: str) -> str:
    """`engine`, with auto resolved: vLLM with a GPU and weights that it reads (docs/engines.md says why)."""
    if engine != "auto":
        return engine
    path = Path(model).expanduser()
    unread = path.is_file() or (path / "adapter_config.json").is_file()
    if unread or find_spec("vllm") is None:
        return "transformers"
    import torch  # keeps --help quick

    return "vllm" if torch.cuda.is_available() else "transformers"


def _open(engine: str, model: str, options: EngineOptions) -> Engine:
    if engine == "transformers":
        from rarft.models.engines.transformers import TransformersEngine  # torch: keeps --help quick

        return TransformersEngine.load(model, options)
    if engine == "vllm":
        from rarft.models.engines.vllm import VllmEngine  # transformers

        return VllmEngine(model, options)
    if URL.match(engine):
        from rarft.models.engines.server import ServerEngine  # openai, transformers

        return ServerEngine(engine, model, options)
    if ":" in engine:
        made: Engine = load_class(engine, "engine")(model, options)
        return made
    raise InputError(f"--engine {engine}: no such engine; use auto, transformers, vllm, a URL or module:Class")
