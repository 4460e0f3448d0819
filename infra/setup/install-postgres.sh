#!/bin/sh
# Installs PostgreSQL's server programs and, in the same call, whatever else of the prerequisites has a package.
# Does nothing, and uses no network, when nothing is missing. Installs only as root on Debian and its relatives, without
# letting the package start a server of its own; anyone else gets one message with the whole list, and exit status 2.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=infra/setup/prerequisites.sh
. infra/setup/prerequisites.sh

if survey; then
    exit 0
fi
# What no package can mend is told before anything is changed.
if [ "$(id -u)" -ne 0 ] || [ "$(package_manager || true)" != apt-get ] || [ "$ONLY_BY_HAND" = yes ]; then
    report_missing
    exit 2
fi

echo "Installing:$PACKAGES" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A machine that is just booting may hold apt's lock; noninteractive, because tzdata asks.
if ! DEBIAN_FRONTEND=noninteractive sh -c "$(install_command apt-get | sed 's/^ *apt-get/& -o DPkg::Lock::Timeout=300/')" >"$log" 2>&1; then
    cat "$log" >&2
    echo "apt-get could not install:$PACKAGES (its output is above)" >&2
    exit 1
fi
if ! survey; then
    report_missing
    exit 2
fi
