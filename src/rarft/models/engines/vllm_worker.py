"""One vLLM engine in a process of its own, for `vllm.py`.

    python -m rarft.models.engines.vllm_worker PARENT

The first line of stdin has the engine's arguments, each further one a request `{id, prompt, params, from?}`; answers
come on stdout as JSON lines, each as soon as it is whole. Whatever vLLM prints goes to stderr. It ends with its parent.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from transformers import AutoConfig

from rarft.core.processes import die_with_parent

for name, value in {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in this process, and dies with it
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}.items():
    os.environ.setdefault(name, value)


def main(parent: int) -> None:
    """Serve requests until stdin ends."""
    die_with_parent(parent)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    arguments = json.loads(sys.stdin.readline())
    try:
        engine = _load(arguments)
    except Exception as error:
        _tell(answers, _why(error, arguments))
        return
    _tell(answers, {"context_length": engine.vllm_config.model_config.max_model_len})
    inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox,), daemon=True).start()
    asked: dict[str, dict[str, Any]] = {}
    while True:
        while not inbox.empty() or not asked:
            request = inbox.get()
            if request is None:
                return
            _add(engine, request, asked, answers)
        for output in engine.step():
            if output.finished:
                request = asked.pop(output.request_id)
                _tell(answers, {"id": request["id"], "answer": _answer(output, request)})


def _load(arguments: dict[str, Any]) -> Any:
    from vllm import EngineArgs, LLMEngine

    return LLMEngine.from_engine_args(EngineArgs(**arguments, disable_log_stats=True))


def _read(inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put(None)


def _add(engine: Any, request: dict[str, Any], asked: dict[str, dict[str, Any]], answers: TextIO) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(**request["params"], detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY)
    try:
        engine.add_request(request["id"], {"type": "token", "prompt_token_ids": request["prompt"]}, params)
    except Exception as error:  # vLLM's errors of validation have no base of their own
        _tell(answers, {"id": request["id"], "error": _first_line(error)})
        return
    asked[request["id"]] = request


def _answer(output: Any, request: dict[str, Any]) -> list[Any]:
    """Samples as (token ids, why it ended); or the log-probs of the tokens from the place `from` on."""
    if "from" not in request:
        samples = sorted(output.outputs, key=lambda sample: sample.index)
        return [(list(sample.token_ids), sample.finish_reason) for sample in samples]
    start, row = request["from"], request["prompt"]
    found = [at[token].logprob for at, token in zip(output.prompt_logprobs[start:], row[start:], strict=True)]
    return found


def _tell(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


# What went wrong at the start


def _why(error: Exception, arguments: dict[str, Any]) -> dict[str, Any]:
    if isinstance(error, ImportError):
        return {
            "bad_input": True,
            "failed": f"vLLM cannot be imported ({error}); pip install 'rarft[vllm]'",
        }
    text = _first_line(error)
    if isinstance(error, TypeError) and "keyword argument" in text:
        return {"bad_input": True, "failed": f"vLLM's engine has no such argument ({text})"}
    if type(error).__name__ == "OutOfMemoryError" or "memory" in text.lower() or isinstance(error, MemoryError):
        return {"failed": f"does not fit: {memory_wanted(arguments)}. vLLM says: {text}"}
    return {"failed": f"vLLM does not start ({type(error).__name__}: {text})"}


def memory_wanted(arguments: dict[str, Any]) -> str:
    """What the model takes, in words: its weights as they are stored, and the cache of one full context."""
    config = AutoConfig.from_pretrained(arguments["model"]).get_text_config()
    weights = sum(path.stat().st_size for path in Path(arguments["model"]).glob("*.safetensors"))
    size = 4 if arguments["dtype"] == "float32" else 2
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    tokens = arguments.get("max_model_len") or config.max_position_embeddings
    cache = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * dim * size * tokens
    files = f"{weights / 2**30:.1f} GiB of weights and " if weights else ""
    return f"it wants {files}{cache / 2**30:.2f} GiB of cache for one text of {tokens} tokens (vllm.max-model-len)"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


if __name__ == "__main__":
    main(int(sys.argv[1]))
