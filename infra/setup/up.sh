#!/bin/sh
# up.sh PROGRAM DATA_DIR PORT: starts `PROGRAM up --demo` detached and returns once it answers /readyz, printing its URLs.
# Without PROGRAM's file (`up.sh - DATA_DIR PORT`) it only looks: exit status 3 when no shop runs there.
# A shop that already runs in DATA_DIR is left as it is and its URLs are printed. If the program ends or is not ready
# within READY_TIMEOUT_S, the end of its log is printed and the exit status is 1.
set -eu
cd "$(dirname "$0")/../.."
PROGRAM=$1
DATA_DIR=$2
PORT=$3
READY_TIMEOUT_S=${READY_TIMEOUT_S:-180}
LOG_TAIL_LINES=40
# shellcheck source=infra/setup/running.sh
. infra/setup/running.sh

answers() { curl --noproxy '*' --fail --silent --max-time 5 --output /dev/null "$1"; }

is_ready() { # run.json is the program's last word in starting: before it, demo products are still missing
    [ "$(run_json pid)" = "$pid" ] && answers "$(run_json url)/readyz"
}

print_urls() {
    url=$(run_json url)
    # Only pages that this version has.
    for page in /=storefront /console=console /v1/store=API /docs="API reference"; do
        if answers "$url${page%%=*}"; then
            printf '  %-14s %s\n' "${page#*=}" "$url${page%%=*}"
        fi
    done
    printf '  %-14s %s\n' "log" "$DATA_DIR/up.log" "stop it" "make down"
}

fail() {
    echo "$1; the end of $DATA_DIR/up.log:" >&2
    tail -n "$LOG_TAIL_LINES" "$DATA_DIR/up.log" | sed 's/^/  /' >&2
    exit 1
}

wait_until_ready() { # process $pid
    start=$(date +%s)
    told=0
    until is_ready; do
        waited=$(($(date +%s) - start))
        is_daybook "$pid" || fail "daybook ended before it was ready"
        [ "$waited" -lt "$READY_TIMEOUT_S" ] || fail "daybook (process $pid) still runs but was not ready within $READY_TIMEOUT_S s; make down stops it"
        if [ "$waited" -ge $((told + 5)) ]; then
            told=$waited
            echo "Waiting for $DATA_DIR/run.json and its url's /readyz: ${waited} s" >&2
        fi
        sleep 0.2
    done
}

if pid=$(running_pid); then
    wait_until_ready
    echo "Daybook is already running (process $pid, data in $DATA_DIR). To run a newer build: make down up"
    print_urls
    exit 0
fi
if [ "$PROGRAM" = - ]; then
    exit 3
fi

if ! mkdir -p "$DATA_DIR" || ! touch "$DATA_DIR/up.log"; then
    echo "$DATA_DIR is not $(id -un)'s to write in: run this as its owner, or choose another with DATA_DIR=..." >&2
    exit 1
fi
# A session of its own outlives this terminal. setsid becomes the program, so $! is the program's number.
setsid "$PROGRAM" up --demo --data-dir "$DATA_DIR" --port "$PORT" >"$DATA_DIR/up.log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$DATA_DIR/up.pid"
until is_daybook "$pid" || is_gone "$pid"; do sleep 0.05; done
wait_until_ready
echo "Daybook is up (process $pid)."
print_urls
