#!/bin/sh
# Starts Redis with one user for the services and one for the gateways, both with passwords. Services may only use
# the event stream, gateways only the rate limit counts.
set -eu

users=${REDIS_USERS_FILE:-/run/redis-users.acl}
digest() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
connection='+auth +hello +ping +select +multi +exec +discard +watch +unwatch +eval +evalsha +script|load'

# The file contains no secrets: a password of 32 random bytes cannot be recovered from its digest.
cat >"$users" <<USERS
user default off
user services on #$(digest "$REDIS_PASSWORD") resetchannels ~gatehouse:events ~gatehouse:events:born ~gatehouse:reader:* -@all $connection +info +get +set +del +pexpire +xadd +xread +xreadgroup +xrevrange +xack +xclaim +xpending +xtrim +xinfo|groups +xgroup|create
user gateway on #$(digest "$REDIS_GATEWAY_PASSWORD") resetchannels ~gatehouse:limit:* ~gatehouse:limits:* -@all $connection +get +set +time +zadd +zcard +zrem +zremrangebyscore +expire
USERS
unset REDIS_PASSWORD REDIS_GATEWAY_PASSWORD

# The published image uses this to run Redis as its own user; elsewhere the program does not exist.
as_redis=$(command -v docker-entrypoint.sh || command -v redis-entrypoint || true)
exec ${as_redis:+"$as_redis"} redis-server --aclfile "$users" "$@"
