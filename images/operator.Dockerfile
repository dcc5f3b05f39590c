# The operator: core and operator packages, kopf, the Kubernetes client and boto3. No torch, no compiler, no pip.
# Built by tools/build-images. Build context: the root of the checkout.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS tools
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY constraints.txt ./
ARG PIP_INDEX_URL
RUN python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --quiet --constraint constraints.txt hatchling uv \
    && python3 -m venv --without-pip /opt/cycleqd

# What changes seldom, in a layer of its own: a change of our code does not install it again.
FROM tools AS dependencies
COPY pyproject.toml ./
ARG UV_DEFAULT_INDEX
# matplotlib draws reports, which the operator never does; it and what comes with it are 90 MB.
RUN echo matplotlib >/tmp/excludes.txt \
    && /tools/bin/uv pip install --python /opt/cycleqd/bin/python --constraint constraints.txt \
        --excludes /tmp/excludes.txt --requirement pyproject.toml --extra operator
# Tests of others, descriptions of AWS services besides S3 and the ones that give credentials, and the byte code of the
# Kubernetes client that is not asyncio's: nothing loads it.
RUN cd /opt/cycleqd/lib/python3*/site-packages \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && find kubernetes/client -type d -name __pycache__ -prune -exec rm -r {} + \
    && /opt/cycleqd/bin/python -B -c 'import boto3, kopf, kubernetes.aio; boto3.client("s3", region_name="us-east-1")'

# Our code, the same for both images: whichever is built second finds it in the builder's cache.
FROM tools AS package
COPY LICENSE README.md pyproject.toml ./
COPY cli cli
COPY core core
COPY operator operator
COPY runner runner
RUN /tools/bin/python -m hatchling build -t wheel -d /wheel \
    && /tools/bin/uv pip install --python /opt/cycleqd/bin/python --prefix /opt/package --no-deps /wheel/*.whl

FROM ${BASE}
# A base without Debian's packages has to bring tini. Images of Python come without the library's byte code, and a
# read-only root never gets it: compiled here once, not at every start.
RUN if ! command -v tini >/dev/null; then \
        apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt; \
    fi \
    && python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|site-packages|dist-packages)/' \
        "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"
COPY --from=dependencies /opt/cycleqd /opt/cycleqd
COPY --from=package /opt/package /opt/cycleqd
# Any user id will do and nothing is written below /: HOME is the one folder that is always writable, and USER is for
# what looks up a name that an arbitrary user id does not have.
# Two heaps are enough for threads that mostly wait; glibc would keep eight a core, each with its own leftovers.
ENV PATH=/opt/cycleqd/bin:$PATH \
    HOME=/tmp \
    MALLOC_ARENA_MAX=2 \
    USER=cycleqd \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["tini", "--", "cycleqd-operator"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cycleqd-operator" \
      org.opencontainers.image.description="Turns CycleQDRuns into Jobs and a finished model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
