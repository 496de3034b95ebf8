# explr in a container.
#
#   docker build --target torch --tag explr .                  NVIDIA drivers from 570 on
#   docker build --target tensorflow --tag explr:tensorflow .
#   docker build --target cpu --build-arg BASE=ubuntu:24.04 --tag explr:cpu .
#
# The PyTorch wheels contain CUDA and cuDNN, so the smallest CUDA image is enough. CUDA 12.8 is the
# first version for RTX 50 cards (sm_120) and the last that driver 570 supports.
ARG BASE=nvidia/cuda:12.8.1-base-ubuntu24.04

FROM ${BASE} AS base
# torch.compile needs a C compiler and Python's headers at run time. Versions are not pinned: Ubuntu
# keeps no old ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates gcc libc6-dev python3.12 python3.12-dev \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3.12-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python3.12 -m venv /opt/explr
ENV PATH=/opt/explr/bin:$PATH

FROM build AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY examples examples
COPY explr explr
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# Dependencies come first, so a change of explr's code does not reinstall them. `make lock` resolves
# them, and pip refuses a file with another hash.
FROM build AS build-torch
COPY docker/requirements-torch.txt requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

FROM build AS build-tensorflow
COPY docker/requirements-tensorflow.txt requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

FROM build AS build-cpu
COPY docker/requirements-cpu.txt docker/requirements-cpu-torch.txt ./
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements-cpu.txt \
    && pip install --no-cache-dir --no-deps --requirement requirements-cpu-torch.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

FROM base AS runtime
# Named volumes mounted on these folders inherit their owner.
RUN groupadd --gid 10001 explr \
    && useradd --uid 10001 --gid 10001 --create-home explr \
    && install --directory --owner explr --group explr --mode 0700 \
        /var/lib/explr /work /work/outputs /work/multirun
# Runs and their journals are stored in the volumes. No MLflow server is started in the container,
# where no browser could reach it; MLFLOW_TRACKING_URI names one outside.
ENV PATH=/opt/explr/bin:$PATH \
    EXPLR_HOME=/var/lib/explr \
    EXPLR_AUTOSTART=0
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["explr"]

FROM runtime AS tensorflow
COPY --from=build-tensorflow /opt/explr /opt/explr

FROM runtime AS cpu
COPY --from=build-cpu /opt/explr /opt/explr

FROM runtime AS torch
COPY --from=build-torch /opt/explr /opt/explr
