# One file for every image. A service:  docker build --target service --build-arg SERVICE=orders .
# The gateway:                          docker build --target gateway .
# The whole suite in one image:         docker build --target all .
# With a compiled gateway:              docker build --target gateway --build-arg COMPILED=true .
# All images share the layer with the packages; each holds the code of its own service only.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS environment
WORKDIR /app
COPY requirements.lock .
RUN python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock

FROM ${PYTHON_IMAGE} AS base
WORKDIR /app
COPY --from=environment /app/.venv .venv
COPY deploy/healthcheck.sh /healthcheck.sh
COPY shared shared
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2 \
    DATA_DIR=/data LOG_FORMAT=json
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
VOLUME /data
# In bash, because it runs often: bash takes a few milliseconds, Python eighty. Failures count after the start period.
HEALTHCHECK --interval=5s --timeout=10s --start-period=120s --retries=3 CMD ["bash", "/healthcheck.sh"]
STOPSIGNAL SIGTERM

# The hot modules of the gateway as machine code with --build-arg COMPILED=true, otherwise an empty folder.
FROM environment AS compiler
ARG COMPILED
COPY requirements-compile.lock .
COPY shared shared
COPY gateway gateway
RUN mkdir .compiled \
 && if [ "$COMPILED" = true ]; then \
      { command -v gcc || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev; }; } \
      && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-compile.lock \
      && .venv/bin/python -m gateway.compiling; \
    fi

FROM base AS gateway
ENV HOST=0.0.0.0 PORT=8000
COPY gateway gateway
COPY --from=compiler /app/.compiled .compiled
COPY routes.yaml .
CMD ["python", "-m", "gateway"]

# The code of all services, for `gatehouse backup` in a cluster: docker build --target suite .
FROM base AS suite
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY contracts contracts
COPY gatehouse gatehouse
COPY gateway gateway
COPY services services
COPY routes.yaml .
CMD ["python", "-m", "gatehouse", "--help"]

FROM base AS service
ARG SERVICE
ENV HOST=0.0.0.0 SERVICE=${SERVICE}
COPY contracts contracts
COPY gatehouse gatehouse
COPY services/__init__.py services/
COPY services/${SERVICE} services/${SERVICE}
CMD ["sh", "-c", "exec python -m services.$SERVICE"]

# All programs in one container, on SQLite, with everything they store in one volume (docs/containers.md).
FROM suite AS all
USER root
# tini, as the first process, waits for the orphans of others. Bytecode is written now, because nothing can write it later.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash contracts gatehouse gateway services shared
COPY deploy/env.template deploy/
COPY --from=compiler /app/.compiled .compiled
COPY deploy/all-in-one.sh /usr/local/bin/gatehouse
ENV ENVIRONMENT=production GATEWAY_HOST=0.0.0.0 GATEWAY_PORT=8080 BACKUP_DIR=/data/backups
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["tini", "--", "gatehouse"]
CMD ["up"]
