"""A driver library with simulated GPUs, to test with NVML's real Python binding."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LIBRARY_RM_VERSION_MISMATCH = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH: the driver was updated, the machine not rebooted."""


@dataclass(frozen=True)
class Card:
    """A GPU.

    Args:
        name: what NVIDIA calls it.
        memory_gb: its memory in GiB; None if it does not tell.
        capability: its compute capability.
        used_gb: GiB of it that are taken.
        load_percent: how busy it is.
        power_w: watts that it draws.
        knows_health: whether it tells load, temperature, power and who uses it.
        cores: number of its CUDA cores; their clock is 2000 MHz.
        mig_gb: memory of each of its MIG instances; without one it has none.
        processes: GiB that each process holds, by pid; they are part of `used_gb`.
    """

    name: str = "NVIDIA GeForce RTX 5090"
    memory_gb: float | None = 32
    capability: tuple[int, int] = (12, 0)
    used_gb: float = 2
    load_percent: int = 7
    power_w: float = 61.5
    knows_health: bool = True
    cores: int = 21760
    mig_gb: tuple[float, ...] = ()
    processes: dict[int, float] = field(default_factory=dict)


LAPTOP = Card("NVIDIA GeForce RTX 3050 Laptop GPU", 4, (8, 6), 0.5, knows_health=False, cores=2048)
DISPLAY = Card("NVIDIA GeForce GT 1030", 2, (6, 1), 0.1, cores=384)
TWO_GPUS = (Card(used_gb=0), Card("NVIDIA RTX A4000", 16, (8, 6), used_gb=0, cores=6144))

PROCESSES = "SIMULATED_GPU_PROCESSES"
"""Variable that names a file of processes which come and go: lines of card, pid and bytes.

Once the driver has told of a process, there is a file named like it, with `-` and the pid behind.
"""

SOURCE = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct {{ unsigned long long total, free, used; }} memory_t;
typedef struct {{ unsigned int gpu, memory; }} utilization_t;
typedef struct {{ unsigned int pid; unsigned long long used; unsigned int gi, ci; }} process_t;
typedef struct {{
  const char *name; long long total, used; int major, minor, load, milliwatts, healthy, cores;
  int parent, first, parts, n;
  process_t processes[8];
}} card_t;
static card_t cards[] = {{ {cards} }};
enum {{ NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 }};
#define CARD ((card_t *)device)
static int running(card_t *card, process_t *found, int room) {{
  int n = 0, index; unsigned int pid; unsigned long long used;
  for (; n < card->n; n++) if (n < room) found[n] = card->processes[n];
  const char *path = getenv("{variable}");
  FILE *file = path ? fopen(path, "r") : 0;
  while (file && fscanf(file, "%d %u %llu", &index, &pid, &used) == 3) {{
    if (&cards[index] != card || kill(pid, 0)) continue;
    if (n < room) found[n] = (process_t){{pid, used, -1, -1}};
    n++;
    char seen[4096];
    snprintf(seen, sizeof seen, "%s-%u", path, pid);
    FILE *mark = fopen(seen, "w");
    if (mark) fclose(mark);
  }}
  if (file) fclose(file);
  return n;
}}
int nvmlInit_v2(void) {{ return {fault}; }}
int nvmlInitWithFlags(unsigned int flags) {{ return {fault}; }}
int nvmlShutdown(void) {{ return 0; }}
const char *nvmlErrorString(int code) {{
  return code == 18 ? "Driver/library version mismatch" : "error";
}}
int nvmlSystemGetDriverVersion(char *text, unsigned int length) {{
  snprintf(text, length, "{version}"); return 0;
}}
int nvmlSystemGetCudaDriverVersion(int *version) {{ *version = {cuda}; return 0; }}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {{ *version = {cuda}; return 0; }}
int nvmlDeviceGetCount_v2(unsigned int *count) {{ *count = {count}; return 0; }}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {{
  *device = &cards[index]; return 0;
}}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {{
  int index = strncmp(uuid, "GPU-", 4) && strncmp(uuid, "MIG-", 4) ? {all} : atoi(uuid + 4);
  if (index >= {all}) return NOT_FOUND;
  *device = &cards[index]; return 0;
}}
int nvmlDeviceGetName(void *device, char *text, unsigned int length) {{
  snprintf(text, length, "%s", CARD->name); return 0;
}}
int nvmlDeviceGetUUID(void *device, char *text, unsigned int length) {{
  snprintf(text, length, "%s-%d", CARD->parent < 0 ? "GPU" : "MIG", (int)(CARD - cards)); return 0;
}}
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {{
  if (CARD->total < 0) return NOT_SUPPORTED;
  process_t found[64];
  int n = running(CARD, found, 64);
  memory->total = CARD->total; memory->used = CARD->used;
  for (int i = CARD->n; i < n; i++) memory->used += found[i].used;
  memory->free = memory->total - memory->used; return 0;
}}
int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  rates->gpu = CARD->load; rates->memory = 0; return 0;
}}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  *celsius = 41; return 0;
}}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  *milliwatts = CARD->milliwatts; return 0;
}}
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *milliwatts) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  *milliwatts = 575000; return 0;
}}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {{
  *major = CARD->major; *minor = CARD->minor; return 0;
}}
int nvmlDeviceGetNumGpuCores(void *device, unsigned int *cores) {{
  *cores = CARD->cores; return 0;
}}
int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned int *mhz) {{
  *mhz = 2000; return 0;
}}
int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *next) {{
  if (!CARD->parts) return NOT_SUPPORTED;
  *now = *next = 1; return 0;
}}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) {{
  *count = 7; return 0;
}}
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int index, void **part) {{
  if (index >= (unsigned)CARD->parts) return NOT_FOUND;
  *part = &cards[CARD->first + index]; return 0;
}}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process_t *found) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  unsigned int room = *count;
  *count = running(CARD, found, room);
  return *count > room ? TOO_SMALL : 0;
}}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count, process_t *found) {{
  if (!CARD->healthy) return NOT_SUPPORTED;
  *count = 0; return 0;
}}
"""


def build_driver(
    folder: Path,
    cards: Sequence[Card] = TWO_GPUS,
    *,
    version: str = "570.195.03",
    cuda: int = 12080,
    fault: int = 0,
) -> Path:
    """Compile a driver library into a folder, to be put on `LD_LIBRARY_PATH`; the folder.

    Args:
        folder: made if need be.
        cards: the GPUs.
        version: of the driver.
        cuda: newest CUDA that it runs, 12080 for 12.8.
        fault: NVML's error code with which it refuses to start; 0 for none.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed, which builds the driver library for this test")
    folder.mkdir(parents=True, exist_ok=True)
    in_c, parts = [], []
    for index, card in enumerate(cards):
        in_c.append(_in_c(card, first=len(cards) + len(parts)))
        parts += [_in_c(Card("MIG", gb, used_gb=0), parent=index) for gb in card.mig_gb]
    (folder / "nvml.c").write_text(
        SOURCE.format(
            cards=", ".join(in_c + parts) or "{0}",
            count=len(cards),
            all=len(in_c + parts),
            version=version,
            cuda=cuda,
            fault=fault,
            variable=PROCESSES,
        )
    )
    name = "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", name, "nvml.c"],
        cwd=folder,
        check=True,
    )
    return folder


def environment_with(driver: Path, visible: str | None = None) -> dict[str, str]:
    """The environment of a child process that has a driver.

    Args:
        driver: folder of the library; an empty one has none.
        visible: `CUDA_VISIBLE_DEVICES`; None leaves it unset.
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    return environment if visible is None else {**environment, "CUDA_VISIBLE_DEVICES": visible}


def no_driver(folder: Path) -> Path:
    """A folder without a driver library; skips the test where the machine has one itself."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _in_c(card: Card, parent: int = -1, first: int = 0) -> str:
    total = -1 if card.memory_gb is None else int(card.memory_gb * 2**30)
    processes = ", ".join(f"{{{pid}, {int(gb * 2**30)}ULL}}" for pid, gb in card.processes.items())
    numbers = (
        total, int(card.used_gb * 2**30), *card.capability, card.load_percent,
        int(card.power_w * 1000), int(card.knows_health), card.cores, parent, first,
        len(card.mig_gb), len(card.processes),
    )  # fmt: skip
    inside = ", ".join(f"{number}LL" if abs(number) > 2**30 else str(number) for number in numbers)
    return f'{{"{card.name}", {inside}, {{{processes or "{0}"}}}}}'
