# Read by the scripts here: a podman of its own, a mock cloud with a login, and the daemon before it.
# Everything happens in namespaces of its own and in a temporary folder, which are gone at the end, as is
# every process, however the script ends: it is the first one of a PID namespace.
# shellcheck shell=sh disable=SC2034

scratch=$(mktemp -d /tmp/hpXXXXXX)
export HOME="$scratch" XDG_RUNTIME_DIR="$scratch/run" CONTAINERS_CONF="$scratch/containers.conf"
mkdir -p "$scratch/run" "$scratch/net"
mount -t tmpfs none /run
ip link set lo up
cat > "$CONTAINERS_CONF" << 'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF

daemon=
end() {
    [ -z "$daemon" ] || kill "$daemon" 2> /dev/null || true
    # Twice, since a container whose network another one uses is not removed before that.
    for _ in first again; do podman_ rm --all --force --time 0 > /dev/null 2>&1 || true; done
    exec 9>&-
    umount -R "$scratch/podman" 2> /dev/null || true
    # What podman leaves behind to clean up after a container may still write there.
    tries=0
    until rm -rf "$scratch" 2> /dev/null || [ "$tries" -ge 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

podman_() {
    podman --root "$scratch/podman" --runroot "$scratch/run/podman" --storage-driver vfs \
        --network-config-dir "$scratch/net" "$@"
}
expect() {
    what=$1 wanted=$2 got=$3
    case $got in
        *"$wanted"*) echo "ok    $what: $wanted" ;;
        *) echo "FAIL  $what: $got instead of $wanted"; exit 1 ;;
    esac
}
# until_ WANTED COMMAND…: what the command says in the end, which is after 20 seconds.
until_() {
    wanted=$1 end_at=$(($(date +%s) + 20))
    shift
    while :; do
        got=$("$@") || true
        case $got in *"$wanted"*) break ;; esac
        [ "$(date +%s)" -lt "$end_at" ] || break
        sleep 0.1
    done
    echo "$got"
}
# field FILE NAME: of a JSON object.
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }
# cloud HOME [OPTION…]: a mock cloud with a login in HOME; exports the variables that lead there.
cloud() {
    mkfifo "$scratch/cloud"
    "$bin/mock-cloud" --home "$@" < "$scratch/cloud" > "$scratch/ready" &
    exec 9> "$scratch/cloud"
    until_ portal_url cat "$scratch/ready" > /dev/null
    NOUS_INFERENCE_BASE_URL=$(field "$scratch/ready" inference_base_url)
    HERMES_PORTAL_BASE_URL=$(field "$scratch/ready" portal_url)
    export NOUS_INFERENCE_BASE_URL HERMES_PORTAL_BASE_URL
}
serve() {
    [ -z "$daemon" ] || { kill "$daemon"; wait "$daemon" || true; }
    "$bin/hermes-proxyd" 2> "$scratch/log" &
    daemon=$!
    until_ 200 curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8645/livez > /dev/null
}

apps=$HOME/.local/state/hermes-proxyd/apps
config=$HOME/.config/hermes-proxyd/config.toml
mkdir -p "$apps" "$(dirname "$config")"
chmod 700 "$apps"
