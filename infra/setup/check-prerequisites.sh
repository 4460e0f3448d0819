#!/bin/sh
# Tells everything that Daybook needs and this machine lacks, in one message, with the command that installs it.
# Exit status 0: nothing is missing, nothing is printed; 2: something is. Only looks, and never uses the network.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=infra/setup/prerequisites.sh
. infra/setup/prerequisites.sh

if ! survey; then
    report_missing
    exit 2
fi
