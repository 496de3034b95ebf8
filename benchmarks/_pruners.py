"""The options of `tuner/pruner`, for the benchmarks that run a study by themselves."""

from __future__ import annotations

from _timing import HERE
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.pruners import BasePruner

TRUSTED = ("optuna.*", "explr.tuning.*")


def pruner_option(name: str, **settings: object) -> BasePruner | None:
    """The pruner that an option of `tuner/pruner` creates.

    Args:
        name: the option.
        settings: values that replace those in its file.
    """
    node = OmegaConf.load(HERE.parent / "conf" / "tuner" / "pruner" / f"{name}.yaml")
    node = OmegaConf.merge(node, settings)
    made: BasePruner | None = instantiate(node, _execution_whitelist_=TRUSTED) or None
    return made
