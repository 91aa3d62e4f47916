# shellcheck shell=bash
# One database into one new repository and back, beside pg_dump, pg_restore and restic.

measure_database() {
    local repo=$work/repo
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: database, round $round of $rounds" >&2
        rm -rf "$repo" "$work/dump" "$work/dump.fc" "$work/restic"
        "$basekeep" init --repo "$repo" --quiet
        measure basekeep "$repo" "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
        measure pg_dump_zstd "$work/dump" "$zstd_dump" -Fd -j2 --compress=zstd:1 -f "$work/dump" bench
        measure basekeep_unchanged "" "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
        change_one_percent
        measure basekeep_changed "" "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
        measure pg_dump_fc "$work/dump.fc" "$pg_bin/pg_dump" -Fc -f "$work/dump.fc" bench
        restic -q -r "$work/restic" init >/dev/null
        measure pg_dump_restic "$work/restic" bash -c "'$pg_bin/pg_dump' -Fc bench | restic -q -r '$work/restic' backup --stdin --stdin-filename bench.dump"
        createdb "restored_$round"
        measure basekeep_restore "" "$basekeep" restore --to "$(conninfo "restored_$round")" --repo "$repo" --yes --quiet --no-progress
        dropdb "restored_$round" && createdb "restored_$round"
        # It complains about a setting that an older server does not know, ignores that, and ends with 1.
        measure pg_restore "" bash -c "'$(dirname "$zstd_dump")/pg_restore' -j2 -d 'restored_$round' '$work/dump' || [ \$? = 1 ]"
        dropdb "restored_$round"
        measure basekeep_drill "" env BASEKEEP_POSTGRES_BIN="$pg_bin" "$basekeep" drill --repo "$repo" --scratch "$work" --quiet --no-progress

        rm -rf "$repo"
        "$basekeep" init --repo "$repo" --quiet
        measure basekeep_small "$repo" "$basekeep" backup "$(conninfo small)" --repo "$repo" --quiet --no-progress
        measure schema_only_small "" "$pg_bin/pg_dump" --schema-only -Fc -f "$work/small.dump" small
    done
    rm -rf "$repo" "$work/dump" "$work/dump.fc" "$work/restic"
}

# The latest hundredth of each table's rows.
change_one_percent() {
    psql -X -q -v ON_ERROR_STOP=1 -d bench <<'SQL'
UPDATE events SET amount = amount + 1 WHERE id > (SELECT max(id) * 0.99 FROM events);
SELECT format('UPDATE part_%s SET value = value + 1 WHERE id > (SELECT max(id) * 0.99 FROM part_%s)', t, t) FROM generate_series(1, 24) t \gexec
SQL
}

report_database() {
    printf '\n## First backup\n'
    table 'the fastest pg_dump'
    row '`basekeep backup`' basekeep pg_dump_zstd
    row '`pg_dump -Fd -j2 --compress=zstd:1`' pg_dump_zstd pg_dump_zstd
    row '`pg_dump -Fc`' pg_dump_fc pg_dump_zstd
    row '`pg_dump -Fc` piped into `restic backup --stdin`' pg_dump_restic pg_dump_zstd
    printf '\nbasekeep also digests every row, deduplicates, encrypts, and opens again what it sealed before it uploads it.\n'
    printf '\n## The next backup\n'
    table 'the fastest pg_dump'
    row '`basekeep backup`, nothing changed' basekeep_unchanged pg_dump_zstd
    row '`basekeep backup`, the latest 1 % of the rows of each table updated' basekeep_changed pg_dump_zstd
    printf '\nThe server is asked about every range of 16 MiB ([PERFORMANCE.md](PERFORMANCE.md)); what did not change is taken over.\n'
    printf '\n## Restore into an empty database\n'
    table pg_restore
    row '`basekeep restore`' basekeep_restore pg_restore
    row '`pg_restore -j2` of the zstd directory' pg_restore pg_restore
    printf '\n## A drill\n'
    table 'basekeep restore'
    row '`basekeep drill`' basekeep_drill basekeep_restore
    row '`basekeep restore`' basekeep_restore basekeep_restore
    printf '\nA drill starts a scratch server, restores, reads every row again and compares it with the backup, and all definitions.\n'
    printf '\n## A project of 25 small tables\n'
    table pg_dump
    row '`basekeep backup`' basekeep_small schema_only_small
    row '`pg_dump --schema-only -Fc`' schema_only_small schema_only_small
    printf '\nA complete backup of the small project takes %s s beyond what `pg_dump --schema-only` takes alone.\n' \
        "$(awk -v a="$(median basekeep_small 1)" -v b="$(median schema_only_small 1)" 'BEGIN { printf "%.2f", a - b }')"
}
