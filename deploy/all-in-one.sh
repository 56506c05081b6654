#!/bin/sh
# The command `gatehouse` in the image of the whole suite. The secrets of the installation are in its volume: the first
# start makes them, and the first one after an upgrade adds those that the new version needs.
set -eu
if ! [ -w "$DATA_DIR" ]; then
  echo "gatehouse: user $(id -u) cannot write to $DATA_DIR; mount a volume, or give the mounted folder to user 10001" >&2
  exit 1
fi
umask 077
secrets=$DATA_DIR/secrets/suite.env
if [ "${1:-}" = restore ] && ! [ -s "$secrets" ]; then
  # A new volume gets the secrets of the backup, and no others that would be in their way.
  ENVIRONMENT=development exec python -m gatehouse "$@"
fi
if [ "${1:-}" = up ] && ! [ -s "$secrets" ]; then
  echo "gatehouse: the admin signs in as admin with the ADMIN_PASSWORD in $secrets, and then chooses another" >&2
fi
mkdir -p "$DATA_DIR/secrets"
python -m gatehouse env --file "$secrets" >/dev/null
# Those of PostgreSQL and Redis are for other containers. What this container was given has priority.
while IFS='=' read -r name value; do
  case $name in
    '' | *[!A-Z0-9_]* | *DATABASE_PASSWORD | POSTGRES_* | REDIS_* | HTTP_PORT) ;;
    *) eval "[ -n \"\${$name:-}\" ]" || export "$name=$value" ;;
  esac
done <"$secrets"
exec python -m gatehouse "$@"
