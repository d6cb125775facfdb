# The settings of every program, in one place. Use it with `. ./env.sh`, or open a shell with `make shell`.
# What the environment or `.env` (see .env.example) already says is kept.

_root=${PROJECT_ROOT:-$(cd "$(dirname "${BASH_SOURCE:-$0}")" && pwd)}

if [ -f "$_root/.env" ]; then
    while IFS='=' read -r _name _value || [ -n "$_name" ]; do
        case $_name in '' | \#* | STACK_* | *[!A-Za-z0-9_]*) continue ;; esac
        eval "[ -n \"\${$_name+set}\" ]" || export "$_name=$_value"
    done < "$_root/.env"
fi

_default() { eval "[ -n \"\${$1:-}\" ]" || export "$1=$2"; }

_default VAR_DIR "$_root/var"
export VIRTUAL_ENV="$_root/.venv"
case ":$PATH:" in *":$VIRTUAL_ENV/bin:"*) ;; *) export PATH="$VIRTUAL_ENV/bin:$PATH" ;; esac
case ":${PYTHONPATH:-}:" in
    *":$_root:"*) ;;
    *) export PYTHONPATH="$_root:$_root/local/airflow${PYTHONPATH:+:$PYTHONPATH}" ;;
esac

# Data engineering
_default DATA_LAKE "$VAR_DIR/lake"

# With DATA_LAKE=s3://… or gs://… all that the tasks share is below it.
case $DATA_LAKE in
    *://*)
        _default TRAINING_WORKSPACE "${DATA_LAKE%/}/training"
        _default MLFLOW_DEFAULT_ARTIFACT_ROOT "${DATA_LAKE%/}/mlflow"
        # Else gcsfs asks over gRPC what kind of bucket it is, a minute long where nobody answers that.
        _default GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT false
        ;;
esac

# With DATA_WAREHOUSE=bigquery://project.dataset Feast reads the features there.
if [ -n "${DATA_WAREHOUSE:-}" ]; then
    _dataset=${DATA_WAREHOUSE#bigquery://}
    _default GOOGLE_CLOUD_PROJECT "${_dataset%%.*}"
    _default DATA_BIGQUERY_LOCATION US
    _default FEAST_BIGQUERY_PROJECT "${_dataset%%.*}"
    _default FEAST_BIGQUERY_DATASET "${_dataset#*.}"
    _default FEAST_FS_YAML_FILE_PATH "$_root/feature_repo/feature_store.gcp.yaml"
    _default FEAST_REDIS localhost:6379
fi

# Feast
_default FEAST_FS_YAML_FILE_PATH "$_root/feature_repo/feature_store.yaml"
_default FEAST_REGISTRY_URI "sqlite:///$VAR_DIR/feast/registry.db"
_default FEAST_ONLINE_STORE_PATH "$VAR_DIR/feast/online.db"
_default FEAST_USAGE False

# Training and MLflow
_default MLFLOW_TRACKING_URI "sqlite:///$VAR_DIR/mlflow/mlflow.db"
_default MLFLOW_BACKEND_STORE_URI "$MLFLOW_TRACKING_URI"
_default MLFLOW_DEFAULT_ARTIFACT_ROOT "$VAR_DIR/mlflow/artifacts"
_default FEAST_UI_PORT 8888
_default MLFLOW_HOST 127.0.0.1
_default MLFLOW_PORT 5000
_default MLFLOW_WORKERS 1
_default MLFLOW_DISABLE_TELEMETRY true
_default MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR false
# Its server else keeps eight more processes for jobs of language models.
_default MLFLOW_SERVER_ENABLE_JOB_EXECUTION false
# Else a client tries an unreachable server for minutes; Airflow tries the whole task again.
_default MLFLOW_HTTP_REQUEST_MAX_RETRIES 2
_default MLFLOW_HTTP_REQUEST_TIMEOUT 30
# Else LightGBM's threads wait for each other at full speed: on busy cores a fit in two took six times the processor.
_default OMP_WAIT_POLICY passive
_default TRAINING_ARTIFACTS "$MLFLOW_DEFAULT_ARTIFACT_ROOT"
_default TRAINING_WORKSPACE "$VAR_DIR/training"
_default TRAINING_PREDICTIONS "${DATA_LAKE%/}/predictions"

# Airflow
_default AIRFLOW_PORT 8080
_default AIRFLOW_LOG_PORT 8793
_default AIRFLOW_HOME "$VAR_DIR/airflow"
_default AIRFLOW__CORE__DAGS_FOLDER "$_root/dags"
_default AIRFLOW__CORE__LOAD_EXAMPLES False
_default AIRFLOW__CORE__EXECUTOR LocalExecutor
_default AIRFLOW__CORE__PARALLELISM 4
_default AIRFLOW__CORE__EXECUTION_API_SERVER_URL "http://127.0.0.1:$AIRFLOW_PORT/execution/"
# What a task returns is an id or a short record, and in Airflow's database, unless a place is set for it. What is short
# stays there all the same: the scheduler looks itself which tasks were skipped before, and Airflow 3.3 then asks no backend.
if [ -n "${AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH:-}" ]; then
    _default AIRFLOW__CORE__XCOM_BACKEND airflow.providers.common.io.xcom.backend.XComObjectStorageBackend
    _default AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD 500
fi
_default AIRFLOW__API__HOST 127.0.0.1
_default AIRFLOW__API__PORT "$AIRFLOW_PORT"
_default AIRFLOW__API__BASE_URL "http://127.0.0.1:$AIRFLOW_PORT"
_default AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT "$AIRFLOW_LOG_PORT"
_default AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME 0.1
# Tasks of a scheduler that was killed are started anew by the next one soon, not after five minutes.
_default AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL 10
_default AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL 30
_default AIRFLOW__USAGE_DATA_COLLECTION__ENABLED False
_default DO_NOT_TRACK 1
# Lineage is told where AIRFLOW__OPENLINEAGE__TRANSPORT says; these say how. The tasks' own inlets and outlets count, and
# not the files in which Airflow keeps what they return; no task waits for a receiver that does not answer.
_default AIRFLOW__OPENLINEAGE__NAMESPACE census
_default AIRFLOW__OPENLINEAGE__EMISSION_POLICY '[{"scope": {}, "controls": {"hook_lineage": false}}]'
_default AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD True

case $DATA_LAKE in *://*) ;; *) mkdir -p "$DATA_LAKE/census" 2>/dev/null ;; esac
mkdir -p "$VAR_DIR/feast" "$VAR_DIR/mlflow" "$AIRFLOW_HOME" 2>/dev/null || echo "$VAR_DIR cannot be written: set VAR_DIR" >&2
unset _root _name _value _dataset
unset -f _default
