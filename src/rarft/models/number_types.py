"""Where bfloat16 pays. Quick to import: torch is loaded when asked."""


def fast_bfloat16(device: str) -> bool:
    """Whether this device has bfloat16 products: a GPU's, or those of a CPU with AVX512-BF16 or AMX."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    if device == "cpu":
        return has_amx() or _cpu_says("_is_avx512_bf16_supported")
    return False


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 in tiles (AMX)."""
    return _cpu_says("_is_amx_tile_supported")


def compute_type(number_type: str, device: str) -> str:
    """What weights in this number type are computed in: float32 for bfloat16 on a CPU without its products."""
    return "float32" if number_type == "bfloat16" and device == "cpu" and not fast_bfloat16(device) else number_type


def _cpu_says(check: str) -> bool:
    import torch

    return bool(getattr(torch.cpu, check, lambda: False)())
