//! What runs by itself: schedules, alerts, metrics and the web dashboard. The work is the engine's.

pub mod alerts;
pub mod history;
pub mod jobs;
pub mod live;
pub mod web;
