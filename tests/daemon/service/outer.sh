#!/bin/bash
# A user manager of its own on a machine that systemd does not run, for the program given:
#
#     outer.sh UID PROGRAM [ARGUMENT...]
#
# The program runs as root in a mount namespace and in control groups of its own, which belong to the
# user: the kernel then keeps the manager from touching any other process of this machine. Both are
# gone when it ends.
set -u
user=$1
shift
slice=hermes-proxyd-test-$$.slice
# As on a machine that systemd runs; journald takes the unit's name out of it.
own=$slice/user@$user.service
groups=
for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -f $tree/cgroup.procs ] && mkdir -p $tree/$own || continue
    groups="$groups $tree/$own"
    chown -R "$user:$user" $tree/$own
done

(
    for group in $groups; do echo $BASHPID > "$group/cgroup.procs"; done
    # A manager outside of its own group would move every process of the group that it is in.
    inside=$(grep -cE "^([0-9]+:name=systemd|0:):/$own\$" /proc/self/cgroup)
    if [ "$inside" -eq 0 ] || [ "$inside" -ne "$(wc -w <<< "$groups")" ]; then
        echo "the control groups are not where they should be" >&2
        exit 1
    fi
    exec timeout 150 unshare --mount --propagation private "$@"
)
code=$?

for group in $groups; do
    group=${group%/*}
    for try in $(seq 100); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.05
    done
done
exit $code
