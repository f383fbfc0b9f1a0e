# Debian's HAProxy in the place of the official image, for tests where no image registry can be reached.
# Without a context: docker build -t NAME - < tests/composed/images/balancer.Dockerfile
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
