# explr for NVIDIA drivers from 570 on. The PyTorch wheel brings CUDA and cuDNN along, so the
# smallest of the CUDA images is enough.
FROM nvidia/cuda:12.8.1-base-ubuntu24.04

# A C compiler and Python's headers are what torch.compile needs at run time.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates gcc libc6-dev python3.12 python3.12-dev python3.12-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/explr
RUN python3.12 -m venv .venv
ENV PATH=/opt/explr/.venv/bin:$PATH

COPY pyproject.toml README.md LICENSE constraints-common.txt constraints-cu128.txt ./
COPY conf conf
COPY examples examples
COPY explr explr
RUN pip install --no-cache-dir --constraint constraints-cu128.txt '.[torch]'

# Named volumes mounted on these folders take over their owner.
RUN useradd --uid 10001 --create-home explr \
    && install --directory --owner explr --group explr --mode 0700 \
        /var/lib/explr /work /work/outputs /work/multirun
USER explr
WORKDIR /work

# Runs and their journals are kept in the volumes; no MLflow server is started in here, where no
# browser could reach it. MLFLOW_TRACKING_URI names one outside.
ENV EXPLR_HOME=/var/lib/explr \
    EXPLR_AUTOSTART=0

ENTRYPOINT ["explr"]
