//! Telling people: what changed, since when, and which command to run.
//!
//! [`Alerts::observe`] takes what a run came to, or what the monitor found; a pure state machine ([`state`]) says what
//! of it is news, and [`channel`]s carry the message. Each channel has a bounded queue and a task of its own, so one that is
//! slow or broken does not hold up the others. The state is a small file: losing it only repeats an alert.

pub mod channel;
mod entry;
mod message;
mod redact;
mod run;
pub mod state;
mod store;

pub use channel::{ChannelInfo, Patience};
pub use entry::{Alerts, Failure, Observation, Setup};
pub use message::{Change, Item, Level, Message};
pub use redact::Redactor;
pub use run::{Run, RunEnd, RunStart};
