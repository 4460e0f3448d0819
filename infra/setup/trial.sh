#!/bin/sh
# Tries the first five minutes of a stranger, on machines that have nothing: Debian chroots with rust, gcc, make, git and
# ca-certificates only. Clones HEAD of a repository there and runs `make up`, a second `make up`, `make down` and
# `make test`: as root; as a user without the system packages (one message, exit status 2); as that user after root has
# run the very command of that message; and the last two makes again without network. The homes have mode 0700.
# Prints wall times in a table; exit status 1 when anything was not as promised. The logs stay in WORK/logs.
#
#   infra/setup/trial.sh [--work DIR] [--source REPOSITORY] [--case root|user] [--rebuild-offline] [--keep]
#
#   --work DIR          scratch of about 15 GB (default: a new folder in TMPDIR); the bare system in DIR/base is used again
#   --source REPOSITORY what to clone (default: this repository); committed work only
#   --case CASE         only one of the two chroots
#   --rebuild-offline   throw the builds away before the runs without network: the crates must be enough
#   --keep              leave the chroots, to look around in them
#
# Needs root, debootstrap, unshare, ip. The chroots reach the package registries as this machine does: its proxies,
# certificates and settings of apt, pip and cargo are passed on. Mounts and processes live in namespaces that end with
# this script, however it ends. TRIAL_SUITE, TRIAL_MIRROR, TRIAL_RUST (a toolchain's folder), TRIAL_PORT (when
# 8080 is taken here: only the runs without network have ports of their own) and STEP_TIMEOUT_S override what it finds.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
SUITE=${TRIAL_SUITE:-bookworm}
MIRROR=${TRIAL_MIRROR:-$(sed -n 's|^URIs: *\(http[^ ]*/debian/\{0,1\}\)$|\1|p; s|^deb [^h]*\(http[^ ]*/debian/\{0,1\}\) .*|\1|p' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1)}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
RUST=${TRIAL_RUST:-$(rustc --print sysroot)}
STEP_TIMEOUT_S=${STEP_TIMEOUT_S:-3600}
PORT=${TRIAL_PORT:-8080}
USER_NAME=shopper

usage() { sed -n 's/^# \{0,1\}//; 2,19p' "$0"; exit 2; }

WORK='' SOURCE=$HERE/../.. CASES='root user' REBUILD_OFFLINE='' KEEP=''
while [ $# -gt 0 ]; do
    case $1 in
    --work) WORK=$2 && shift ;;
    --source) SOURCE=$2 && shift ;;
    --case) CASES=$2 && shift ;;
    --rebuild-offline) REBUILD_OFFLINE=yes ;;
    --keep) KEEP=yes ;;
    *) usage ;;
    esac
    shift
done

remove_chroots() { rm -rf --one-file-system "$WORK/root" "$WORK/user"; }

# --- outside: prepare, then do the rest again inside new namespaces -----------------------------------------------------

if [ -z "${TRIAL_INSIDE:-}" ]; then
    for tool in debootstrap unshare ip git; do
        command -v "$tool" >/dev/null || { echo "trial.sh needs $tool: apt-get install debootstrap util-linux iproute2 git" >&2; exit 2; }
    done
    [ "$(id -u)" -eq 0 ] || { echo "trial.sh must run as root: it makes chroots" >&2; exit 2; }
    WORK=${WORK:-$(mktemp -d)}
    mkdir -p "$WORK/logs"
    WORK=$(cd "$WORK" && pwd)
    # A bundle: a user may clone from it, whoever owns the repository.
    git -C "$SOURCE" bundle create --quiet "$WORK/source.bundle" HEAD
    echo "Trying $(git -C "$SOURCE" log -1 --format='%h %s') in $WORK"
    # In the background, so that a signal is heard at once. Only KILL ends unshare, and with it every process and mount inside.
    TRIAL_INSIDE=yes unshare --mount --pid --fork --kill-child --mount-proc \
        "$HERE/trial.sh" --work "$WORK" --case "$CASES" ${REBUILD_OFFLINE:+--rebuild-offline} &
    inside=$!
    trap 'kill -KILL "$inside"; wait "$inside" || true; remove_chroots; exit 1' INT TERM HUP
    status=0
    wait "$inside" || status=$?
    [ -n "$KEEP" ] || remove_chroots
    exit "$status"
fi

# --- the chroots ---------------------------------------------------------------------------------------------------------

# What a stranger has: `apt-get install gcc` brings libc6-dev as a recommendation, which debootstrap would leave out.
make_base() {
    [ -f "$WORK/base/.complete" ] && return 0
    rm -rf "$WORK/base"
    debootstrap --variant=minbase --include=gcc,libc6-dev,make,git,ca-certificates "$SUITE" "$WORK/base" "$MIRROR" >"$WORK/logs/debootstrap.log" 2>&1 \
        || { tail -n 20 "$WORK/logs/debootstrap.log" >&2; exit 1; }
    touch "$WORK/base/.complete"
}

make_chroot() { # $1: its folder
    rm -rf "$1"
    cp -a "$WORK/base" "$1"
    mount -t proc proc "$1/proc"
    mount --bind /sys "$1/sys" && mount -o remount,bind,ro "$1/sys"
    mount -t tmpfs -o mode=755 dev "$1/dev"
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$1/dev/${node%:*}" c 1 "${node#*:}"
    done
    mknod -m 666 "$1/dev/tty" c 5 0
    ln -s /proc/self/fd "$1/dev/fd"
    ln -s /proc/self/fd/0 "$1/dev/stdin"
    ln -s /proc/self/fd/1 "$1/dev/stdout"
    ln -s /proc/self/fd/2 "$1/dev/stderr"
    mkdir "$1/dev/shm" && mount -t tmpfs -o mode=1777 shm "$1/dev/shm" # Postgres keeps shared memory there

    mkdir "$1/opt/rust"
    mount --bind "$RUST" "$1/opt/rust" && mount -o remount,bind,ro "$1/opt/rust"
    for program in "$1"/opt/rust/bin/*; do
        ln -s "/opt/rust/bin/$(basename "$program")" "$1/usr/local/bin/"
    done

    # How this machine reaches the registries.
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
    if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$1/etc/"; fi
    rm -f "$1/etc/apt/sources.list"
    cp /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list "$1/etc/apt/sources.list.d/" 2>/dev/null || true
    if [ -f /etc/apt/sources.list ]; then cp /etc/apt/sources.list "$1/etc/apt/"; fi
    grep -lE 'Acquire::(https?|Retries|ForceIPv)' /etc/apt/apt.conf.d/* | xargs -r cp -t "$1/etc/apt/apt.conf.d/"
    cp -r /usr/local/share/ca-certificates "$1/usr/local/share/"
    chroot "$1" update-ca-certificates >/dev/null 2>&1
    env | sed -nE "/^(https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|PIP_INDEX_URL|PIP_CERT|PIP_DEFAULT_TIMEOUT|CARGO_(REGISTRIES|REGISTRY|SOURCE|HTTP|NET)_[A-Z_]*)=/{s/'/'\\\\''/g; s/=/='/; s/$/'/; s/^/export /; p}" >"$1/etc/trial-environment"
    echo "export PORT=$PORT" >>"$1/etc/trial-environment"

    chroot "$1" useradd --create-home --shell /bin/sh "$USER_NAME"
    chmod 700 "$1/root" "$1/home/$USER_NAME"
    for home in "$1/root" "$1/home/$USER_NAME"; do
        mkdir -p "$home/.cargo"
        if [ -f "${CARGO_HOME:-$HOME/.cargo}/config.toml" ]; then
            cp "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$home/.cargo/"
        fi
    done
    chroot "$1" chown -R "$USER_NAME:" "/home/$USER_NAME"
    cp "$WORK/source.bundle" "$1/srv/daybook.bundle"
    chmod 644 "$1/srv/daybook.bundle"
}

log_in() { # log_in CHROOT USER SCRIPT [WRAPPER...]: as a log-in of USER would run it, in the home folder
    root=$1 user=$2 script=$3 home=/home/$2 path=/usr/local/bin:/usr/bin:/bin
    shift 3
    if [ "$user" = root ]; then
        home=/root path=/usr/local/sbin:/usr/sbin:/sbin:$path
    fi
    # shellcheck disable=SC2016 # the inner shell expands it
    timeout "$STEP_TIMEOUT_S" "$@" chroot "$root" setpriv --reuid "$user" --regid "$user" --init-groups \
        env -i HOME="$home" USER="$user" PATH="$path" LANG=C.UTF-8 sh -c '. /etc/trial-environment; cd && eval "$1"' sh "$script"
}

inside() { log_in "$1" "$2" "$3"; }

offline() { # without network but for loopback
    # shellcheck disable=SC2016 # the inner shell expands it
    log_in "$1" "$2" "$3" unshare --net sh -c 'ip link set lo up && exec "$@"' sh
}

# --- the trials ----------------------------------------------------------------------------------------------------------

RESULTS=$WORK/logs/results
failures=0

try() { # try CASE STEP EXPECTED_STATUS COMMAND...
    case_name=$1 step_name=$2 expected=$3
    shift 3
    log=$WORK/logs/$case_name.$(echo "$step_name" | tr ' ' '-').log
    start=$(date +%s)
    status=0
    "$@" >"$log" 2>&1 </dev/null || status=$?
    seconds=$(($(date +%s) - start))
    verdict=ok
    if [ "$status" -ne "$expected" ]; then
        verdict="WRONG: exit status $status, not $expected"
        failures=$((failures + 1))
        echo "$case_name, $step_name: exit status $status, not $expected; the end of $log:" >&2
        tail -n 30 "$log" | sed 's/^/  /' >&2
    fi
    printf '%-10s %-28s %6d s  %s\n' "$case_name" "$step_name" "$seconds" "$verdict" | tee -a "$RESULTS"
}

expect() { # expect CASE WHAT COMMAND...: a promise that is no step
    case_name=$1 promise=$2
    shift 2
    verdict=ok
    "$@" || { verdict=WRONG && failures=$((failures + 1)); }
    printf '%-10s %-28s %8s  %s\n' "$case_name" "$promise" '' "$verdict" | tee -a "$RESULTS"
}

up_down_test() { # up_down_test CASE CHROOT USER
    try "$1" "make up" 0 inside "$2" "$3" 'cd daybook && make up'
    try "$1" "make up, running" 0 inside "$2" "$3" 'cd daybook && make up'
    expect "$1" "  says so" grep -q 'already running' "$WORK/logs/$1.make-up,-running.log"
    try "$1" "readyz" 0 inside "$2" "$3" "curl -fsS --noproxy '*' http://127.0.0.1:$PORT/readyz"
    try "$1" "make down" 0 inside "$2" "$3" 'cd daybook && make down'
    try "$1" "make test" 0 inside "$2" "$3" 'cd daybook && make test'
    if [ -n "$REBUILD_OFFLINE" ]; then
        inside "$2" "$3" 'cd daybook && rm -rf target/release target/debug'
    fi
    try "$1" "make up and down, offline" 0 offline "$2" "$3" 'cd daybook && make up && make down'
    try "$1" "make test, offline" 0 offline "$2" "$3" 'cd daybook && make test'
    # shellcheck disable=SC2016 # the shell inside expands it
    expect "$1" "  clone is clean" inside "$2" "$3" 'cd daybook && test -z "$(git status --porcelain)"'
    # shellcheck disable=SC2016 # the shell inside expands it
    expect "$1" "  no cluster of Debian's" inside "$2" "$3" 'test -z "$(pg_lsclusters --no-header)"'
}

administrators_command() { # the command in the message of log $1
    sed -n '/installs the packages among them with:$/,/^Then run the same command again/p' "$1" | sed '1d;$d'
}

make_base
: >"$RESULTS"
for trial in $CASES; do
    chroot_folder=$WORK/$trial
    make_chroot "$chroot_folder"
    case $trial in
    root)
        try root "git clone" 0 inside "$chroot_folder" root 'git clone --quiet /srv/daybook.bundle daybook'
        up_down_test root "$chroot_folder" root
        ;;
    user)
        try bare "git clone" 0 inside "$chroot_folder" "$USER_NAME" 'git clone --quiet /srv/daybook.bundle daybook'
        try bare "make up" 2 inside "$chroot_folder" "$USER_NAME" 'cd daybook && make up'
        try bare "make test" 2 inside "$chroot_folder" "$USER_NAME" 'cd daybook && make test'
        expect bare "  one message" test "$(grep -c '^Daybook needs' "$WORK/logs/bare.make-up.log")" = 1
        try user "administrator's command" 0 inside "$chroot_folder" root "$(administrators_command "$WORK/logs/bare.make-up.log")"
        up_down_test user "$chroot_folder" "$USER_NAME"
        ;;
    *) usage ;;
    esac
done

printf '\n'
cat "$RESULTS"
[ "$failures" -eq 0 ]
