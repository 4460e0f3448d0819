# shellcheck shell=sh
# How `make up` and `make down` know a running shop: by the process id in <data-dir>/run.json, which `daybook up` writes,
# or in <data-dir>/up.pid, which up.sh writes before. Sourced by the scripts beside it; expects DATA_DIR; only looks.

run_json() { # the value under the top-level key $1, or nothing
    [ -r "$DATA_DIR/run.json" ] || return 0
    tr '{,' '[\n*]' <"$DATA_DIR/run.json" | sed -n "s/^ *\"$1\" *: *\"\{0,1\}\([^\" }]*\).*/\1/p" | head -n 1
}

command_line() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"; }

# A number that another process has by now is not ours.
is_daybook() { command_line "$1" | grep -q '^[^ ]*daybook[^ ]* up\( \|$\)'; }

# A dead process that nobody has waited for still has its number, but no command line.
is_gone() { [ -z "$(command_line "$1")" ]; }

running_pid() { # prints the process id of the shop in DATA_DIR, or fails
    for pid in "$(run_json pid)" "$(cat "$DATA_DIR/up.pid" 2>/dev/null || true)"; do
        if [ -n "$pid" ] && is_daybook "$pid"; then
            echo "$pid"
            return 0
        fi
    done
    return 1
}
