#!/bin/sh
# down.sh DATA_DIR: asks the shop that runs in DATA_DIR to end (SIGTERM) and returns when it has, within STOP_TIMEOUT_S.
# Nothing running there is no error. It never kills: a program that doesn't end is for a person to look at.
set -eu
cd "$(dirname "$0")/../.."
DATA_DIR=$1
STOP_TIMEOUT_S=${STOP_TIMEOUT_S:-60}
# shellcheck source=infra/setup/running.sh
. infra/setup/running.sh

if ! pid=$(running_pid); then
    echo "Daybook is not running (data in $DATA_DIR)."
    exit 0
fi
if ! kill -TERM "$pid"; then
    echo "Daybook (process $pid) belongs to another user: stop it as that user" >&2
    exit 1
fi
start=$(date +%s)
while is_daybook "$pid"; do
    if [ $(($(date +%s) - start)) -ge "$STOP_TIMEOUT_S" ]; then
        echo "Daybook (process $pid) did not end within $STOP_TIMEOUT_S s of SIGTERM; see $DATA_DIR/up.log" >&2
        exit 1
    fi
    sleep 0.2
done
rm -f "$DATA_DIR/up.pid"
echo "Daybook has stopped (process $pid)."
