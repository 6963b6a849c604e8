"""Peak memory of K members of the lectures' LeNet, by engine.

    OMP_NUM_THREADS=1 python benchmarks/race_memory.py [--members 1 8 32 128]

Each figure is a process of its own: peak resident set after twelve steps, less that before the
engine was built (torch, task and data are then in memory). ``bounded`` has 256 MiB for live runs:
the looped engine parks some on disk, the others train in smaller passes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

from race_plain import keep

MIB = 2**20
BOUND = 256 * MIB
STEPS, BATCH = 12, 16


def one(engine: str, members: int, memory: int) -> float:
    """MiB that training took in this process."""
    import torch

    import thalweg as tw
    from thalweg.race.population.make import make
    from thalweg.race.space import Configuration, Member
    from thalweg.risk import Risk

    torch.set_num_threads(1)
    risk = Risk(tw.load_task("digits"), "cpu")
    runs = [
        Member(Configuration(("momentum", "adam")[k % 2], (("lr", 1e-4 * (1 + k)),), BATCH), 0)
        for k in range(members)
    ]
    model = risk.model(0)  # imports and kernels are not the engine's
    optimizer = torch.optim.Adam(model.parameters())
    risk.loss(model, risk.feed(0, BATCH).batch(0)).backward()
    optimizer.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = make(engine, risk, runs, STEPS, True, memory)  # dropout draws random numbers
    list(made.advance(STEPS, range(members), lambda n: None))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="*", default=(1, 8, 32, 128))
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "K", "BYTES"))
    asked = parser.parse_args()
    if asked.one:
        print(one(asked.one[0], int(asked.one[1]), int(asked.one[2])))
        return
    found: dict[str, float] = {}
    for limit, memory in (("4 GiB", 2**32), ("bounded", BOUND)):
        for engine in ("looped", "stacked", "vmap"):
            for members in asked.members:
                words = [sys.executable, __file__, "--one", engine, str(members), str(memory)]
                done = subprocess.run(words, capture_output=True, text=True)
                if done.returncode:
                    print(f"{engine}, K={members}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                found[f"{limit}, {engine}, K={members}"] = round(float(done.stdout), 1)
                print(f"{limit:8s} {engine:8s} K={members:<4d} {float(done.stdout):8.1f} MiB")
    keep("race_memory", peak_MiB=found)


if __name__ == "__main__":
    main()
