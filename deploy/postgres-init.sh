#!/bin/bash
# Runs once, when the database folder is empty: one database and one role per service, which can reach no other.
set -euo pipefail

for password_variable in $(compgen -v | grep "_DATABASE_PASSWORD$"); do
  service=${password_variable%_DATABASE_PASSWORD}
  service=${service,,}
  psql -q -v ON_ERROR_STOP=1 -v service="$service" -v password="${!password_variable}" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
