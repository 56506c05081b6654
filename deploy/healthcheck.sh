# Succeeds if /health/ready on the container's own port responds with 200.
exec 3<>"/dev/tcp/127.0.0.1/$PORT" || exit 1
printf 'GET /health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t "${HEALTH_SECONDS:-8}" _ status _ <&3 && [ "$status" = 200 ] || exit 1
