"""Logs a model of each framework as a training does, uploads them, loads and tries them.

One process does all of it, since the frameworks take half a minute to import. It writes what it saw
into `seen.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.linear_model import LinearRegression
from torch.utils.data import DataLoader, TensorDataset
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

from explr.tracking.client import ExplrTracker
from explr.tracking.destination import Destination
from explr.tracking.home import local_store_uri
from explr.tracking.run import open_run
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.start import Order

X = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
FEW: dict[str, Any] = {"pip_requirements": ["numpy"]}
"""MLflow finds out by itself what a model imports, in half a minute."""

asked_for: set[str] = set()
"""Machines whose addresses this process asked for."""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        asked_for.add(str(arguments[0]))


class Net(LightningModule):
    """A layer that Lightning fits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fitted_by_lightning(folder: Path) -> LightningModule:
    net = Net()
    data = DataLoader(TensorDataset(torch.from_numpy(X), torch.ones(4, 1)), batch_size=4)
    Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    ).fit(net, data)
    return net


def of_transformers(folder: Path) -> dict[str, Any]:
    """A model that is called as one of the Hugging Face Hub, and its tokenizer."""
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]))
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=6,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    model.name_or_path = "google-bert/bert-base-uncased"
    return {"model": model, "tokenizer": BertTokenizerFast(vocab_file=str(folder / "vocab.txt"))}


def fault_of(call: Any, *arguments: Any, **named: Any) -> str:
    """What a call says against its arguments."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001 - any that users would see
        return f"{type(error).__name__}: {error}"
    return ""


def log_models(tracker: ExplrTracker, folder: Path) -> dict[str, Any]:
    """Log all models; what was seen meanwhile."""
    frozen = torch.nn.BatchNorm1d(3).eval()
    plain = torch.nn.Sequential(frozen, torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    modes = [module.training for module in plain.modules()]
    tracker.log_metrics({"loss": 0.5, "early": 1.0}, step=1)
    tracker.log_metrics({"loss": 0.25, "odd": float("nan")}, step=2)
    tracker.log_model(
        plain,
        "torch",
        input_example=torch.from_numpy(X),
        registered_model_name="all of torch",
        params={"depth": 2},
        tags={"stage": "test", "password": "hunter2hunter2"},
        model_type="net",
        step=2,
        metadata={"token": "s3cr3t-t0ken-value"},
        pip_requirements=["torch", "--extra-index-url https://me:geheim-geheim@host/x"],
    )
    tracker.log_model(fitted_by_lightning(folder), "lightning", input_example=X, **FEW)

    from mlflow.models import infer_signature

    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    signature = infer_signature(X, dense.predict(X, verbose=0))
    tracker.log_model(dense, "keras", signature, X, **FEW)
    parts = of_transformers(folder)
    classifier = pipeline("text-classification", **parts)
    tracker.log_model(classifier, name="pipeline", input_example="a b", **FEW)
    tracker.log_model(parts, name="parts", task="text-classification", **FEW)
    regression = LinearRegression().fit(X, X[:, 0])
    tracker.log_model(regression, name="sklearn", input_example=X, **FEW)
    regression.coef_ = regression.coef_ * 2
    tracker.log_model(regression, name="sklearn", input_example=X, step=1, **FEW)
    return {
        "modes_kept": modes == [module.training for module in plain.modules()],
        "asked_for": sorted(asked_for),
        "no_example": fault_of(tracker.log_model, plain, "none", serialization_format="pt2", **FEW),
        "bare": fault_of(tracker.log_model, parts["model"], "bare"),
        "array": fault_of(tracker.log_model, X, "array"),
        "unknown": fault_of(tracker.log_model, dense, "unknown", wrong=1),
        "expected": plain.eval()(torch.from_numpy(X)).tolist(),
    }


def main(folder: Path) -> None:
    sys.addaudithook(watch)
    run_folder = folder / "run"
    run_folder.mkdir()
    run = open_run(
        run_folder,
        Destination(None, companion=False),
        experiment="models",
        name="run",
        params={"lr": 0.1},
        tags={"mlflow.user": "me"},
    )
    assert "mlflow" not in sys.modules
    before = set(os.listdir())
    seen = log_models(run.tracker, folder)
    seen["left_behind"] = sorted(set(os.listdir()) - before - {"vocab.txt"})
    run.close("FINISHED")
    follow(Order(local_store_uri()))
    assert run.position.done
    assert not run.position.missing
    run_id = seen["run_id"] = run.position.run_id

    import mlflow

    mlflow.set_tracking_uri(local_store_uri())
    loaded = {}
    for name, given in {"torch": X, "lightning": X, "keras": X, "pipeline": "a b"}.items():
        model = mlflow.pyfunc.load_model(f"runs:/{run_id}/{name}")
        answer = model.predict(given)
        loaded[name] = {
            "answer": answer.tolist() if isinstance(answer, np.ndarray) else sorted(answer.columns),
            "inputs": model.metadata.signature.inputs.to_dict(),
            "run_id": model.metadata.run_id,
            "model_id": model.metadata.model_id,
        }
    loaded["version"] = mlflow.pyfunc.load_model("models:/all of torch/1").predict(X).tolist()
    id_of_torch = loaded["torch"]["model_id"]
    loaded["by_id"] = mlflow.pyfunc.load_model(f"models:/{id_of_torch}").predict(X).tolist()
    example = mlflow.models.Model.load(f"models:/{id_of_torch}").load_input_example()
    loaded["example"] = example.tolist()
    parts = mlflow.transformers.load_model(f"runs:/{run_id}/parts")
    loaded["parts"] = type(parts).__name__
    (folder / "seen.json").write_text(json.dumps({**seen, "loaded": loaded}))


if __name__ == "__main__":
    main(Path.cwd())
