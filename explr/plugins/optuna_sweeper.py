"""`hydra/sweeper=explr_optuna`: a sweep in which no slot waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explr.core.validation import settings_of
from explr.plugins.sweeper import NODE, SearchSweeper

if TYPE_CHECKING:
    from explr.sweep.sweep import OptunaSweep


class OptunaSweeper(SearchSweeper):
    """Searches ranges with Optuna."""

    def _sweep_of(self, given: dict[str, Any], *app: Any) -> OptunaSweep:
        from explr.sweep.session import SweepSettings
        from explr.sweep.sweep import OptunaSweep

        return OptunaSweep(settings_of(SweepSettings, given, NODE), *app)
