# The sandbox beside a worker: where model-written code runs, apart from the worker's credentials, model and files.
# Nothing of ours but the folder that keeps code in, which takes Python's standard library only; the programs that tasks
# may use; and PRoot, which makes a fresh, root-like file system without any privilege.
# Built by tools/build-images. Build context: the root of the checkout.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE}
# The sandbox looks for programs in /usr/bin and /bin, where images of Python have none. They also come without the
# library's byte code, and a read-only root never gets it: compiled here once, not at every start.
RUN apt-get update && apt-get install --yes --no-install-recommends \
        bc bzip2 coreutils cron diffutils file findutils gawk grep gzip iproute2 less login passwd procps proot psmisc \
        sed sqlite3 tar tini tree util-linux vim-tiny xz-utils \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* \
    && if [ ! -e /usr/bin/python3 ]; then ln -s "$(command -v python3)" /usr/bin/python3; fi \
    && python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|site-packages|dist-packages)/' \
        "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"
COPY runner/cycleqd_runner/sandbox/jail /opt/cycleqd-sandbox/jail
RUN python3 -m compileall -q /opt/cycleqd-sandbox
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/cycleqd-sandbox \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65533:65532
ENTRYPOINT ["tini", "--", "python3", "-B", "-m", "jail.serve", "--socket", "/run/cycleqd-sandbox/socket"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cycleqd-sandbox" \
      org.opencontainers.image.description="Runs what models wrote, without privileges, credentials or network" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
