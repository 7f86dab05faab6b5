#!/bin/bash
# What a user does with the service, under a real user manager and a real journald. Runs as root in
# the surroundings that outer.sh makes; HOME is the user's, BIN has the programs, PORT is free.
# What each command says is kept in $HOME/out for the test to read. With DEB, that package is installed
# first, into a /usr and a /var that are gone at the end, and removed last.
set -eu
user=$1
export XDG_RUNTIME_DIR=/run/user/$user
out=$HOME/out
config=$HOME/.config/hermes-proxyd/config.toml
mkdir -p "$out" "$HOME/fake" "$(dirname "$config")" "$HOME/.config/systemd/user/hermes-proxyd.service.d"

# --- surroundings ---------------------------------------------------------------------------------
mount -t tmpfs none /run
mkdir -p /run/systemd/journald.conf.d /run/systemd/system "$XDG_RUNTIME_DIR"
printf '[Journal]\nStorage=persistent\nAudit=\nReadKMsg=no\n' > /run/systemd/journald.conf.d/test.conf
{ cat /etc/passwd; echo "hermes-test:x:$user:$user::$HOME:/bin/sh"; } > /run/passwd
mount --bind /run/passwd /etc/passwd

if [ -n "${DEB:-}" ]; then
    mount -t tmpfs none /mnt
    for folder in usr var; do
        mkdir "/mnt/$folder" "/mnt/$folder.work"
        layers=lowerdir=/$folder,upperdir=/mnt/$folder,workdir=/mnt/$folder.work
        mount -t overlay overlay -o "$layers" "/$folder"
    done
    dpkg -i "$DEB" > "$out/dpkg" 2>&1
    BIN=/usr/bin
fi
mount -t tmpfs none /var/log
mkdir -p /var/log/journal

# logind needs a whole machine, so this stands in for its program.
cat > "$HOME/fake/loginctl" <<'FAKE'
#!/bin/sh
echo "$*" >> "$HOME/out/loginctl"
case $* in
    *show-user*) if [ -e "$HOME/lingers" ]; then echo yes; else echo no; fi ;;
    *enable-linger*) touch "$HOME/lingers" ;;
    *disable-linger*) rm "$HOME/lingers" ;;
esac
FAKE
chmod +x "$HOME/fake/loginctl"
write_config() { printf '[[listen]]\naddress = "127.0.0.1:%s"\n%s\n' "$PORT" "$1" > "$config"; }
write_config ''
# The watchdog as it is, but sooner.
printf '[Service]\nWatchdogSec=4\n' > "$HOME/.config/systemd/user/hermes-proxyd.service.d/sooner.conf"
chown -R "$user:$user" "$HOME" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"

as_user() {
    setpriv --reuid="$user" --regid="$user" --clear-groups env -i HOME="$HOME" \
        PATH="$HOME/fake:/usr/bin:/bin" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" "$@"
}
# What a shell sets and a service manager does not know.
ctl() {
    as_user HERMES_PORTAL_BASE_URL="$HERMES_PORTAL_BASE_URL" \
        NOUS_INFERENCE_BASE_URL="$NOUS_INFERENCE_BASE_URL" "$BIN/hermesctl" "$@"
}
keep() {
    local name=$1 code=0
    shift
    "$@" > "$out/$name" 2> "$out/$name.err" || code=$?
    echo $code > "$out/$name.code"
}
control() { as_user systemctl --user "$@"; }
property() { control show hermes-proxyd.service --property "$1" --value; }
until_true() {
    local tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ]; then
            echo "never true: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}
runs_anew() {
    local shown
    # At one moment: between two questions it may have died.
    shown=$(control show hermes-proxyd.service --property MainPID,SubState --value | sort -r | xargs)
    [[ $shown =~ ^running\ [1-9] ]] && [ "$shown" != "running $1" ]
}

/lib/systemd/systemd-journald & journald=$!
manager=
leave() {
    if [ "$1" -ne 0 ]; then
        # What the test can't ask any more.
        tail -n 20 "$out"/* >&2
        journalctl --no-pager -o cat >&2
    fi
    kill $manager; wait $manager
    kill $journald; wait $journald || true
}
trap 'leave $?' EXIT
until_true test -S /run/systemd/journal/stdout
journalctl --flush
setpriv --reuid="$user" --regid="$user" --clear-groups env -i HOME="$HOME" \
    XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" /lib/systemd/systemd --user > "$out/manager" 2>&1 & manager=$!
until_true test -S "$XDG_RUNTIME_DIR/systemd/private"

# --- from nothing to an answer, twice -------------------------------------------------------------
keep absent ctl service status --json
keep setup ctl setup --yes --json
keep again ctl setup --json
keep status ctl service status --json
# As from cron, which has no such variable.
keep cron env -u XDG_RUNTIME_DIR setpriv --reuid="$user" --regid="$user" --clear-groups env -i \
    HOME="$HOME" PATH="$HOME/fake:/usr/bin:/bin" "$BIN/hermesctl" service status --json

# --- a good file, a bad file ----------------------------------------------------------------------
before=$(property MainPID)
write_config '[log]
level = "debug"'
keep reload_good control reload hermes-proxyd
write_config 'nonsense = 1'
keep reload_bad control reload hermes-proxyd
echo "$before $(property MainPID)" > "$out/reload_pids"
keep restart_bad ctl service restart
write_config ''
keep start ctl service start

# --- a process that hangs, and one that dies ------------------------------------------------------
main_process() {
    local pid
    pid=$(property MainPID)
    # `kill 0` would reach this script and whoever runs it.
    if [ "$pid" -le 1 ]; then
        echo "the service does not run" >&2
        return 1
    fi
    echo "$pid"
}
before=$(main_process)
kill -STOP "$before"
until_true runs_anew "$before"
property NRestarts > "$out/after_watchdog"
before=$(main_process)
kill -KILL "$before"
until_true runs_anew "$before"
property NRestarts > "$out/after_kill"

# --- the port held by systemd ---------------------------------------------------------------------
keep socket ctl service install --socket --json
cat > "$HOME/fake/load" <<'LOAD'
#!/bin/bash
ok=0 failed=0
while [ ! -e "$HOME/enough" ]; do
    line=refused
    if { exec 3<> "/dev/tcp/127.0.0.1/$1"; } 2>/dev/null; then
        printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        read -r line <&3 || line="cut after: $line"
        exec 3>&-
    fi
    case $line in
        'HTTP/1.1 200'*) ok=$((ok + 1)) ;;
        *)
            failed=$((failed + 1))
            echo "$line" >&2
            ;;
    esac
done
echo "$ok $failed"
LOAD
chmod +x "$HOME/fake/load"
loads=
for worker in 1 2 3; do
    as_user bash "$HOME/fake/load" "$PORT" > "$out/load.$worker" 2>> "$out/load.err" & loads="$loads $!"
done
for _ in $(seq 20); do
    # The manager counts these starts too.
    control reset-failed hermes-proxyd
    control restart hermes-proxyd
done
touch "$HOME/enough"
wait $loads
cat "$out"/load.[0-9] > "$out/load"

# --- the journal ----------------------------------------------------------------------------------
journalctl --sync
journalctl --no-pager -o json SYSLOG_IDENTIFIER=hermes-proxyd MESSAGE=listening | tail -n 1 > "$out/journal"

# --- stop, start, uninstall -----------------------------------------------------------------------
keep stop ctl service stop --json
keep stopped ctl service status --json
keep started ctl service start --json
keep uninstall ctl service uninstall --json
keep uninstall_again ctl service uninstall --json
keep gone ctl service status --json
find "$HOME/.config/systemd" -type f > "$out/left"
if [ -n "${DEB:-}" ]; then
    dpkg --purge hermes-proxyd > "$out/purge" 2>&1
    find /usr /var/lib -name '*hermes-proxyd*' -o -name 'hermesctl*' > "$out/remains"
fi
