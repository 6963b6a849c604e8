"""The watch as a Lightning callback: ``Trainer(callbacks=[WatchCallback()])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thalweg.watching.sinks import tell
from thalweg.watching.watcher import Watch, watch

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback  # pyrefly: ignore
    except ImportError:
        raise ImportError("Lightning is not installed: pip install 'thalweg[lightning]'") from None

if TYPE_CHECKING:
    from thalweg.records_diagnosis import Finding


class WatchCallback(Callback):  # pyrefly: ignore
    """Watches every optimiser of a fit; scalars go to the trainer's loggers.

    Warnings and errors among the findings are also logged by Python's ``logging`` (name
    ``thalweg.watching``), once each. Findings are there while the fit runs and after it.

    Args:
        budget: Share of the training time.
        every: Plain steps between looks, whatever they cost, instead of ``budget``.
    """

    def __init__(self, budget: float = 0.05, every: int | None = None) -> None:
        self.budget, self.every = budget, every
        self.watches: list[Watch] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all optimisers, worst first for each."""
        return tuple(finding for w in self.watches for finding in w.findings)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Hang on to the optimisers as they are now."""
        self.close()
        total = trainer.estimated_stepping_batches
        steps = int(total) if 1 <= total < float("inf") else None

        def write(place: int, numbers: dict[str, float]) -> None:
            prefix = f"optimizer_{place}/" if len(self.watches) > 1 else ""
            named = {prefix + name: value for name, value in numbers.items()}
            for logger in trainer.loggers:
                logger.log_metrics(named, step=trainer.global_step)

        self.watches = [
            watch(
                pl_module,
                optimizer,
                budget=self.budget,
                every=self.every,
                steps=steps,
                logger=lambda _, numbers, place=place: write(place, numbers),
                tell=tell,
            )
            for place, optimizer in enumerate(trainer.optimizers)
        ]

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the loss, where the module returned one."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is None:
            return
        if trainer.accumulate_grad_batches > 1 and pl_module.automatic_optimization:
            # Lightning hands it over divided.
            loss = loss * trainer.accumulate_grad_batches
        for w in self.watches:
            w.loss(loss)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take all hooks off; findings stay."""
        self.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take all hooks off when a fit is broken off."""
        self.close()

    def close(self) -> None:
        """Take all hooks off."""
        for w in self.watches:
            w.close()
