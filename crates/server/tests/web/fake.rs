use std::sync::Mutex;

use async_trait::async_trait;
use basekeep_engine::EngineError;
use basekeep_server::web::panel::*;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;

/// A name that would do harm in a page that does not escape.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'&";
/// The id of its snapshots begins so.
pub(crate) const ID: &str = "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f";

/// A panel that answers the same always, and remembers what was started.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) started: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.lock().unwrap().clone()
    }

    fn note(&self, what: String) -> Answer<String> {
        self.started.lock().unwrap().push(what);
        Ok("7".into())
    }
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + hours * 3600).unwrap()
}

fn line() -> SnapshotLine {
    SnapshotLine {
        id: ID.into(),
        time: at(0),
        source: "shop".into(),
        tags: vec![HOSTILE.into()],
        tables: Some(2),
        rows: Some(310_000),
        bytes: Some(5 << 20),
        added_bytes: Some(1 << 20),
        proven: Some(true),
        not_captured: 1,
        damaged: None,
    }
}

fn run(outcome: Outcome) -> Run {
    Run {
        id: "7".into(),
        job: "backup".into(),
        source: "shop".into(),
        started_by: Some("ada".into()),
        started: at(0),
        ended: (outcome != Outcome::Running).then(|| at(1)),
        outcome,
        summary: Some(HOSTILE.into()),
        snapshot: Some(ID.into()),
        rows: Some(5),
        bytes: Some(6),
        added_bytes: Some(7),
    }
}

fn notice() -> Notice {
    Notice { what: HOSTILE.into(), reason: "no right to read it".into(), hint: Some("grant it".into()) }
}

fn field(name: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange { name: name.into(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
}

#[async_trait]
impl Panel for Fake {
    async fn sources(&self) -> Answer<Vec<Source>> {
        let proof = Proof { snapshot: Some(ID.into()), time: at(0), equal: true };
        let source = Source {
            name: "shop".into(),
            place: Some("postgresql://app@db/shop".into()),
            configured: true,
            profile: Some("production".into()),
            snapshots: 2,
            last: Some(line()),
            proof: Some(proof),
            next: vec![NextRun { job: "backup".into(), time: at(6) }],
            running: None,
            state: State::Good,
            reason: None,
        };
        let other = Source {
            name: HOSTILE.into(),
            place: None,
            configured: false,
            last: None,
            proof: None,
            state: State::Bad,
            reason: Some(HOSTILE.into()),
            ..source.clone()
        };
        Ok(vec![source, other])
    }

    async fn runs(&self, _: &RunFilter) -> Answer<Vec<Run>> {
        Ok(vec![run(Outcome::Running), run(Outcome::Failed)])
    }

    async fn run(&self, id: &str) -> Answer<RunDetail> {
        if id != "7" {
            return Err(PanelError::NotFound(format!("there is no run {id}")));
        }
        let event = RunEvent { time: at(0), kind: EventKind::Warning, text: HOSTILE.into() };
        let progress = Counters { bytes: 5, bytes_expected: 10, rows: 2, items: 1, items_expected: 2 };
        Ok(RunDetail {
            run: run(Outcome::Running),
            events: vec![event],
            progress: Some(progress),
            step: Some("rows".into()),
        })
    }

    async fn follow(&self, _: &str) -> Answer<Updates> {
        let event = RunEvent { time: at(0), kind: EventKind::Step, text: HOSTILE.into() };
        let updates = vec![
            RunUpdate::Step { name: "rows".into() },
            RunUpdate::Progress(Counters { bytes: 5, bytes_expected: 10, ..Counters::default() }),
            RunUpdate::Event(event),
            RunUpdate::Ended { outcome: Outcome::Done, summary: None },
        ];
        Ok(futures::stream::iter(updates).boxed())
    }

    async fn growth(&self, _: &str) -> Answer<Growth> {
        let point = |hours, rows| GrowthPoint {
            time: at(hours),
            snapshot: ID.into(),
            rows,
            bytes: rows * 9,
            added_bytes: 3,
        };
        let table = TableGrowth {
            table: HOSTILE.into(),
            rows_before: Some(9),
            rows: Some(5),
            bytes_before: None,
            bytes: Some(1),
        };
        Ok(Growth {
            points: vec![point(-24, 5), point(0, 8)],
            tables: vec![table],
            between: Some((at(-24), at(0))),
        })
    }

    async fn snapshots(&self, _: Option<&str>) -> Answer<Snapshots> {
        let unreadable = vec![Named { name: "a0".repeat(32), text: "damaged".into() }];
        Ok(Snapshots { snapshots: vec![line(), line()], unreadable })
    }

    async fn snapshot(&self, id: &str) -> Answer<SnapshotDetail> {
        if !ID.starts_with(id) {
            return Err(PanelError::Failed(EngineError::usage("no such snapshot").hint("look at the list")));
        }
        let table = TableLine {
            schema: "public".into(),
            name: HOSTILE.into(),
            rows: 5,
            bytes: 10,
            digest: "ab".repeat(16),
        };
        Ok(SnapshotDetail {
            snapshot: line(),
            server: "15.18 (Debian)".into(),
            database: "shop".into(),
            basekeep: "0.1.0".into(),
            seconds: 1.5,
            inventory: [("fk constraint".to_owned(), 3)].into(),
            tables: vec![table],
            extensions: vec!["hstore".into()],
            roles: vec!["app".into()],
            large_objects: 0,
            sequences: 1,
            not_captured: vec![notice()],
            warnings: vec![notice()],
            previous: Some(ID.into()),
        })
    }

    async fn objects(&self, _: &str, _: &str) -> Answer<Vec<String>> {
        Ok(vec![HOSTILE.into()])
    }

    async fn diff(&self, _: &DiffRequest) -> Answer<Comparison> {
        let side = || ComparedSide { id: ID.into(), source: "shop".into(), time: at(0) };
        let row = RowChange {
            change: "changed".into(),
            key: vec![field("id", None, Some("5"))],
            fields: vec![field("password", Some("(hidden)"), Some("(hidden)"))],
        };
        Ok(Comparison {
            a: side(),
            b: side(),
            equal: false,
            objects: vec![ObjectChange {
                change: "changed".into(),
                name: HOSTILE.into(),
                diff: format!("@@ -1 +1 @@\n-{HOSTILE}\n+b\n"),
            }],
            items: vec![ItemChange {
                kind: "role".into(),
                name: HOSTILE.into(),
                change: "added".into(),
                fields: vec![field("login", None, Some("true"))],
            }],
            tables: vec![TableChange {
                table: HOSTILE.into(),
                change: "changed".into(),
                rows_before: Some(5),
                rows: Some(5),
                counts: Some(RowCounts { added: 0, removed: 0, changed: 1 }),
                shown: vec![row],
            }],
            equal_tables: 4,
            not_compared: vec![notice()],
            notes: vec!["a note".into()],
        })
    }

    async fn export(&self, request: &ExportRequest) -> Answer<Download> {
        self.note(format!("export {}", request.snapshot))?;
        let parts = ["-- one\n", "-- two\n"].map(|part| Ok(Bytes::from_static(part.as_bytes())));
        Ok(Download {
            file_name: "shop\"\r\nx.sql".into(),
            media_type: "application/sql",
            body: futures::stream::iter(parts).boxed(),
        })
    }

    async fn start(&self, job: &JobRequest, who: &str) -> Answer<String> {
        if job.source == "busy" {
            return Err(PanelError::Refused("busy is being backed up".into()));
        }
        self.note(format!("{} {} by {who}", job.job.word(), job.source))
    }

    async fn stop(&self, run: &str) -> Answer<()> {
        self.note(format!("stop {run}")).map(drop)
    }

    async fn targets(&self) -> Answer<Vec<Target>> {
        Ok(vec![Target {
            name: "shop".into(),
            place: "postgresql://app@db/shop".into(),
            database: "shop".into(),
        }])
    }

    async fn plan_restore(&self, _: &RestoreRequest) -> Answer<RestorePlan> {
        let named = || Named { name: HOSTILE.into(), text: "why".into() };
        Ok(RestorePlan {
            digest: "d1".into(),
            snapshot: line(),
            place: "postgresql://app@db/shop".into(),
            database: "shop".into(),
            summary: vec![HOSTILE.into()],
            changes: vec![PlannedChange { object: HOSTILE.into(), action: "create".into(), rows: Some(5) }],
            warnings: vec!["a warning".into()],
            differs: vec![named()],
            lost: vec![named()],
        })
    }

    async fn start_restore(
        &self,
        request: &RestoreRequest,
        digest: &str,
        typed: &str,
        who: &str,
    ) -> Answer<String> {
        if typed != "shop" {
            return Err(PanelError::Refused("that is not the target's name".into()));
        }
        self.note(format!("restore {} {digest} by {who}", request.target))
    }

    async fn ready(&self) -> Answer<()> {
        Ok(())
    }
}
