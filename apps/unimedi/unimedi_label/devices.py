# SPDX-License-Identifier: Apache-2.0
"""One computation at a time on each device; the others wait their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from monailabel.utils.others.generic import device_map

__all__ = ["chosen_device", "device_names", "turn_on"]

_turns: dict[str, threading.Semaphore] = {}
_lock = threading.Lock()


def device_names() -> list[str]:
    """What a viewer offers: the GPUs, or ``cpu``."""
    return list(device_map())


def chosen_device(wanted: Any = None) -> str:
    """The device that a viewer's choice means; the first one where it means nothing here.

    Args:
        wanted: a name that `device_names` gave, ``cpu``, ``cuda`` or ``cuda:1``, or a list that begins with one.
    """
    devices = device_map()
    first = wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted
    name = devices.get(first, first) if isinstance(first, str) else None
    if name == "cpu" or (isinstance(name, str) and name.startswith("cuda") and torch.cuda.is_available()):
        return name
    return next(iter(devices.values()))


@contextmanager
def turn_on(device: str) -> Iterator[None]:
    """Holds the device while the block runs."""
    with _lock:
        turn = _turns.setdefault(str(torch.device(device)), threading.Semaphore(1))
    with turn:
        yield
