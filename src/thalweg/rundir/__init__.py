"""A run's directory: plan, journal, checkpoints. Nothing acknowledged is ever lost."""

from thalweg.rundir.atomic import atomic_write
from thalweg.rundir.damage import DamagedRun
from thalweg.rundir.run import RunDir

__all__ = ["DamagedRun", "RunDir", "atomic_write"]
