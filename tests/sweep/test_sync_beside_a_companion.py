"""`explr sync` where another process holds the lock of the store and ships nothing."""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

from filelock import FileLock
from sweeping import Workshop

HASTY_SYNC = """\
import sys

import explr.tracking.shipping.companion
from explr.runner.cli.main import main

explr.tracking.shipping.companion.HANDOVER_S = 0.0
sys.argv[1:] = ["sync"]
main()
"""


def test_what_it_could_not_ship_is_said_and_is_no_success(shop: Workshop) -> None:
    home = Path(shop.environment["EXPLR_HOME"])
    uri = f"sqlite:///{shop.folder}/elsewhere.db"
    lock = home / f"mirror-{zlib.crc32(uri.encode()):08x}.lock"
    with FileLock(lock):
        line = ("train_model=trainings:plain", "lr=0.5", f"tracking.uri={uri}")
        trained = shop.run(shop.explr(*line, "tracking.drain_timeout_s=0", "hydra.run.dir=out"))
        assert trained.returncode == 0, trained.stderr
        (journal,) = (shop.folder / "out").glob("journal-*.jsonl")
        synced = shop.run([sys.executable, "-c", HASTY_SYNC])
        assert synced.returncode == 1
        assert synced.stderr == (
            f"out/{journal.name}: another process is uploading and has not reached this run yet: "
            f"try again, or if it is gone with its machine, delete {lock}\n"
        )
        assert synced.stdout.endswith("0 runs uploaded, 1 left.\n")
    shop.sync()
    assert json.loads(journal.with_suffix(".position").read_text())["done"]
