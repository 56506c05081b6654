# Succeeds if /health/ready on the container's own port responds with 200. In the container of the whole suite, which has
# no PORT, the gateway is ready before the services are: there /health must report all of them as healthy.
path=/health/ready
[ -n "${PORT:-}" ] || path=/health
exec 3<>"/dev/tcp/127.0.0.1/${PORT:-$GATEWAY_PORT}" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$path" >&3
read -r -t "${HEALTH_SECONDS:-8}" _ status _ <&3 && [ "$status" = 200 ] || exit 1
[ "$path" = /health/ready ] || timeout "${HEALTH_SECONDS:-8}" grep -q '^{"status":"healthy"' <&3 || exit 1
