//! SQL scripts for psql: the archive's entries in the order of a serial restore, each after the settings that it needs.
//!
//! A script for a whole database has its keys after the rows, so that rows need no order. One for rows alone goes into a
//! database where keys and triggers are there already: rows come in the order of the keys, keys that no order satisfies are
//! taken away and put back (which checks them), and triggers rest, all in one transaction.

use std::collections::HashMap;

use basekeep_archive::{
    self as archive, Archive, Entry, Phase, RestoreOptions, Step, StepKind, quote_literal,
};
use basekeep_postgres::Digest;
use bstr::{BString, ByteSlice};

use super::job::{Job, Sums};
use super::{ExportOptions, Sink, large_objects, order, rows};
use crate::EngineError;

/// How a script is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScriptOptions {
    pub(super) definitions: bool,
    pub(super) data: bool,
    pub(super) inserts: bool,
    pub(super) owner: bool,
    pub(super) privileges: bool,
    /// Schemas may be there, and functions are replaced.
    pub(super) replace: bool,
}

impl ScriptOptions {
    pub(super) fn of(options: &ExportOptions) -> Self {
        Self {
            definitions: options.halves != super::Halves::Data,
            data: options.halves != super::Halves::Definitions,
            inserts: options.inserts,
            owner: options.owner,
            privileges: options.privileges,
            replace: false,
        }
    }

    pub(super) fn restore(&self) -> RestoreOptions {
        RestoreOptions { owner: self.owner, privileges: self.privileges, ..RestoreOptions::default() }
    }
}

/// Writes everything that the export wants as one script.
pub(super) async fn whole(
    job: &Job<'_>,
    options: &ScriptOptions,
    sink: &mut dyn Sink,
) -> Result<Sums, EngineError> {
    let manifest = &job.contents.manifest;
    let mut head = vec![
        format!("Database {} of {}, as of {}", manifest.server.database, manifest.source, manifest.time),
        format!("From snapshot {}, PostgreSQL {}", job.snapshot.id.short(), manifest.server.version),
        String::new(),
    ];
    head.push(match (options.definitions, options.data) {
        (true, _) => "Load it into an empty database:".to_owned(),
        (false, _) => "Load it into a database that has the definitions, and none of the rows:".to_owned(),
    });
    head.push("psql -X -v ON_ERROR_STOP=1 -d TARGET -f THIS_FILE".to_owned());
    if options.definitions && (options.owner || options.privileges) {
        head.push("Roles that it names must exist.".to_owned());
    }
    let mut script = Script::new(job, *options, sink);
    script.begin(&head).await?;
    let sums = script.steps(&|_| true).await?;
    script.comment(&["Done".to_owned()]).await?;
    Ok(sums)
}

/// A script that is being written.
pub(super) struct Script<'a> {
    job: &'a Job<'a>,
    options: ScriptOptions,
    sink: &'a mut dyn Sink,
    standard_strings: bool,
    /// Whether identity columns may be ones that are always generated.
    overriding: bool,
    /// Settings that the script has made, by their names.
    settings: HashMap<BString, BString>,
    large_objects: Digest,
}

impl<'a> Script<'a> {
    pub(super) fn new(job: &'a Job<'a>, options: ScriptOptions, sink: &'a mut dyn Sink) -> Self {
        let archive = &job.contents.archive;
        let always = |entry: &Entry| {
            let defn = entry.defn.as_ref();
            defn.is_some_and(|defn| defn.contains_str("GENERATED ALWAYS AS IDENTITY"))
        };
        Self {
            job,
            options,
            sink,
            standard_strings: archive.standard_strings(),
            overriding: archive.entries.iter().any(always),
            settings: HashMap::new(),
            large_objects: Digest::default(),
        }
    }

    /// Which halves the next steps are about.
    pub(super) fn choose(&mut self, definitions: bool, data: bool) {
        self.options.definitions = definitions;
        self.options.data = data;
    }

    /// The head, and the settings under which all that follows means what it meant.
    pub(super) async fn begin(&mut self, head: &[String]) -> Result<(), EngineError> {
        self.comment(head).await?;
        self.sink.write(setup(self.job).as_bytes()).await?;
        self.sink.write(b"\n").await
    }

    /// Lines that psql passes over.
    pub(super) async fn comment(&mut self, lines: &[String]) -> Result<(), EngineError> {
        self.sink.write(comment(lines).as_bytes()).await
    }

    /// Writes the steps of the entries that the job and `select` want, in the archive's order.
    pub(super) async fn steps(
        &mut self,
        select: &(dyn Fn(&Entry) -> bool + Sync),
    ) -> Result<Sums, EngineError> {
        let archive = &self.job.contents.archive;
        let job = self.job;
        let selected = |entry: &Entry| job.wants(entry) && select(entry);
        let steps = archive::plan(archive, &self.options.restore(), &selected).steps;
        if !self.options.definitions {
            return self.rows_alone(&steps).await;
        }
        let mut sums = Sums::default();
        for step in &steps {
            let entry = &archive.entries[step.entry];
            if !self.options.data && entry.is_data() {
                continue;
            }
            self.step(step, entry, &mut sums).await?;
        }
        self.large_objects_checked()?;
        Ok(sums)
    }

    async fn step(&mut self, step: &Step, entry: &Entry, sums: &mut Sums) -> Result<(), EngineError> {
        match step.kind {
            StepKind::Sql | StepKind::SequenceSet => self.entry(entry).await,
            StepKind::TableData => self.rows(entry, sums).await,
            StepKind::LargeObjects => self.objects(entry).await,
        }
    }

    /// Rows for a database that has everything else.
    async fn rows_alone(&mut self, steps: &[Step]) -> Result<Sums, EngineError> {
        let archive = &self.job.contents.archive;
        let entry = |step: &Step| &archive.entries[step.entry];
        let data: Vec<usize> =
            steps.iter().filter(|step| step.kind == StepKind::TableData).map(|step| step.entry).collect();
        let order = order::rows(archive, &data, self.options.inserts);
        let mut sums = Sums::default();
        // Large objects' contents come in transactions of their own.
        let objects = |step: &&Step| step.phase != Phase::PostData && is_large_object(entry(step));
        for step in steps.iter().filter(objects) {
            self.step(step, entry(step), &mut sums).await?;
        }
        self.large_objects_checked()?;
        self.sink.write(b"BEGIN;\n\n").await?;
        if !data.is_empty() {
            self.sink.write(REST).await?;
            for index in &data {
                let name = target(&archive.entries[*index]);
                let literal = quote_literal(name, self.standard_strings);
                let pause = bstr::concat([b"SELECT pg_temp.basekeep_pause(", literal.as_slice(), b");\n"]);
                self.sink.write(&pause).await?;
            }
            self.sink.write(b"\n").await?;
        }
        for index in &order.violated {
            if let Some(drop) = &archive.entries[*index].drop_stmt {
                self.sink.write(drop).await?;
                self.sink.write(b"\n").await?;
            }
        }
        if !data.is_empty() {
            self.sink.write(AGAIN).await?;
        }
        for index in &order.data {
            self.rows(&archive.entries[*index], &mut sums).await?;
        }
        if !data.is_empty() {
            self.sink.write(b"SET CONSTRAINTS ALL IMMEDIATE;\n\n").await?;
            self.sink.write(QUIET).await?;
        }
        for index in &order.violated {
            let key = &archive.entries[*index];
            self.entry(key).await?;
            let remark =
                |entry: &&Entry| entry.desc == "COMMENT" && entry.dependencies.contains(&key.dump_id);
            for remark in archive.entries.iter().filter(remark) {
                self.entry(remark).await?;
            }
        }
        let rest = |step: &&Step| {
            entry(step).is_data() && step.kind != StepKind::TableData && !is_large_object(entry(step))
        };
        for step in steps.iter().filter(rest) {
            self.step(step, entry(step), &mut sums).await?;
        }
        if !data.is_empty() {
            self.sink.write(b"SELECT pg_temp.basekeep_resume();\n\n").await?;
            self.sink.write(AGAIN).await?;
        }
        self.sink.write(b"COMMIT;\n\n").await?;
        Ok(sums)
    }

    /// An entry's statements, with the settings that are not in force yet.
    pub(super) async fn entry(&mut self, entry: &Entry) -> Result<(), EngineError> {
        let archive = &self.job.contents.archive;
        let mut text = statements(archive, entry, &self.options.restore(), &mut self.settings);
        if self.options.replace {
            replacing(&mut text);
        }
        if text.is_empty() {
            return Ok(());
        }
        self.sink.write(comment(&[entry.display()]).as_bytes()).await?;
        self.sink.write(&text).await?;
        self.sink.write(b"\n").await
    }

    async fn rows(&mut self, entry: &Entry, sums: &mut Sums) -> Result<(), EngineError> {
        let Some(source) = self.job.table(entry.dump_id) else {
            return Err(EngineError::failed(format!("the manifest says nothing about {}", entry.display())));
        };
        self.sink.write(comment(&[entry.display()]).as_bytes()).await?;
        let counts = if self.options.inserts {
            let (overriding, strings) = (self.overriding, self.standard_strings);
            rows::inserts(self.job, &source, entry, overriding, strings, self.sink).await?
        } else {
            rows::copy(self.job, &source, entry, self.sink).await?
        };
        self.job.table_done();
        sums.add(counts);
        Ok(())
    }

    async fn objects(&mut self, entry: &Entry) -> Result<(), EngineError> {
        self.sink.write(comment(&[entry.display()]).as_bytes()).await?;
        self.large_objects += large_objects::write(self.job, entry, self.standard_strings, self.sink).await?;
        Ok(())
    }

    fn large_objects_checked(&self) -> Result<(), EngineError> {
        large_objects::check(self.job, self.large_objects)
    }
}

/// An entry's statements, with those settings that are not in force yet.
pub(super) fn statements(
    archive: &Archive,
    entry: &Entry,
    options: &RestoreOptions,
    settings: &mut HashMap<BString, BString>,
) -> Vec<u8> {
    let mut text = Vec::new();
    let Some(sql) = entry.create_sql(archive, options) else { return text };
    for query in sql.queries {
        if let Some((name, _)) = query.strip_prefix(b"SET ").and_then(|set| set.split_once_str(" = ")) {
            if settings.get(name.as_bstr()) == Some(&query) {
                continue;
            }
            settings.insert(name.into(), query.clone());
        }
        push_statement(&mut text, &query);
    }
    text
}

/// Makes a definition one that may meet its object.
fn replacing(text: &mut Vec<u8>) {
    const FORMS: [(&str, &str); 4] = [
        ("CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS "),
        ("CREATE FUNCTION ", "CREATE OR REPLACE FUNCTION "),
        ("CREATE PROCEDURE ", "CREATE OR REPLACE PROCEDURE "),
        ("CREATE AGGREGATE ", "CREATE OR REPLACE AGGREGATE "),
    ];
    for (begin, replacement) in FORMS {
        if text.starts_with(begin.as_bytes()) {
            text.splice(..begin.len(), replacement.bytes());
            return;
        }
    }
}

/// The settings of a script.
pub(super) fn setup(job: &Job<'_>) -> String {
    let mut text = archive::session_setup(&job.contents.archive);
    // As the rows were rendered.
    text.push_str("SET DateStyle = 'ISO';\nSET IntervalStyle = 'postgres';\n");
    text
}

/// Comment lines, whatever names have in them.
pub(super) fn comment(lines: &[String]) -> String {
    let mut text = String::from("--\n");
    for line in lines {
        let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str(format!("-- {clean}").trim_end());
        text.push('\n');
    }
    text.push_str("--\n\n");
    text
}

/// Appends a statement, ended by a semicolon and a newline.
pub(super) fn push_statement(text: &mut Vec<u8>, query: &[u8]) {
    let query = query.trim_end();
    text.extend_from_slice(query);
    text.extend_from_slice(if query.ends_with(b";") { b"\n" } else { b";\n" });
}

fn is_large_object(entry: &Entry) -> bool {
    matches!(entry.desc.as_slice(), b"BLOB" | b"BLOBS" | b"BLOB METADATA")
        || entry.is_large_object_attribute()
}

/// The table that an entry's rows go to.
fn target(entry: &Entry) -> BString {
    let copy = entry.copy_stmt.as_ref().map(ToString::to_string).unwrap_or_default();
    crate::restore::CopyStatement::parse(&copy).map_or_else(BString::default, |copy| copy.relation.into())
}

/// Event triggers must not take the changes below for changes of the user's, where that can be helped.
const QUIET: &[u8] = b"SELECT pg_temp.basekeep_quiet('replica');\n\n";
const AGAIN: &[u8] = b"SELECT pg_temp.basekeep_quiet('origin');\n\n";

/// Functions that let the triggers of tables rest that are not disabled already, and wake the same ones again.
const REST: &[u8] = b"-- Triggers of the user's rest while rows are loaded; where that is not permitted, they fire.
CREATE TEMPORARY TABLE basekeep_resting (tab pg_catalog.regclass, trig pg_catalog.name, always boolean);
CREATE FUNCTION pg_temp.basekeep_quiet(mode text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('session_replication_role', mode, true);
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;
SELECT pg_temp.basekeep_quiet('replica');
CREATE FUNCTION pg_temp.basekeep_pause(tab pg_catalog.regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    fires record;
BEGIN
    FOR fires IN
        SELECT tgname, tgenabled OPERATOR(pg_catalog.=) 'A' AS always FROM pg_catalog.pg_trigger
         WHERE tgrelid OPERATOR(pg_catalog.=) tab AND NOT tgisinternal AND tgenabled::text IN ('O', 'A')
           AND NOT EXISTS (SELECT FROM pg_temp.basekeep_resting AS r
                            WHERE r.tab OPERATOR(pg_catalog.=) tgrelid AND r.trig OPERATOR(pg_catalog.=) tgname)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', tab, fires.tgname);
        INSERT INTO pg_temp.basekeep_resting VALUES (tab, fires.tgname, fires.always);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'triggers of % fire while its rows are loaded: only its owner may disable them', tab;
END $$;
CREATE FUNCTION pg_temp.basekeep_resume() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    resting record;
BEGIN
    FOR resting IN SELECT * FROM pg_temp.basekeep_resting LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE %s TRIGGER %I', resting.tab,
                                  CASE WHEN resting.always THEN 'ALWAYS' ELSE '' END, resting.trig);
    END LOOP;
END $$;
SET CONSTRAINTS ALL DEFERRED;

";
