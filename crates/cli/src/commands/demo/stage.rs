//! The demo's steps as they are told: a number, what is done, what came out, how long it took.

use std::time::Instant;

use basekeep_engine::EngineError;
use serde::Serialize;

use crate::context::Context;
use crate::output::{JSON_VERSION, units};

pub(super) struct Stage<'a> {
    context: &'a Context,
    number: u32,
    /// A line has begun and waits for its end.
    open: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    event: &'static str,
    step: &'a str,
    seconds: f64,
    detail: &'a str,
}

/// The widest title is as wide as this.
const TITLE: usize = 44;

impl<'a> Stage<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context, number: 0, open: false }
    }

    /// Does one step. `work` gives its result, and what came out in a few words.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<(T, String), EngineError>>,
    ) -> Result<T, EngineError> {
        self.number += 1;
        let output = &self.context.output;
        let began = Instant::now();
        if !output.json {
            output.data(&format!("{:>2}  {title:<TITLE$}", self.number))?;
            self.open = true;
        }
        let (result, detail) = self.context.interrupt.guard(work).await?;
        let elapsed = began.elapsed();
        if output.json {
            let seconds = elapsed.as_secs_f64();
            output.document(&Line {
                version: JSON_VERSION,
                event: "step",
                step: title,
                seconds,
                detail: &detail,
            })?;
        } else {
            let end = format!("{:>7}  {detail}", units::duration(elapsed));
            output.data(&format!("{}\n", end.trim_end()))?;
            self.open = false;
        }
        Ok(result)
    }

    /// Ends a line that an error has cut short.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            // The error that follows matters more.
            let _ = self.context.output.data("\n");
        }
    }
}
