#!/bin/sh
# Starts nginx, and reloads it when gateways are added or removed, and when the certificate is renewed: nginx resolves the name of
# an upstream, and reads a certificate, only when it reads its configuration. A reload does not interrupt requests. While no gateway
# has an address, or the pair of files does not fit, nginx keeps what it has.
set -eu

addresses() { getent ahostsv4 gateway | cut -d ' ' -f 1 | sort -u | tr '\n' ' '; }
pair() { cat "${TLS_DIR:-/etc/nginx/tls}"/*.pem 2>/dev/null | cksum; }

known=$(addresses || true)
certificate=$(pair)
while sleep "${RESOLVE_SECONDS:-3}"; do
  now=$(addresses || true)
  if [ -n "$now" ] && [ "$now" != "$known" ]; then
    nginx -s reload && known=$now
  fi
  renewed=$(pair)
  if [ "$renewed" != "$certificate" ]; then
    certificate=$renewed
    # The two files are replaced one after the other: until both are there, the test fails.
    nginx -t -q && nginx -s reload || true
  fi
done &

exec nginx -g 'daemon off;'
