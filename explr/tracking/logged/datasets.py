"""Describes the data sets of a training as MLflow stores them, without importing it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from explr.core.numbers import described
from explr.core.secrets.masking import redacted, redacted_text
from explr.tracking.mlflow.names import short_value
from explr.tracking.values import WarnOnce, listed, text_of, texts_of

CONTEXT = "mlflow.data.context"
"""Tag with what a data set is used for."""

KEYS = ("name", "source", "digest", "schema", "profile")
"""What a description in the words of a training may hold."""

MAX_DATASET = 500
MAX_DIGEST = 36
MAX_SOURCE = 65_535
MAX_DETAILS = {"schema": 1_048_575, "profile": 16_777_215}
MAX_KEY, MAX_VALUE = 255, 500
"""Characters in the parts of a data set and in its tags; from `mlflow.utils.validation`."""

DIGEST = 8
"""Characters of a checksum, as MLflow's own data sets have."""


def dataset_of(dataset: Any, warn: WarnOnce) -> dict[str, str]:
    """What MLflow stores of a data set, without secrets.

    Args:
        dataset: one of `mlflow.data`, or a mapping; see `Tracker.log_input`.
        warn: takes the warning about details that are too long for MLflow.

    Raises:
        TypeError: it is neither.
        ValueError: the mapping has other keys or no name, or the source is too long for MLflow.
    """
    fields = _own(dataset) if _is_of_mlflow(dataset) else _described(dataset)
    if len(fields["source"]) > MAX_SOURCE:
        raise ValueError(f"log_input: a source has at most {MAX_SOURCE} characters in MLflow")
    for key, most in MAX_DETAILS.items():
        if len(fields.get(key) or "") > most:
            del fields[key]
            warn(
                f"{key} of {fields['name']}",
                "log_input: the %s of data set %s is left out, since MLflow takes at most %d "
                "characters",
                key, redacted_text(str(fields["name"])), most,
            )  # fmt: skip
    texts = {key: redacted_text(str(text)) for key, text in fields.items() if text is not None}
    texts["name"] = short_value(texts["name"], MAX_DATASET)
    texts["digest"] = texts["digest"][:MAX_DIGEST]
    return texts


def tags_of(context: str | None, tags: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a data set of a run.

    Args:
        context: what it is used for.
        tags: values of any type by name.
    """
    texts = texts_of(tags, "the tags of log_input")
    texts |= {} if context is None else {CONTEXT: text_of(context)}
    return {short_value(k, MAX_KEY): short_value(v, MAX_VALUE) for k, v in texts.items()}


def _is_of_mlflow(dataset: Any) -> bool:
    module = sys.modules.get("mlflow.data.dataset")  # whoever has such an object has imported it
    return module is not None and isinstance(dataset, module.Dataset)


def _own(dataset: Any) -> dict[str, Any]:
    fields = dataset.to_dict()
    return {key: fields.get(key) for key in ("source_type", *KEYS)}


def _described(dataset: Any) -> dict[str, Any]:
    if not isinstance(dataset, Mapping):
        raise TypeError(
            "log_input takes a data set of mlflow.data, such as mlflow.data.from_pandas(frame), or "
            f'a mapping such as {{"name": "digits", "source": "digits.csv"}}, got '
            f"{described(dataset)}"
        )
    if unknown := [str(key) for key in dataset if key not in KEYS]:
        raise ValueError(f"log_input: a data set has {', '.join(KEYS)}, not {', '.join(unknown)}")
    if not str(dataset.get("name") or "").strip():
        raise ValueError('log_input: a data set needs a name, as in {"name": "digits"}')
    source_type, source = _source(dataset.get("source"))
    fields = {"name": str(dataset["name"]), "source_type": source_type, "source": source}
    if (schema := dataset.get("schema")) is not None:
        if not isinstance(schema, Mapping):
            raise TypeError(
                'log_input: the schema of a data set is a mapping, as in {"pixels": "double"}, got '
                f"{described(schema)}"
            )
        columns = [
            {"type": getattr(kind, "__name__", str(kind)), "name": str(name), "required": True}
            for name, kind in schema.items()
        ]
        fields["schema"] = json.dumps({"mlflow_colspec": columns})
    if (profile := dataset.get("profile")) is not None:
        fields["profile"] = json.dumps(redacted(listed(profile)), default=str)
    digest = dataset.get("digest") or sha256(json.dumps(fields).encode()).hexdigest()[:DIGEST]
    return {**fields, "digest": digest}


def _source(source: Any) -> tuple[str, str]:
    """Type and JSON of a source, as MLflow's data sets of files and addresses have them."""
    if source is None:
        return "code", json.dumps({"tags": {}})
    text = os.fspath(source) if isinstance(source, os.PathLike) else str(source)
    scheme, is_address, _ = text.partition("://")
    if scheme in ("http", "https") and is_address:
        return "http", json.dumps({"url": text})
    return scheme if is_address and scheme != "file" else "local", json.dumps({"uri": text})
