//! Whole federations on one machine, for researchers and for tests.
//!
//! For: drawn digits, federations whose parties are processes that run the real programs over the real protocol, and audits
//! that attack the trainer's privacy.
//! Not for: shortcuts. No simulation reaches into a party; what a party cannot do by its commands, a simulation cannot.
//!
//! A value flows like this: digits are drawn or read, shared out as IDX files, imported by each agent's own command, and
//! come back as a model that the consumer's own command opens.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
pub mod cli;
mod digits;
mod federation;

pub use audit::{
    Audit, AuditError, AuditPlan, OneRun, Subject, Task, TrainerSubject, TwoWorlds, audit,
};
pub use digits::{CLASSES, Digits, PIXELS, SIDE, TEST_IMAGES, TRAINING_IMAGES};
pub use federation::{
    Data, DataSource, NETWORKS, NetworkSource, Outcome, Party, Plan, act_as_party, run_mnist,
};
