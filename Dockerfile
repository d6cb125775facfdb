# One image for all of the stack's Python programs: the locked environment and this project's code.
FROM python:3.11.14-slim-bookworm AS environment
COPY requirements/installer.lock requirements/stack.lock /requirements/
# uv stays behind in this stage. --system-certs: behind a company's proxy the base image's certificates are those that count.
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/installer.lock \
 && /opt/uv/bin/uv venv --quiet /opt/venv \
 && /opt/uv/bin/uv pip sync --quiet --no-cache --system-certs --compile-bytecode --require-hashes \
    --python /opt/venv/bin/python /requirements/stack.lock
# 0.3 GB that nothing here needs: the libraries' own tests and sources, Feast's page, and mypy, which Feast generates code with.
RUN cd /opt/venv/lib/python*/site-packages \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && find . -type f -regex '.*\.\(map\|h\|hpp\|a\|c\|pyx\|pxd\|pyi\)' -delete \
 && rm -rf feast/ui/build feast/ui/public feast/ui/src \
 && /opt/uv/bin/uv pip uninstall --quiet --python /opt/venv/bin/python mypy

FROM python:3.11.14-slim-bookworm
# LightGBM's wheel needs the system's OpenMP. A new volume takes over owner and mode of the folder it is mounted on.
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin census \
 && install -d -o census -g census -m 750 /lake /lake/census /work /artifacts /logs
COPY --from=environment /opt/venv /opt/venv
COPY . /app
ARG GIT_COMMIT=""
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app:/app/local/airflow \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    AIRFLOW_HOME=/tmp/airflow \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False \
    DO_NOT_TRACK=1 \
    FEAST_USAGE=False \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR=false \
    MLFLOW_HTTP_REQUEST_MAX_RETRIES=2 \
    MLFLOW_HTTP_REQUEST_TIMEOUT=30 \
    TRAINING_GIT_COMMIT=$GIT_COMMIT
WORKDIR /app
USER census
