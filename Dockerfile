# One image for CPU and GPU: the torch that the installer chooses for Linux brings its own CUDA and runs without.
# A smaller image for CPUs alone: pass pip options that name a CPU build of torch in PIP_OPTIONS.
FROM python:3.12-slim

ARG PIP_OPTIONS=""
# OpenCV's wheel links to these two.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/fovea
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY workers workers
COPY configs configs
RUN pip install --no-cache-dir ${PIP_OPTIONS} '.[openvino,serve]'

RUN useradd --create-home --uid 10001 fovea && install --directory --owner fovea /var/lib/fovea
USER fovea
# Compiled for this machine's processor; on another kind the first camera waits some seconds for it.
RUN python -W ignore -m pipeline.codec.warm
# Relative paths of a site file (store, weights, videos) are below this volume.
WORKDIR /var/lib/fovea
VOLUME /var/lib/fovea
ENV YOLO_AUTOINSTALL=false RAY_USAGE_STATS_ENABLED=0

ENTRYPOINT ["fovea"]
CMD ["run", "/opt/fovea/configs/demo.yaml"]
