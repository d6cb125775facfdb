#!/bin/sh
# A user and a database for each program, and no way from one to another's. The first start runs this; so does whoever
# rotates a password. What is there stays.
set -eu

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"; }

# USER: its password is $PASSWORD, from the environment and not on a command line.
user() {
    run --dbname postgres --set name="$1" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE to_regrole(quote_ident(:'name')) IS NULL \gexec
\getenv password PASSWORD
ALTER ROLE :"name" PASSWORD :'password';
SQL
}

# DATABASE OWNER
database() {
    run --dbname postgres --set database="$1" --set owner="$2" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
}

export PASSWORD
PASSWORD=$AIRFLOW_DB_PASSWORD; user airflow
PASSWORD=$MLFLOW_DB_PASSWORD; user mlflow
PASSWORD=$FEAST_DB_PASSWORD; user feast
PASSWORD=$SERVING_DB_PASSWORD; user serving
database airflow airflow
database mlflow mlflow
database mlflow_auth mlflow
database feast feast
run --dbname feast <<'SQL'
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
-- Who serves reads the registry.
GRANT CONNECT ON DATABASE feast TO serving;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO serving;
ALTER DEFAULT PRIVILEGES FOR ROLE feast IN SCHEMA public GRANT SELECT ON TABLES TO serving;
SQL
