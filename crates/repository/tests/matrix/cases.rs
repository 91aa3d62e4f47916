//! One fault at one request, and running an operation into it: in this process, or in one that is killed.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use basekeep_store::{ErrorKind, Fault, Rule};

use crate::matrix::subjects::{self, Subject};
use crate::matrix::world::World;

/// A fault and the request that meets it, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) request: u64,
}

/// What happens at the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    FailsForAMoment,
    Fails,
    IsDenied,
    AnswerLostForAMoment,
    AnswerLost,
    TornForAMoment,
    Torn,
    Slow,
    FailsFromHereOn,
    KilledBefore,
    KilledAfter,
    KilledTorn,
}

const KINDS: [Kind; 12] = [
    Kind::FailsForAMoment,
    Kind::Fails,
    Kind::IsDenied,
    Kind::AnswerLostForAMoment,
    Kind::AnswerLost,
    Kind::TornForAMoment,
    Kind::Torn,
    Kind::Slow,
    Kind::FailsFromHereOn,
    Kind::KilledBefore,
    Kind::KilledAfter,
    Kind::KilledTorn,
];

/// Bytes of a torn write that arrive.
pub(super) const TORN: usize = 40;

/// How an operation ended that was to meet a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It made fewer requests.
    NotMet,
    /// It says that it succeeded.
    Succeeded,
    /// It says that it failed.
    Failed,
    Killed,
}

impl Kind {
    fn rule(self, request: u64) -> Rule {
        let fault = match self {
            Self::FailsForAMoment => Fault::Before(ErrorKind::Transient),
            Self::Fails | Self::FailsFromHereOn => Fault::Before(ErrorKind::Permanent),
            Self::IsDenied => Fault::Before(ErrorKind::Denied),
            Self::AnswerLostForAMoment => Fault::After(ErrorKind::Transient),
            Self::AnswerLost => Fault::After(ErrorKind::Permanent),
            Self::TornForAMoment => Fault::Torn { keep: TORN, kind: ErrorKind::Transient },
            Self::Torn => Fault::Torn { keep: TORN, kind: ErrorKind::Permanent },
            Self::Slow => Fault::Delay(Duration::from_millis(5)),
            Self::KilledBefore => Fault::KillBefore,
            Self::KilledAfter => Fault::KillAfter,
            Self::KilledTorn => Fault::KillTorn { keep: TORN },
        };
        let rule = Rule::nth_of_all(request, fault);
        if self == Self::FailsFromHereOn { Rule { times: u64::MAX, ..rule } } else { rule }
    }

    fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter | Self::KilledTorn)
    }

    /// Whether retries make it good, so that the operation must succeed.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::FailsForAMoment | Self::AnswerLostForAMoment | Self::TornForAMoment | Self::Slow)
    }

    /// Whether it may leave a file behind that is cut off, which no store of ours does.
    pub(super) fn tears(self) -> bool {
        matches!(self, Self::Torn | Self::KilledTorn)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at request {}", self.kind, self.request)
    }
}

impl Case {
    /// All of them, numbered.
    pub(super) fn all(requests: u64) -> Vec<(usize, Self)> {
        let cases = (0..requests).flat_map(|request| KINDS.map(|kind| Self { kind, request }));
        cases.enumerate().collect()
    }

    /// Runs the operation into the fault.
    pub(super) async fn run(&self, subject: &'static dyn Subject, world: &World) -> Ended {
        if self.kind.kills() {
            let (case, folder) = (*self, world.path().to_owned());
            return tokio::task::spawn_blocking(move || case.run_in_child(subject, &folder)).await.unwrap();
        }
        let world = world.with_faults(&[self.kind.rule(self.request)]);
        let result = subject.run(&world).await;
        match result {
            _ if world.requests() <= self.request => {
                result.unwrap();
                Ended::NotMet
            }
            Ok(()) => Ended::Succeeded,
            Err(error) if self.kind.passes() => panic!("{} with {self}: {error}", subject.name()),
            Err(_) => Ended::Failed,
        }
    }

    fn run_in_child(self, subject: &'static dyn Subject, folder: &Path) -> Ended {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "matrix::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env("BASEKEEP_MATRIX_CHILD", format!("{} {kind} {}", subject.name(), self.request))
            .env("BASEKEEP_MATRIX_FOLDER", folder)
            .output()
            .unwrap();
        use std::os::unix::process::ExitStatusExt;
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Ended::NotMet,
            (None, Some(6)) => Ended::Killed,
            _ => panic!("{} with {self}: {output:?}", subject.name()),
        }
    }
}

/// The life of a child: it runs the operation and is killed.
pub(super) fn run_as_child() {
    let Ok(told) = std::env::var("BASEKEEP_MATRIX_CHILD") else { return };
    let mut words = told.split(' ');
    let subject = subjects::named(words.next().unwrap());
    let kind = KINDS[words.next().unwrap().parse::<usize>().unwrap()];
    let request = words.next().unwrap().parse().unwrap();
    let folder = std::env::var("BASEKEEP_MATRIX_FOLDER").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = World::at(Path::new(&folder)).with_faults(&[kind.rule(request)]);
    runtime.block_on(subject.run(&world)).unwrap();
}
