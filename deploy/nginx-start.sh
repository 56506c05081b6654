#!/bin/sh
# Starts nginx, and reloads it when gateways are added or removed: nginx resolves the name of an upstream only when it reads its
# configuration. A reload does not interrupt requests. While no gateway has an address, nginx keeps the known ones.
set -eu

addresses() { getent ahostsv4 gateway | cut -d ' ' -f 1 | sort -u | tr '\n' ' '; }

known=$(addresses || true)
while sleep "${RESOLVE_SECONDS:-3}"; do
  now=$(addresses || true)
  if [ -n "$now" ] && [ "$now" != "$known" ]; then
    nginx -s reload && known=$now
  fi
done &

exec nginx -g 'daemon off;'
