# SPDX-License-Identifier: Apache-2.0
"""In which precision a device computes fast."""

from __future__ import annotations

import torch

__all__ = ["autocast_dtype", "has_bfloat16_units"]


def autocast_dtype(amp_dtype: str) -> torch.dtype:
    """The type by its name in a config.

    Raises:
        ValueError: When it is neither `bfloat16` nor `float16`.
    """
    if amp_dtype not in ("bfloat16", "float16"):
        raise ValueError(f"amp_dtype must be 'bfloat16' or 'float16', got '{amp_dtype}'.")
    return torch.bfloat16 if amp_dtype == "bfloat16" else torch.float16


def has_bfloat16_units(device: str | torch.device = "cpu") -> bool:
    """Whether products in bfloat16 are faster there than in float32.

    CPUs without such units (AVX2 alone, say) compute them, but ten times and more slowly than in float32; GPUs before
    NVIDIA's Ampere emulate them. Other accelerators are taken to have them.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return True
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = (getattr(torch.cpu, name, None) for name in names)
    return any(check is not None and check() for check in found)
