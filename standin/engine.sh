#!/usr/bin/env bash
# A real Docker engine for tests and CI: dockerd by hand, with a data directory, a socket and a bridge of its own.
#
#   eval "$(standin/engine.sh start)"    uses the engine that answers, else starts one (root); prints export DOCKER_HOST=…
#   standin/engine.sh status             prints the same line if an engine answers, else fails
#   standin/engine.sh stop               stops the engine that `start` started; its images stay (`stop --purge`: they go too)
#
# An engine answers at $DOCKER_HOST, else at our own socket, else at /var/run/docker.sock. With TUNEGATE_ENGINE_DIR set,
# only the engine in that directory counts. Needs Debian's docker.io, iptables and iproute2.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${TUNEGATE_ENGINE_DIR:-/var/lib/tunegate-engine}
run=/run/tunegate-engine-$(printf %s "$home" | cksum | cut -d' ' -f1)
socket=unix://$run/docker.sock
bridge=tgate${TUNEGATE_ENGINE_SUBNET:-61}
port=${TUNEGATE_STANDIN_PORT:-5055}

fail() { echo "engine: $*" >&2; exit 1; }
answers() { docker -H "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1; }
print() { echo "export DOCKER_HOST=$1"; }

status() {
  hosts=("$socket")
  if [ -z "${TUNEGATE_ENGINE_DIR:-}" ]; then hosts=(${DOCKER_HOST:+"$DOCKER_HOST"} "$socket" unix:///var/run/docker.sock); fi
  for host in "${hosts[@]}"; do
    if answers "$host"; then print "$host"; return; fi
  done
  return 1
}

# Without CAP_SYS_RESOURCE (bit 24; root of a small VM or a container) a raised rlimit fails: "error setting rlimit type 8".
needs_clamp() { [ $((0x$(sed -n 's/^CapEff:\s*//p' /proc/self/status) >> 24 & 1)) = 0 ]; }

make_bridge() {  # our own: a second dockerd with --bridge=none would delete the first one's docker0
  ip link show "$bridge" >/dev/null 2>&1 && return
  ip link add "$bridge" type bridge
  ip addr add "10.${bridge#tgate}.0.1/16" dev "$bridge"
  ip link set "$bridge" up
}

start() {
  for program in dockerd docker iptables ip; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null ||
      fail "no Docker engine answers and $program is not installed: apt-get install docker.io iptables iproute2"
  done
  [ "$(id -u)" = 0 ] || fail "no Docker engine answers and only root can start one: run as root, or set DOCKER_HOST"
  mkdir -p "$run" "$home"
  options=(--data-root "$home" --exec-root "$run/exec" --pidfile "$run/pid" -H "$socket" --storage-driver overlay2
    --bridge "$bridge" --insecure-registry nvcr.io)
  if needs_clamp; then options+=(--add-runtime "clamp=$here/runc-clamp" --default-runtime clamp); fi
  # Two daemons would flush each other's rules. Ours then has no way out of its bridge; --network=host has.
  if pgrep -x dockerd >/dev/null; then options+=(--iptables=false); fi
  make_bridge
  # Every registry request goes to standin/pin.py or nowhere: no test can pull NVIDIA's image by mistake.
  HTTP_PROXY=http://127.0.0.1:$port HTTPS_PROXY=http://127.0.0.1:$port PATH=$PATH:/usr/sbin:/sbin \
    setsid dockerd "${options[@]}" >>"$run/log" 2>&1 </dev/null &
  for _ in $(seq 150); do
    if answers "$socket"; then print "$socket"; return; fi
    kill -0 $! 2>/dev/null || break
    sleep 0.2
  done
  tail -n 20 "$run/log" >&2
  fail "dockerd did not start: its log is $run/log"
}

stop() {
  if [ -s "$run/pid" ] && kill "$(cat "$run/pid")" 2>/dev/null; then
    for _ in $(seq 150); do [ -e "$run/pid" ] || break; sleep 0.2; done
    [ ! -e "$run/pid" ] || fail "dockerd (pid $(cat "$run/pid")) does not stop: its log is $run/log"
  fi
  ip link del "$bridge" 2>/dev/null || true
  if [ "${1:-}" = --purge ]; then rm -rf "$home"; fi
}

case ${1:-start} in
  start)
    umask 077
    mkdir -p "$run" 2>/dev/null && exec 9>"$run/lock" && flock 9  # two callers: the second finds the first one's engine
    status || start 9>&- ;;
  status) status ;;
  stop) stop "${2:-}" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
