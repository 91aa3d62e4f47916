# shellcheck shell=bash
# The repository's own work beside stock restic's, on the same data: a local folder, and S3 (a Garage server on this machine).
#
# The data are four snapshots of the database, between which a tenth of its rows changed; three are forgotten before the prune.
# Both programs check and prune copies of one repository, which basekeep wrote.

prepare_repository() {
    local change
    "$basekeep" init --repo "$work/master" --quiet
    createdb -T bench changing
    for change in 1 2 3 4; do
        "$basekeep" backup "$(conninfo changing)" --name shop --repo "$work/master" --quiet --no-progress
        [ "$change" = 4 ] || psql -X -q -d changing -c "UPDATE events SET amount = amount + 1 WHERE id % 10 = $change AND tenant < '80000000-0000-0000-0000-000000000000'"
    done
    # The files that restic backs up and restores: what the newest snapshot holds.
    restic -q -r "$work/master" restore latest --target "$work/files" >/dev/null
}

measure_local() {
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: repository on disk, round $round of $rounds" >&2
        rm -rf "$work/one" "$work/two" "$work/out"
        restic -q -r "$work/two" init >/dev/null
        measure local_backup_restic "$work/two" restic -q -r "$work/two" backup "$work/files"
        rm -rf "$work/two"
        "$basekeep" init --repo "$work/two" --quiet
        measure local_copy_basekeep "$work/two" "$basekeep" copy latest --repo "$work/master" --to "$work/two" --quiet --no-progress
        rm -rf "$work/two"
        restic -q -r "$work/two" init --from-repo "$work/master" --copy-chunker-params >/dev/null
        measure local_copy_restic "$work/two" restic -q -r "$work/two" copy --from-repo "$work/master" latest
        rm -rf "$work/two"
        cp -a "$work/master" "$work/one"
        cp -a "$work/master" "$work/two"
        measure local_check_basekeep "" "$basekeep" check --read-data --repo "$work/one" --quiet --no-progress
        measure local_check_restic "" restic -q -r "$work/two" check --read-data
        measure local_restore_restic "" restic -q -r "$work/two" restore latest --target "$work/out"
        "$basekeep" forget --keep-last 1 --repo "$work/one" --quiet
        restic -q -r "$work/two" forget --keep-last 1 >/dev/null
        measure local_prune_basekeep "$work/one" "$basekeep" prune --repo "$work/one" --quiet --no-progress
        measure local_prune_restic "$work/two" restic -q -r "$work/two" prune
        measure local_repack_basekeep "$work/one" "$basekeep" prune --max-unused 0 --repo "$work/one" --quiet --no-progress
        measure local_repack_restic "$work/two" restic -q -r "$work/two" prune --max-unused 0
        restic -q -r "$work/one" check
        "$basekeep" check --repo "$work/two" --quiet --no-progress
    done
    rm -rf "$work/one" "$work/two" "$work/out"
}

measure_s3() {
    start_garage
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: repository on S3, round $round of $rounds" >&2
        local bucket=s3://bench-basekeep-$round peer=s3:$AWS_ENDPOINT_URL/bench-restic-$round
        garage_bucket "bench-basekeep-$round"
        garage_bucket "bench-restic-$round"
        rm -rf "$work/cache"
        export BASEKEEP_CACHE_DIR=$work/cache RESTIC_CACHE_DIR=$work/restic-cache
        "$basekeep" init --repo "$bucket" --from-repo "$work/master" --copy-chunker-params --quiet
        measure s3_backup_basekeep "" "$basekeep" backup "$(conninfo bench)" --repo "$bucket" --quiet --no-progress
        restic -q -r "$peer" init >/dev/null
        measure s3_backup_restic "" bash -c "'$pg_bin/pg_dump' -Fc -Z0 bench | restic -q -r '$peer' backup --stdin --stdin-filename bench.dump"
        createdb "restored_$round"
        measure s3_restore_basekeep "" "$basekeep" restore --to "$(conninfo "restored_$round")" --repo "$bucket" --yes --quiet --no-progress
        dropdb "restored_$round" && createdb "restored_$round"
        measure s3_restore_restic "" bash -c "restic -q -r '$peer' dump latest bench.dump >'$work/bench.dump' && '$pg_bin/pg_restore' -j2 -d 'restored_$round' '$work/bench.dump'"
        dropdb "restored_$round"
        rm -f "$work/bench.dump"
        measure s3_check_basekeep "" "$basekeep" check --read-data --repo "$bucket" --quiet --no-progress
        measure s3_check_restic "" restic -q -r "$peer" check --read-data
        # Three snapshots of the changing database in two buckets of the same content.
        "$basekeep" copy --repo "$work/master" --to "$bucket" --quiet --no-progress
        garage_bucket "bench-twin-$round"
        local twin=s3:$AWS_ENDPOINT_URL/bench-twin-$round
        "$basekeep" init --repo "$twin" --from-repo "$bucket" --copy-chunker-params --quiet
        "$basekeep" copy --repo "$bucket" --to "$twin" --quiet --no-progress
        "$basekeep" forget --keep-last 1 --repo "$bucket" --quiet
        restic -q -r "$twin" forget --group-by host,paths --keep-last 1 >/dev/null
        measure s3_prune_basekeep "" "$basekeep" prune --repo "$bucket" --quiet --no-progress
        measure s3_prune_restic "" restic -q -r "$twin" prune
    done
    stop_garage
}

report_repository() {
    cat <<'HEAD'

## The repository's own work

Four snapshots of the same database, in which a tenth of the large table's rows was changed in between. Both programs work on
copies of one repository, which basekeep wrote; what one of them has pruned, the other one checks.

On a local disk:
HEAD
    table restic
    row '`basekeep copy latest` into a new repository' local_copy_basekeep local_copy_restic
    row '`restic copy latest` into a new repository' local_copy_restic local_copy_restic
    row '`basekeep check --read-data`' local_check_basekeep local_check_restic
    row '`restic check --read-data`' local_check_restic local_check_restic
    row '`basekeep prune` after three of four were forgotten' local_prune_basekeep local_prune_restic
    row '`restic prune` after three of four were forgotten' local_prune_restic local_prune_restic
    row '`basekeep prune --max-unused 0` after that' local_repack_basekeep local_repack_restic
    row '`restic prune --max-unused 0` after that' local_repack_restic local_repack_restic
    printf '\nFor scale: `restic backup` of the files of one snapshot takes %.2f s, `restic restore` of them %.2f s, neither with a database at the other end.\n' \
        "$(median local_backup_restic 1)" "$(median local_restore_restic 1)"
}

report_s3() {
    local name
    printf '\nOn S3 (Garage %s, one node on the same machine, its data on the same disk):\n' "$("$garage" --version | sed 's/.*cargo:\([0-9.]*\).*/\1/')"
    table restic
    for name in backup restore check prune; do
        case $name in
            backup) set -- '`basekeep backup`' '`pg_dump -Fc -Z0` piped into `restic backup --stdin`' ;;
            restore) set -- '`basekeep restore`' '`restic dump`, then `pg_restore -j2`' ;;
            check) set -- '`basekeep check --read-data`' '`restic check --read-data`' ;;
            prune) set -- '`basekeep prune` of five snapshots to two' '`restic prune` of five snapshots to two' ;;
        esac
        row "$1" "s3_${name}_basekeep" "s3_${name}_restic"
        row "$2" "s3_${name}_restic" "s3_${name}_restic"
    done
}
