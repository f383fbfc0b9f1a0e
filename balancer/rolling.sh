#!/bin/sh
# Restarts services of a composed platform under load: one container after the other, each waited for until it is used
# again. Needs docker and nothing else. From the folder of docker-compose.yml:
#   balancer/rolling.sh torchserve tfserving gateway
# COMPOSE_PROJECT_NAME is the project, by default the folder's name; ROLLING_TIMEOUT_S is how long one may take (180).
set -eu

project=${COMPOSE_PROJECT_NAME:-$(basename "$PWD" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_-')}
timeout_s=${ROLLING_TIMEOUT_S:-180}

containers() {
  docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1" \
    --filter "label=com.docker.compose.oneoff=False"
}

is_healthy() {
  [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]
}

# Whether every gateway routes to an engine: it is up, and nothing on it is loading, warming or in error.
is_used() {
  for gateway in $(containers gateway); do
    docker exec -i "$gateway" python - "$1" <<'END' || return 1
import re, sys, urllib.request
text = urllib.request.urlopen("http://127.0.0.1:8000/metrics", timeout=10).read().decode()
named = [line for line in text.splitlines() if f'engine="{sys.argv[1]}"' in line]
up = [line for line in named if line.startswith("twinserve_engine_up{") and float(line.rsplit(" ", 1)[1]) == 1]
states = {
    re.search(r'state="(\w+)"', line)[1]
    for line in named
    if line.startswith("twinserve_version_state{") and float(line.rsplit(" ", 1)[1]) == 1
}
sys.exit(not up or states != {"ready"})
END
  done
}

wait_for() {
  deadline=$(($(date +%s) + timeout_s))
  until "$@"; do
    [ "$(date +%s)" -lt "$deadline" ] || { echo "rolling: not within $timeout_s s: $*" >&2; exit 1; }
    sleep 1
  done
}

for service in "$@"; do
  found=$(containers "$service")
  [ -n "$found" ] || { echo "rolling: project $project has no running container of $service" >&2; exit 1; }
  for container in $found; do
    echo "rolling: $service $container"
    docker restart -t 60 "$container" >/dev/null
    wait_for is_healthy "$container"
    case $service in torchserve | tfserving) wait_for is_used "$service" ;; esac
  done
done
echo "rolling: done"
