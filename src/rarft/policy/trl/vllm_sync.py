"""The policy's weights into vLLM, where TRL's own ways need CUDA: both go through vLLM's `reload_weights`.

TRL writes tensors into a colocated engine with the model's `load_weights`. vLLM's CPU backend repacks weights once they
are loaded, after which that fails; `reload_weights` undoes the packing layer by layer, loads, and packs again, all but
an output layer that is tied to the embedding (`vllm_worker.py`). To a server TRL sends tensors by NCCL. Without CUDA
the policy is written to a folder, and the server reads it:

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs \\
        --worker-extension-cls rarft.policy.trl.vllm_worker.Reload

Left out: servers on another machine without CUDA.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from rarft.core.errors import StageError
from rarft.policy.trl.vllm_worker import Reload, pack_heads

Named = Iterable[tuple[str, Tensor]]


@contextmanager
def weights_without_cuda() -> Iterator[None]:
    """A trainer made within it has its weights go through `reload_weights`, if there is no CUDA."""
    if torch.cuda.is_available():
        yield
        return
    with (
        patch("trl.trainer.grpo_trainer.VLLMGeneration", Reloading),
        patch("trl.trainer.rloo_trainer.VLLMGeneration", Reloading),
        patch("trl.generation.vllm_generation.VLLMClient", FileClient),
    ):
        yield


class Reloading(VLLMGeneration):
    """TRL's engine; a colocated one has its weights reloaded."""

    def sync_weights(self) -> None:
        """As TRL's."""
        if self.mode != "colocate":
            super().sync_weights()
            return
        # vLLM keeps a layer's tensors until it has them all; those of a merged adapter change under its hands
        weights = ((name, weight.clone()) for name, weight in self._iter_named_params())
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self.llm.apply_model(pack_heads)
        self.llm.reset_prefix_cache()


class FileClient(VLLMClient):
    """TRL's client of a server on this machine; weights go through a folder in the system's temporary one."""

    def init_communicator(self, device: Any = None) -> None:
        """No group of processes is made."""
        self.folder = Path(tempfile.mkdtemp(prefix="rarft-weights-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def update_named_params(self, metadata: Any, named_params: Named) -> None:
        """Write the weights and have the server read them."""
        save_file({name: weight.contiguous() for name, weight in named_params}, self.folder / "model.safetensors")
        body = {"method": "reload_policy", "kwargs": {"path": str(self.folder)}}
        answer = self.session.post(f"{self.base_url}/collective_rpc", json=body)
        if answer.status_code != 200:
            raise StageError(
                f"{self.base_url}: takes no weights ({answer.status_code}); start it with VLLM_SERVER_DEV_MODE=1 and "
                f"--worker-extension-cls {Reload.__module__}.{Reload.__name__}"
            )
