#!/bin/sh
# A user and a database for each program, and no way from one to another's. The first start runs this; so does whoever
# rotates a password. What is there stays.
set -eu

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"; }

# USER DATABASE...: the password is in the environment, not on a command line.
owner() {
    name=$1
    shift
    run --dbname postgres --set name="$name" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE to_regrole(quote_ident(:'name')) IS NULL \gexec
\getenv password PASSWORD
ALTER ROLE :"name" PASSWORD :'password';
SQL
    for database in "$@"; do
        run --dbname postgres --set name="$name" --set database="$database" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
    done
}

PASSWORD=$AIRFLOW_DB_PASSWORD; export PASSWORD; owner airflow airflow
PASSWORD=$MLFLOW_DB_PASSWORD; export PASSWORD; owner mlflow mlflow mlflow_auth
PASSWORD=$FEAST_DB_PASSWORD; export PASSWORD; owner feast feast
run --dbname postgres --command 'REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC'
