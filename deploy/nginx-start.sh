#!/bin/sh
# Starts nginx, and reloads it when gateways are added or removed, and when the certificate is renewed: nginx resolves the name of
# an upstream, and reads a certificate, only when it reads its configuration. A reload does not interrupt requests. While no gateway
# has an address, or the pair of files does not fit, nginx keeps what it has.
set -eu

addresses() { getent ahostsv4 gateway | cut -d ' ' -f 1 | sort -u | tr '\n' ' '; }
pair() { cat "${TLS_DIR:-/etc/nginx/tls}"/*.pem 2>/dev/null | cksum; }
# Says why a pair is refused only the first time.
fits() { if [ "$renewed" = "$refused" ]; then nginx -t -q 2>/dev/null; else nginx -t -q; fi; }

known=$(addresses || true)
certificate=$(pair)
refused=
while sleep "${RESOLVE_SECONDS:-3}"; do
  now=$(addresses || true)
  if [ -n "$now" ] && [ "$now" != "$known" ]; then
    nginx -s reload && known=$now
  fi
  renewed=$(pair)
  if [ "$renewed" != "$certificate" ]; then
    # The test fails until both files are replaced, and while no gateway has an address.
    if fits && nginx -s reload; then certificate=$renewed; else refused=$renewed; fi
  fi
done &

exec nginx -g 'daemon off;'
