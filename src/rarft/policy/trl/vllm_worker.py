"""In vLLM's own processes: new weights for a policy, on the CPU build. `vllm_sync.py` says why.

vllm serve MODEL --worker-extension-cls rarft.policy.trl.vllm_worker.Reload ...
"""

from typing import Any


class Reload:
    """A method more for vLLM's workers."""

    model_runner: Any
    reload_weights: Any

    def reload_policy(self, path: str) -> None:
        """Take the weights of the safetensors file in the folder `path`."""
        self.reload_weights(weights_path=path)
        pack_heads(self.model_runner.get_model())


def pack_heads(model: Any) -> None:
    """Pack the weights of the output layer again. `reload_weights` leaves one alone that is tied to the embedding: its
    weights are then the new ones, and what it computes with is packed from the old ones."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)
