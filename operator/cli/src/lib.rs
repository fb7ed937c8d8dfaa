//! `kubectl smallfleet`: shows SmallModels, tells the story of a rollout in plain words, and gives commands to it.
//!
//! Knows nothing about how a decision is made: all that it shows is in the object and its status, so that it says the same as any
//! other reader. Text is made by pure functions of a SmallModel and the time; only `cluster`, `command`, `get` and `version` talk
//! to the API server.

pub mod args;
pub mod cluster;
pub mod columns;
pub mod command;
pub mod error;
pub mod explain;
pub mod facts;
pub mod get;
pub mod live;
pub mod output;
pub mod table;
pub mod version;
pub mod words;

pub use args::Args;
pub use error::CliError;

use args::Verb;

/// Runs one command to its end.
///
/// # Errors
/// Everything that goes wrong, in words that say what to do.
pub async fn run(args: Args) -> Result<(), CliError> {
    let connection = &args.connection;
    match args.verb {
        Verb::Get(get) => get::run(connection, &get).await,
        Verb::Explain(explain) => explain::run(connection, &explain).await,
        Verb::Promote(promote) => command::run(connection, &promote.into()).await,
        Verb::Abort(abort) => command::run(connection, &command::Order::abort(abort)).await,
        Verb::Retry(retry) => command::run(connection, &command::Order::retry(retry)).await,
        Verb::Version => version::run(connection).await,
    }
}
