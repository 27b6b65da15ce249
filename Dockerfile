# One image for every role: worker, trainer, topics. Two stages, so that compilers and caches stay out of it.
FROM python:3.12-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY pyproject.toml README.md ./
COPY stream_app stream_app
COPY producers producers
RUN /opt/venv/bin/pip install .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin app
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 STREAM_APP_WEB_HOST=0.0.0.0
USER app
WORKDIR /tmp
EXPOSE 8088
# Alive, not ready: a worker that waits for Kafka must not be killed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('STREAM_APP_WEB_PORT', '8088') + '/healthz', timeout=2)"]
ENTRYPOINT ["stream-app"]
CMD ["--help"]
