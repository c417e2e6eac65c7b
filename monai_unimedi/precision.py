# SPDX-License-Identifier: Apache-2.0
"""In which precision a device computes fast."""

from __future__ import annotations

import torch

__all__ = ["has_bfloat16_units"]


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
