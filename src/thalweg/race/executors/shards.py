"""Who trains what? Members split by seed, evenly enough that no worker waits for long."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.race.space import Member


def shares(seeds: int, workers: int) -> list[list[float]]:
    """How much of each seed every worker trains; each seed's shares sum to 1.

    >>> shares(3, 2)
    [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    length = seeds / workers
    return [[_overlap(s, w * length, length) for s in range(seeds)] for w in range(workers)]


def split(members: Sequence[Member], workers: int) -> list[tuple[int, ...]]:
    """Indices of members per worker; only workers that get any are named.

    Whole seeds stay together where they fit (their members share each minibatch). A seed that
    straddles workers is dealt out in turn, so that neighbouring learning rates, which are culled
    together, are spread. Members stay paired either way: initial weights and data order are
    functions of the seed.

    Example:
        >>> from thalweg.race.space import Configuration
        >>> two = [Configuration("sgd", (("lr", lr),), 8) for lr in (0.1, 1.0)]
        >>> runs = [Member(c, seed) for seed in (0, 1) for c in two]
        >>> split(runs, 2)
        [(0, 1), (2, 3)]
        >>> split(runs, 4)
        [(0,), (1,), (2,), (3,)]
    """
    seeds = list(dict.fromkeys(member.seed for member in members))
    wanted = shares(len(seeds), workers)
    shards: list[list[int]] = [[] for _ in range(workers)]
    for place, seed in enumerate(seeds):
        given = [0] * workers
        own = [index for index, member in enumerate(members) if member.seed == seed]
        for count, index in enumerate(own, 1):
            behind = [round(wanted[w][place] * count - given[w], 9) for w in range(workers)]
            chosen = behind.index(max(behind))
            given[chosen] += 1
            shards[chosen].append(index)
    return [tuple(shard) for shard in shards if shard]


def _overlap(seed: int, start: float, length: float) -> float:
    """How much of the seed's unit interval lies in a worker's share of all seeds."""
    return round(float(max(0.0, min(seed + 1, start + length) - max(seed, start))), 9)
