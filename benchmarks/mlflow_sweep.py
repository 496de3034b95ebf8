"""The peer of P2: plain Hydra that writes its trials to MLflow by hand."""

from __future__ import annotations

import os

import hydra
from mlflow import MlflowClient
from mlflow.entities import Param
from omegaconf import DictConfig, OmegaConf

POINTS = 10


@hydra.main(config_path="bare_conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Records the parameters, ten metric points and the status of a trial."""
    client = MlflowClient(os.environ["BENCH_STORE"])
    run_id = client.create_run(os.environ["BENCH_EXPERIMENT"]).info.run_id
    config = OmegaConf.to_container(cfg)
    assert isinstance(config, dict)
    params = [Param(str(key), str(value)) for key, value in config.items()]
    client.log_batch(run_id, params=params)
    value = (cfg.lr - 0.03) ** 2
    for step in range(POINTS):
        client.log_metric(run_id, "val_loss", value + 1 / (step + 1), step=step)
    client.set_terminated(run_id)
    return float(value)


if __name__ == "__main__":
    main()
