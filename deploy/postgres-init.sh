#!/bin/bash
# Creates one database and one role per service; a role cannot reach other databases. Runs when the data directory is
# empty. Run it by hand after adding a service: existing roles and databases stay unchanged.
set -euo pipefail

for password_variable in $(compgen -v | grep "_DATABASE_PASSWORD$"); do
  service=${password_variable%_DATABASE_PASSWORD}
  service=${service,,}
  there=$(psql -qtA --username "$POSTGRES_USER" --dbname postgres --command "SELECT 1 FROM pg_roles WHERE rolname = '$service'")
  if [ -n "$there" ]; then continue; fi
  psql -q -v ON_ERROR_STOP=1 -v service="$service" -v password="${!password_variable}" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
