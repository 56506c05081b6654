#!/bin/bash
# One database and one role per service, which can reach no other. Runs when the database folder is empty; run it
# by hand for a service that came later, and it leaves those that are there as they are.
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
