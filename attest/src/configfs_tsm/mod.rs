//! Evidence through configfs-tsm, the kernel's one interface for every kind of confidential machine.
//!
//! The protocol is Linux' `Documentation/ABI/testing/configfs-tsm-report`: a folder for each request under
//! `/sys/kernel/config/tsm/report`, into whose `inblob` the program writes the data to be signed and from whose
//! `outblob` and `auxblob` it reads the report and what endorses it.

mod error;
mod filesystem;
mod request;
#[cfg(test)]
pub(crate) mod stand_in;

pub use self::error::TsmError;
pub(crate) use self::{
    filesystem::{KernelFolder, TsmFilesystem},
    request::{Provider, provider_here, request_report},
};
