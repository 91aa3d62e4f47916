#!/bin/sh
# Restores this backup with stock PostgreSQL tools alone: psql and pg_restore, of the version that made the
# backup or a newer one (see MANIFEST.md). basekeep is not needed.
#
#   restic restore <snapshot> --target out     brings this folder back from the repository
#   createdb -h HOST -U USER target            an empty database
#   sh restore.sh "host=HOST user=USER dbname=target"
#
# GLOBALS=no    leaves roles and memberships alone
# JOBS=4        loads with four connections, which is faster. pg_restore may then deadlock with itself where partitioned
#               tables have foreign keys: start again with an empty database and without JOBS.
set -eu

if [ $# -ne 1 ]; then
  echo "usage: sh restore.sh 'host=… user=… dbname=…'   (or postgresql://user@host/dbname)" >&2
  exit 2
fi
target=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if [ "${GLOBALS:-yes}" = yes ] && [ -f "$here/globals.sql" ]; then
  psql -X -q -v ON_ERROR_STOP=1 -d "$target" -f "$here/globals.sql"
fi
pg_restore --exit-on-error -j "${JOBS:-1}" -d "$target" "$here/database"
echo "restored into $target"
