# The image in which shells of the terminal service run:
#   docker build --tag gatehouse-workspace:1 --file deploy/workspace.Dockerfile deploy
# Only python3 and bash are needed, for the holder and the shell; the rest is what users expect to find. Shells run as
# user 1000, or as 10001 beside docker-compose.yml; both have a name, which the prompt shows.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    bash ca-certificates curl git less make nano procps python3 python3-venv ripgrep unzip vim-tiny \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --user-group --home-dir /home/user --shell /bin/bash user \
 && echo 'user:x:10001:10001::/home/user:/bin/bash' >> /etc/passwd \
 && mkdir -p /home/user /gatehouse/run /gatehouse/holder && chown user:user /home/user
USER 1000:1000
WORKDIR /home/user
