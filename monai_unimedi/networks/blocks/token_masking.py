# SPDX-License-Identifier: Apache-2.0
"""Random token masks that are a pure function of each sample's seed (method, sections 4 and 7).

Counter-based hashing instead of a generator: the same on every device, for every split of a batch over processes, and
in whatever order the samples come.
"""

import torch

__all__ = ["hashed_uniform", "random_token_mask"]


def _mix(x: torch.Tensor) -> torch.Tensor:
    """Finaliser of SplitMix64 (Steele et al. 2014) on int64, whose products wrap as those of uint64 do."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def hashed_uniform(sample_seed: torch.Tensor, count: int, stream: int = 0) -> torch.Tensor:
    """Uniform numbers in [0, 1), one row per sample.

    Args:
        sample_seed: (B,), int64.
        count: numbers per sample.
        stream: independent streams of one seed have different numbers.

    Returns:
        (B, count), float64.
    """
    counter = torch.arange(1, count + 1, device=sample_seed.device, dtype=torch.int64)
    start = torch.full_like(sample_seed, 7046029254386353131) * (stream + 1)  # wraps, where a Python integer would not
    state = _mix(sample_seed + start)[:, None] + counter * -7046029254386353131
    return ((_mix(state) >> 11) & 0x1FFFFFFFFFFFFF).double() * (2.0**-53)


def random_token_mask(sample_seed: torch.Tensor, num_tokens: int, ratio: float) -> torch.Tensor:
    """Mask the same number of tokens, ``round(ratio * num_tokens)``, in every sample.

    Args:
        sample_seed: (B,), int64.
        num_tokens: N patch tokens ([CLS] is never masked).
        ratio: share to hide, in [0, 1).

    Returns:
        ``is_masked`` (B, N), bool; True = hidden from the student.
    """
    num_masked = int(round(ratio * num_tokens))
    order = hashed_uniform(sample_seed, num_tokens).argsort(1)
    return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :num_masked], True)
