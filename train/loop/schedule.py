"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import timm.layers
import timm.optim
import timm.scheduler
from torch.optim import Optimizer, lr_scheduler

from sed.text import near
from train.config import LearningConfig

OURS = ("one-cycle", "cosine", "constant", "plateau")


TIMMS = ("tanh", "step", "multistep", "poly")


class Rate:
    """The learning rate, at each step and after each epoch.

    ``one-cycle`` and ``cosine`` follow from the step alone. ``plateau`` falls when the judged
    figure stays; the others are those of timm and torch, stepped after each epoch. Those that do
    not rise by themselves are led up to over the steps of `warm_up`.

    Raises
    ------
    ValueError
        If neither we nor timm nor torch know the schedule, or it refuses its arguments.
    """

    def __init__(self, optimizer: Optimizer, config: LearningConfig, n_steps: int) -> None:
        self.optimizer = optimizer
        self.config = config
        self.n_steps = n_steps
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["share"]
            group.setdefault("initial_lr", group["lr"])
        self._schedule = None if config.schedule in OURS[:3] else self._create()
        self._between_steps = self._rates()  # what the schedule says, warm-up aside

    @property
    def now(self) -> float:
        """The rate of the head."""
        return float(max(group["lr"] / group["share"] for group in self.optimizer.param_groups))

    def before_step(self, step: int) -> None:
        """Set the rate for a step, counted from 0 over the whole run."""
        learning = self.config
        progress = step / self.n_steps
        if self._schedule is None:
            rate = learning.learning_rate * rate_share(
                progress, learning.schedule, learning.warm_up
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            return
        share = min(1.0, (step + 1) / max(1.0, learning.warm_up * self.n_steps))
        for group, rate in zip(self.optimizer.param_groups, self._between_steps, strict=True):
            group["lr"] = rate * share

    def after_epoch(self, epoch: int, figure: float) -> None:
        """Tell the schedule how good the epoch was."""
        if self._schedule is None:
            return
        for group, rate in zip(self.optimizer.param_groups, self._between_steps, strict=True):
            group["lr"] = rate
        if isinstance(self._schedule, lr_scheduler.ReduceLROnPlateau):
            self._schedule.step(figure)
        elif isinstance(self._schedule, lr_scheduler.LRScheduler):
            self._schedule.step()
        else:
            self._schedule.step(epoch + 1, figure)
        self._between_steps = self._rates()

    def state_dict(self) -> dict[str, Any]:
        """Return what has to be kept to go on later; plain values."""
        inner = {} if self._schedule is None else self._schedule.state_dict()
        # What a schedule was made with is in the config; what is no plain value cannot be there.
        plain = {k: v for k, v in inner.items() if isinstance(v, int | float | str | list)}
        return {"schedule": plain, "rates": self._between_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if self._schedule is not None:
            self._schedule.load_state_dict(self._schedule.state_dict() | state["schedule"])
        self._between_steps = list(state["rates"])

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _create(self) -> Any:
        name = self.config.schedule
        arguments: dict[str, Any] = dict(self.config.schedule_args)
        try:
            if name == "plateau":
                usual: dict[str, Any] = {"mode": "max", "factor": 0.5, "patience": 2}
                return lr_scheduler.ReduceLROnPlateau(self.optimizer, **(usual | arguments))
            if name in TIMMS:
                given: dict[str, Any] = {"num_epochs": self.config.epochs} | arguments
                return timm.scheduler.create_scheduler_v2(self.optimizer, name, **given)[0]
            kind = getattr(lr_scheduler, name, None)
            if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler):
                return kind(self.optimizer, **arguments)
        except TypeError as error:
            raise ValueError(f"schedule {name}: {error}. Check schedule_args.") from error
        known = [*OURS, *TIMMS, *(n for n in vars(lr_scheduler) if n.endswith("LR"))]
        raise ValueError(f"unknown schedule {name!r}. {near(name, known)}")


def rate_share(progress: float, schedule: str, warm_up: float) -> float:
    """Return the share of the highest learning rate at a progress between 0 and 1.

    All rise over the warm-up, along half a cosine. Then one-cycle falls along another (Smith &
    Topin, 2018, arXiv:1708.07120), cosine goes on along the one that began with the run, and
    constant stays.
    """
    rise = 1.0
    if progress < warm_up:
        rise = 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warm_up))
    if schedule == "cosine":
        return rise * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "constant" or progress < warm_up:
        return rise
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / max(1e-9, 1 - warm_up)))
