//! The digest of `[alerts]`, on its schedule.

use std::sync::Arc;
use std::time::Duration;

use basekeep_engine::config::Schedule;
use basekeep_engine::{EngineError, Interrupt};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::work::Work;
use crate::commands::report::digest;

/// The longest sleep: the configuration may have changed, or the machine may have slept.
const LOOK: Duration = Duration::from_secs(30);
/// What the first digest of a schedule is about.
const FIRST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// No schedule has longer pauses that a digest would make sense for.
const LONGEST: SignedDuration = SignedDuration::from_hours(367 * 24);

/// Sends one whenever it is due, about the time since the one before; until the stop is asked for. One that was due while
/// this program did not run is not sent.
pub(super) async fn run(work: Arc<Work>, interrupt: Interrupt) {
    let zone = TimeZone::system();
    let mut seen = Timestamp::now();
    loop {
        let config = work.config();
        let wanted = config.alerts.digest.as_ref().filter(|_| !config.alerts.notify.is_empty());
        let until = wanted
            .and_then(|schedule| schedule.next(seen, &zone))
            .map(|next| next.duration_since(Timestamp::now()));
        let pause = until.map_or(LOOK, |until| Duration::try_from(until).unwrap_or_default().min(LOOK));
        tokio::select! {
            () = interrupt.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let now = Timestamp::now();
        // Of several that were due while the machine slept, the last.
        let due = wanted.and_then(|schedule| Some((schedule, schedule.latest(seen, now, &zone)?)));
        if let Some((schedule, due)) = due {
            match send(&work, &interrupt, schedule, due, &zone).await {
                Ok(true) => tracing::info!("the digest was sent"),
                Ok(false) => tracing::warn!("the digest was not taken by every channel"),
                Err(error) => {
                    tracing::warn!(error = crate::output::with_causes(&error), "the digest was not sent")
                }
            }
        }
        seen = now;
    }
}

async fn send(
    work: &Work,
    interrupt: &Interrupt,
    schedule: &Schedule,
    due: Timestamp,
    zone: &TimeZone,
) -> Result<bool, EngineError> {
    let before = schedule.latest(due - LONGEST, due - SignedDuration::from_secs(1), zone);
    let from = before.unwrap_or(due - FIRST);
    let context = work.context(None, interrupt);
    let repository = context.open_repository().await?;
    let digest = interrupt.guard(digest::gather(&repository, &context, from, due)).await?;
    digest::send(&digest, &context).await
}
