"""The watch as a callback of Hugging Face's Trainer, before its other callbacks or after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from thalweg.watching.sinks import tell
from thalweg.watching.watcher import Watch, watch

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError("transformers is not installed: pip install 'thalweg[huggingface]'") from None

if TYPE_CHECKING:
    from thalweg.records_diagnosis import Finding


class WatchCallback(TrainerCallback):
    """Watches the trainer's optimiser; the latest scalars join the trainer's own log lines.

    The loss is the one in the model's output, or, where the trainer computes another, that of its
    log lines. Given as ``callbacks=[...]`` it comes after the trainer's reporters, and its scalars
    reach ``state.log_history`` alone; :meth:`attach` puts it before them, and TensorBoard and the
    like get the scalars, too. Warnings and errors among the findings are also logged by Python's
    ``logging`` (name ``thalweg.watching``), once each.

    Args:
        budget: Share of the training time.
        every: Plain steps between looks, whatever they cost, instead of ``budget``.
    """

    def __init__(self, budget: float = 0.05, every: int | None = None) -> None:
        self.budget, self.every = budget, every
        self.watch: Watch | None = None
        self._hook: Any = None
        self._given = False  # the model's output has brought a loss

    def attach(self, trainer: Any) -> WatchCallback:
        """Join a trainer ahead of its other callbacks; returns itself."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Worst first; also after training."""
        return self.watch.findings if self.watch is not None else ()

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Hang on to the optimiser."""
        self.close()
        self._given = False
        self.watch = watch(
            given["model"],
            given["optimizer"],
            budget=self.budget,
            every=self.every,
            steps=state.max_steps if state.max_steps > 0 else None,
            tell=tell,
        )
        self._hook = given["model"].register_forward_hook(self._loss)

    def _loss(self, model: Any, inputs: Any, output: Any) -> None:
        loss = output.get("loss") if isinstance(output, dict) else None
        if self.watch is not None and isinstance(loss, Tensor) and loss.requires_grad:
            self._given = True
            self.watch.loss(loss)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None,
        **given: Any,
    ) -> None:  # fmt: skip
        """Add the scalars to a line of the trainer's log."""
        if self.watch is None or logs is None or "loss" not in logs:
            return
        if not self._given:
            self.watch.loss(float(logs["loss"]))
        numbers = self.watch.scalars()
        logs.update(numbers)
        if state.log_history:  # the trainer kept a copy of the line before it called
            state.log_history[-1].update(numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take all hooks off; findings stay."""
        self.close()

    def close(self) -> None:
        """Take all hooks off."""
        if self.watch is not None:
            self.watch.close()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
