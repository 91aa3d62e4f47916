//! What runs by itself: schedules, alerts, metrics and the web dashboard. The work is the engine's.

pub mod agenda;
pub mod alerts;
pub mod clock;
pub mod daemon;
pub mod history;
pub mod jobs;
pub mod live;
pub mod metrics;
pub mod operations;
pub mod ready;
pub mod timetable;
pub mod web;
