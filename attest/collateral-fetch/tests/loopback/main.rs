//! The fetcher against services on loopback.
#![allow(clippy::unwrap_used)]

mod answers;
mod services;
mod support;
