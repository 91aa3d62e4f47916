# shellcheck shell=bash
# Two snapshots that differ in the latest hundredth of the rows: telling them apart, beside reading both.

measure_diff() {
    local repo=$work/repo first second
    rm -rf "$repo"
    "$basekeep" init --repo "$repo" --quiet
    "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
    change_one_percent
    "$basekeep" backup "$(conninfo bench)" --repo "$repo" --quiet --no-progress
    read -r first second < <("$basekeep" list --repo "$repo" --json | grep -o '"id":"[0-9a-f]*"' | cut -d'"' -f4 | paste -sd ' ')
    for ((round = 1; round <= rounds; round++)); do
        echo "bench: diff, round $round of $rounds" >&2
        measure diff_snapshots "" "$basekeep" diff "$first" "$second" --repo "$repo" --quiet --no-progress
        measure diff_read_both "" bash -c "for s in $first $second; do '$basekeep' export \$s --format sql -o - --repo '$repo' --quiet --no-progress >/dev/null; done"
        measure diff_schema_only "" "$basekeep" diff "$first" "$second" --schema-only --repo "$repo" --quiet --no-progress
        measure diff_live "" env BASEKEEP_POSTGRES_BIN="$pg_bin" "$basekeep" diff "$first" --with "$(conninfo bench)" --repo "$repo" --quiet --no-progress
        measure diff_history "" "$basekeep" history public.events 1000000 --repo "$repo" --quiet --no-progress
    done
    rm -rf "$repo"
}

report_diff() {
    printf '\n## Two snapshots, the latest 1 %% of the rows of each table updated\n'
    table 'reading both'
    row '`basekeep diff`' diff_snapshots diff_read_both
    row '`basekeep export --format sql -o -` of both' diff_read_both diff_read_both
    row '`basekeep diff --schema-only`' diff_schema_only diff_read_both
    row '`basekeep diff --with` the live database' diff_live diff_read_both
    row '`basekeep history` of one row' diff_history diff_read_both
    printf '\nEvery changed row is found, with old and new values. Of a live database all rows are read, to digest them.\n'
}
