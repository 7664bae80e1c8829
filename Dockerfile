# syntax=docker/dockerfile:1
# Everything comes from Debian and from requirements/run.txt, which includes an ffmpeg and a JavaScript runtime.

FROM debian:trixie-slim AS base
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/clipwire
RUN python3 -m venv .venv
COPY requirements/run.txt requirements/run.txt
RUN .venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements/run.txt \
    && rm -rf requirements
COPY static static
COPY clients/python/clipwire_client clients/python/clipwire_client
COPY server server
# Compile here: with a read-only root filesystem, Python cannot write bytecode at run time.
RUN python3 -m compileall -q server clients

FROM base
# The only folder that the server writes to; a new volume that is mounted here takes over this owner.
RUN useradd --system --user-group --uid 10001 --home-dir /data --shell /usr/sbin/nologin clipwire \
    && install --directory --owner=clipwire --group=clipwire --mode=0700 /data
COPY --from=build /srv/clipwire /srv/clipwire
ENV PATH=/srv/clipwire/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CLIPWIRE_SERVER__HOST=0.0.0.0 \
    CLIPWIRE_STORAGE__DATA_DIR=/data
WORKDIR /srv/clipwire
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-I", "-S", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('CLIPWIRE_SERVER__PORT') or os.environ.get('PORT') or 8080), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "server"]
