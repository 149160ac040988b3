#!/bin/sh
# Run once by the PostgreSQL image, in an empty data directory: a database and a role of its own for readvault and for
# Prefect, neither of which may see the other's, and TLS with a certificate that only says what it is.
set -eu
: "${READVAULT_DATABASE_PASSWORD:?}" "${PREFECT_DATABASE_PASSWORD:?}"

psql --set=ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set=readvault="$READVAULT_DATABASE_PASSWORD" --set=prefect="$PREFECT_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE readvault LOGIN PASSWORD :'readvault';
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE readvault OWNER readvault;
CREATE DATABASE prefect OWNER prefect;
REVOKE ALL ON DATABASE readvault, prefect FROM PUBLIC;
ALTER SYSTEM SET ssl = on;
ALTER SYSTEM SET password_encryption = 'scram-sha-256';
SQL

openssl req -new -x509 -nodes -days 3650 -newkey rsa:2048 -subj /CN=database \
  -out "$PGDATA/server.crt" -keyout "$PGDATA/server.key" 2> /dev/null
chmod 600 "$PGDATA/server.key"
