"""Schedule the learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import timm.scheduler
from torch.optim import Optimizer, lr_scheduler

from sed.text import near
from train.config.optim import OptimConfig

SCHEDULES = ("one-cycle", "cosine", "constant", "plateau")
TIMM_SCHEDULES = ("tanh", "step", "multistep", "poly")


class LRSchedule:
    """The learning rate at each step and after each epoch.

    ``one-cycle``, ``cosine`` and ``constant`` depend on the step alone. ``plateau`` lowers the rate
    when the monitored metric stagnates. Other names are schedules of timm and torch, stepped after
    each epoch, with a linear warm-up over `warmup_ratio` of the steps, as for ``plateau``.

    Parameters
    ----------
    optimizer
        Its groups have a ``scale``, see `train.loop.optimizer`.
    config
        Schedule and learning rate.
    n_steps
        Steps of the whole run.

    Raises
    ------
    ValueError
        If the schedule is unknown, or does not take its arguments.
    """

    def __init__(self, optimizer: Optimizer, config: OptimConfig, n_steps: int) -> None:
        self.optimizer = optimizer
        self.config = config
        self.n_steps = n_steps
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["scale"]
            group.setdefault("initial_lr", group["lr"])
        self._schedule = None if config.schedule in SCHEDULES[:3] else self._create()
        self._scheduled_rates = self._rates()  # without warm-up

    @property
    def learning_rate(self) -> float:
        """The current rate of the head."""
        return float(max(group["lr"] / group["scale"] for group in self.optimizer.param_groups))

    def before_step(self, step: int) -> None:
        """Set the rate for a step, counted from 0 over the whole run."""
        config = self.config
        progress = step / self.n_steps
        if self._schedule is None:
            rate = config.learning_rate * lr_factor(progress, config.schedule, config.warmup_ratio)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            return
        factor = min(1.0, (step + 1) / max(1.0, config.warmup_ratio * self.n_steps))
        for group, rate in zip(self.optimizer.param_groups, self._scheduled_rates, strict=True):
            group["lr"] = rate * factor

    def after_epoch(self, epoch: int, metric: float) -> None:
        """Update the schedule with the monitored metric of an epoch, counted from 0."""
        if self._schedule is None:
            return
        for group, rate in zip(self.optimizer.param_groups, self._scheduled_rates, strict=True):
            group["lr"] = rate
        if isinstance(self._schedule, lr_scheduler.ReduceLROnPlateau):
            self._schedule.step(metric)
        elif isinstance(self._schedule, lr_scheduler.LRScheduler):
            self._schedule.step()
        else:
            self._schedule.step(epoch + 1, metric)
        self._scheduled_rates = self._rates()

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from, as plain values."""
        inner = {} if self._schedule is None else self._schedule.state_dict()
        # Arguments of the schedule, which may be objects, are in the config.
        plain = {k: v for k, v in inner.items() if isinstance(v, int | float | str | list)}
        return {"schedule": plain, "rates": self._scheduled_rates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises
        ------
        ValueError
            If it is of another number of rates.
        """
        rates = [float(rate) for rate in state["rates"]]
        if len(rates) != len(self._scheduled_rates):
            raise ValueError(f"{len(rates)} learning rates, expected {len(self._scheduled_rates)}")
        if self._schedule is not None:
            self._schedule.load_state_dict(self._schedule.state_dict() | state["schedule"])
        self._scheduled_rates = rates

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _create(self) -> Any:
        name = self.config.schedule
        arguments: dict[str, Any] = dict(self.config.schedule_args)
        try:
            if name == "plateau":
                usual: dict[str, Any] = {"mode": "max", "factor": 0.5, "patience": 2}
                return lr_scheduler.ReduceLROnPlateau(self.optimizer, **(usual | arguments))
            if name in TIMM_SCHEDULES:
                given: dict[str, Any] = {"num_epochs": self.config.epochs} | arguments
                return timm.scheduler.create_scheduler_v2(self.optimizer, name, **given)[0]
            kind = getattr(lr_scheduler, name, None)
            if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler):
                return kind(self.optimizer, **arguments)
        except TypeError as error:
            raise ValueError(f"schedule {name}: {error}. Check schedule_args.") from error
        known = [*SCHEDULES, *TIMM_SCHEDULES, *(n for n in vars(lr_scheduler) if n.endswith("LR"))]
        raise ValueError(f"unknown schedule {name!r}. {near(name, known)}")


def lr_factor(progress: float, schedule: str, warmup_ratio: float) -> float:
    """Return the learning rate as a share of the highest one.

    With progress p and warm-up w, all rise over p < w as 0.04 + 0.96 · (1 − cos(π p / w)) / 2.
    After that, one-cycle is (1 + cos(π (p − w) / (1 − w))) / 2 (Smith & Topin, 2018,
    arXiv:1708.07120) and constant is 1; cosine is (1 + cos(π p)) / 2 throughout, times the rise.

    Parameters
    ----------
    progress
        Share of the steps done, from 0 to 1.
    schedule
        one-cycle, cosine or constant.
    warmup_ratio
        Share of the steps in which the rate rises.
    """
    rise = 1.0
    if progress < warmup_ratio:
        rise = 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warmup_ratio))
    if schedule == "cosine":
        return rise * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "constant" or progress < warmup_ratio:
        return rise
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup_ratio) / max(1e-9, 1 - warmup_ratio)))
