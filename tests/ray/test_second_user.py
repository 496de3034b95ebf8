"""A Ray that a sweep starts on this machine lets nobody else in."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SWEEP = """
import os, stat, subprocess, sys
from pathlib import Path
from explr.core.config import RayClusterConfig
from explr.sweep.ray.cluster import ray_cluster

JOIN = "import ray, sys; ray.init(address=sys.argv[1]); print('joined', ray.is_initialized())"

def join(environment):
    command = [sys.executable, "-c", JOIN, address]
    return subprocess.run(command, env=environment, capture_output=True, text=True)

with ray_cluster(RayClusterConfig(), 1, 1.0) as ray:
    address = ray.get_runtime_context().gcs_address
    folder = Path(os.environ["RAY_TMPDIR"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    refused = join(stranger | {"HOME": str(folder)})
    assert refused.returncode == 1 and "ConnectionError" in refused.stderr, refused.stderr
    assert "joined" not in refused.stdout
    friend = join(os.environ)
    assert friend.stdout.strip() == "joined True", friend.stderr
assert not {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_TMPDIR"} & os.environ.keys()
ray.init(address="local", num_cpus=1, include_dashboard=False)  # the user's own, without a token
print("done")
"""


def test_who_does_not_know_its_token_gets_in_nowhere() -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SWEEP],
        env=variables | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("done"), done.stderr
