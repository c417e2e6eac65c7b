# SPDX-License-Identifier: Apache-2.0
"""The device that is asked for."""

from __future__ import annotations

import torch

__all__ = ["usable_device"]


def usable_device(device: str | torch.device) -> torch.device:
    """The device, after something was put there.

    Args:
        device: by name, as in ``--device cuda:1``.

    Raises:
        ValueError: When there is no such device.
    """
    wanted = "The device must be cpu, or one that this machine has, such as cuda or cuda:1, got"
    if device is None or str(device) == "meta":
        raise ValueError(f"{wanted} {str(device)!r}.")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{wanted} {str(device)!r}: {str(error).splitlines()[0]}") from error
