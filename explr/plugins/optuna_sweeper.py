"""`hydra/sweeper=explr_optuna`: a sweep in which no worker waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explr.plugins.sweeper import SearchSweeper

if TYPE_CHECKING:
    from explr.sweep.sweep import OptunaBackend


class OptunaSweeper(SearchSweeper):
    """Searches ranges with Optuna."""

    def _backend(self, given: dict[str, Any]) -> OptunaBackend:
        from explr.sweep.sweep import OptunaBackend

        return OptunaBackend()
