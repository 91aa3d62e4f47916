#!/bin/sh
# Loads this export into an empty database with stock PostgreSQL tools: psql, and pg_restore of the version that made
# the backup or a newer one (BACKUP_MANIFEST.md names it). basekeep is not needed.
#
#   createdb -h HOST -U USER target
#   sh restore.sh "host=HOST user=USER dbname=target"
#
# GLOBALS=no    leaves roles and memberships alone
# JOBS=4        loads an archive with four connections
set -eu

if [ $# -ne 1 ]; then
  echo "usage: sh restore.sh 'host=… user=… dbname=…'   (or postgresql://user@host/dbname)" >&2
  exit 2
fi
target=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

run() {
  psql -X -q -v ON_ERROR_STOP=1 -d "$target" -o /dev/null "$@"
}

if [ "${GLOBALS:-yes}" = yes ] && [ -f "$here/globals.sql" ]; then
  run -f "$here/globals.sql"
fi
if [ -f "$here/database/toc.dat" ]; then
  pg_restore --exit-on-error -j "${JOBS:-1}" -d "$target" "$here/database"
elif [ -f "$here/database.dump" ]; then
  pg_restore --exit-on-error -j "${JOBS:-1}" -d "$target" "$here/database.dump"
elif [ -f "$here/database.sql" ]; then
  run -f "$here/database.sql"
elif [ -f "$here/database.sql.gz" ]; then
  gzip -dc "$here/database.sql.gz" | run
elif [ -f "$here/database.sql.zst" ]; then
  zstd -dc "$here/database.sql.zst" | run
else
  echo "here is neither database/, database.dump nor database.sql: load the files yourself" >&2
  exit 1
fi
echo "restored into $target"
