//! `basekeep init`.
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(crate) struct Init {}
pub(crate) async fn run(
    _: &Init,
    _: &crate::context::Context,
) -> Result<crate::exit::Exit, basekeep_engine::EngineError> {
    Ok(crate::exit::Exit::Done)
}
