//! Why collateral could not be fetched.

use std::time::Duration;

/// Why collateral could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The options do not describe a client.
    #[error("the {what} is not usable: {reason}")]
    Options {
        /// Which option.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The service does not have it.
    #[error("{url} is not known there (404): check product, chip and firmware versions")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The service refuses, or fails however often it is asked.
    #[error("expected {url} to answer with 200, got {status} in {attempts} attempts")]
    Status {
        /// What was asked for.
        url: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
    },
    /// The service asks for more patience than was allowed.
    #[error("{url} asks to come back in {} s, at most {} s are waited: run the same command later", wait.as_secs(), most.as_secs())]
    RetryLater {
        /// What was asked for.
        url: String,
        /// How long the service wants to be left alone.
        wait: Duration,
        /// The most that is waited for.
        most: Duration,
    },
    /// Nothing came in time.
    #[error("{url} did not answer within {} ms, in {attempts} attempts", limit.as_millis())]
    Timeout {
        /// What was asked for.
        url: String,
        /// The limit of each attempt.
        limit: Duration,
        /// How often it was asked.
        attempts: u32,
    },
    /// No connection, or one that broke.
    #[error("{url} could not be fetched in {attempts} attempts: {reason}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// The answer is larger than anything of its kind.
    #[error("expected at most {limit} bytes from {url}, got more")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The most bytes that are read.
        limit: usize,
    },
    /// The answer is not what the service's interface says.
    #[error("expected {expected} from {url}, got {got}")]
    Content {
        /// What was asked for.
        url: String,
        /// What the interface says.
        expected: &'static str,
        /// What came.
        got: String,
    },
}
