"""Numbers measured on a device, brought to the host together and without making it wait."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor


class Ledger:
    """Notes 0-d tensors under keys; nothing is read until :meth:`close`."""

    def __init__(self) -> None:
        self._notes: dict[Hashable, Tensor] = {}
        self._series: dict[Hashable, Tensor] = {}

    def note(self, key: Hashable, value: Tensor) -> None:
        """Keep a 0-d tensor; a later note under the same key wins."""
        self._notes[key] = value

    def line(self, key: Hashable, values: Tensor) -> None:
        """Keep a 1-d tensor."""
        self._series[key] = values

    def close(self) -> Reading:
        """Start the transfer of everything noted."""
        kinds: dict[tuple[torch.device, torch.dtype], list[Hashable]] = {}
        for key, value in self._notes.items():
            kinds.setdefault((value.device, value.dtype), []).append(key)
        parts = [torch.stack([self._notes[key] for key in keys]) for keys in kinds.values()]
        return Reading(list(kinds.values()), parts, self._series)


class Reading:
    """A transfer under way."""

    def __init__(
        self, keys: list[list[Hashable]], parts: list[Tensor], series: dict[Hashable, Tensor]
    ) -> None:
        self._events: list[torch.cuda.Event] = []
        self._keys, self._parts = keys, [self._start(part.detach().double()) for part in parts]
        self._series = {k: self._start(line.detach().double()) for k, line in series.items()}

    def _start(self, values: Tensor) -> Tensor:
        if values.device.type != "cuda":
            return values
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(values.device))
        self._events.append(event)
        return host

    def ready(self) -> bool:
        """Whether :meth:`values` would answer at once."""
        return all(event.query() for event in self._events)

    def values(self) -> tuple[dict[Hashable, float], dict[Hashable, list[float]]]:
        """The numbers and the lines; waits for the device where it must."""
        for event in self._events:
            event.synchronize()
        numbers = {
            key: value
            for keys, host in zip(self._keys, self._parts, strict=True)
            for key, value in zip(keys, host.tolist(), strict=True)
        }
        return numbers, {key: line.tolist() for key, line in self._series.items()}
