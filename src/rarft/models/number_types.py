"""Where bfloat16 pays. Quick to import: torch is loaded when asked."""


def fast_bfloat16(device: str) -> bool:
    """Whether this device has bfloat16 products: a GPU's, or those of a CPU with AVX512-BF16 or AMX."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    if device == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, check, lambda: False)()) for check in checks)
    return False
