# One file for every image. A service:  docker build --target service --build-arg SERVICE=orders .
# The gateway:                          docker build --target gateway .
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
    HOST=0.0.0.0 DATA_DIR=/data LOG_FORMAT=json
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
VOLUME /data
# In bash, because it runs often: bash takes a few milliseconds, Python eighty. Failures count after the start period.
HEALTHCHECK --interval=5s --timeout=10s --start-period=120s --retries=3 CMD ["bash", "/healthcheck.sh"]
STOPSIGNAL SIGTERM

FROM base AS gateway
ENV PORT=8000
COPY gateway gateway
COPY routes.yaml .
CMD ["python", "-m", "gateway"]

FROM base AS service
ARG SERVICE
ENV SERVICE=${SERVICE}
COPY contracts contracts
COPY gatehouse gatehouse
COPY services/__init__.py services/
COPY services/${SERVICE} services/${SERVICE}
CMD ["sh", "-c", "exec python -m services.$SERVICE"]
