//! `basekeep demo`.
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(crate) struct Demo {}
pub(crate) async fn run(
    _: &Demo,
    _: &crate::context::Context,
) -> Result<crate::exit::Exit, basekeep_engine::EngineError> {
    Ok(crate::exit::Exit::Done)
}
