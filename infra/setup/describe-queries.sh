#!/bin/sh
# Writes .sqlx anew: what Postgres says of every query that the sqlx macros check, so that a build needs no database.
# It runs a Postgres of its own, empty but for infra/migrations and the read models (projections/src/*.sql, each in a
# schema of its file's name), and leaves .sqlx as it was when anything fails.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=infra/setup/prerequisites.sh
. infra/setup/prerequisites.sh

# Where initdb and postgres really are, pg_ctl and psql are too.
bin=$(dirname "$(readlink -f "$(find_postgres_bin)/postgres")")
scratch=$(mktemp -d)
as_server_user=
if [ "$(id -u)" -eq 0 ]; then # Postgres refuses root
    chown nobody "$scratch"
    as_server_user="setpriv --reuid nobody --clear-groups --"
fi
clean_up() {
    $as_server_user "$bin/pg_ctl" stop --silent --pgdata "$scratch/data" --mode immediate || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# The scratch folder is where the server user may be; no TCP port, so nothing can collide.
(
    cd "$scratch"
    $as_server_user "$bin/initdb" --pgdata "$scratch/data" --username daybook --auth trust --encoding UTF8 --locale C >/dev/null
    $as_server_user "$bin/pg_ctl" start --silent --wait --pgdata "$scratch/data" --log "$scratch/log" \
        --options "-c listen_addresses='' -c unix_socket_directories='$scratch'"
)
sql() { "$bin/psql" --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host "$scratch" --username daybook --dbname postgres "$@"; }
for migration in infra/migrations/*.sql; do
    sql --file "$migration"
done
path=public
for read_model in projections/src/*.sql; do
    [ -f "$read_model" ] || continue
    schema=$(basename "$read_model" .sql)
    sql --command "CREATE SCHEMA \"$schema\"" --command "SET search_path = \"$schema\", public" --file "$read_model"
    path="\"$schema\", $path"
done
sql --command "ALTER DATABASE postgres SET search_path = $path"

mkdir "$scratch/sqlx"
# The macros speak to the database only while they are compiled.
grep -rlE --include='*.rs' 'query(_as|_scalar)?(_file)?(_as|_scalar)?!' domain infra commands projections gateway tests | xargs -r touch
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$scratch/sqlx DATABASE_URL="postgres://daybook@localhost/postgres?host=$scratch" \
    cargo check --workspace --all-targets --locked
rm -rf .sqlx
mv "$scratch/sqlx" .sqlx
echo "$(find .sqlx -name 'query-*.json' | wc -l) queries described in .sqlx"
