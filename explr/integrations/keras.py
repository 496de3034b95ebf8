"""The callback for Keras, under the name that it has for every library."""

from explr.frameworks.keras_reporter import KerasReporter as ExplrCallback

__all__ = ["ExplrCallback"]
