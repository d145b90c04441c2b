# The server that the rendered pods run: `python -m framework.server` as user 10001 in /srv, with nothing to
# write to but what a pod mounts. Built from the repository's root:
#   docker build -f .ci/server.Dockerfile -t gitune/server:0.1.0 .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
# serve: the server; store: model stores on s3:// and gs://. A trainer's image adds track and gpu.
ARG EXTRAS=serve,store
# An index with CPU builds of torch makes the image for CPU nodes several times smaller.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY conf conf
COPY framework framework
COPY recipes recipes
RUN python -m venv /opt/gitune && /opt/gitune/bin/pip install -c constraints.txt ".[${EXTRAS}]"

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
RUN groupadd --gid 10001 gitune \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gitune
COPY --from=build /opt/gitune /opt/gitune
ENV HOME=/tmp PATH=/opt/gitune/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "framework.server", "--help"]
