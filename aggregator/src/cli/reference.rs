//! A contract as commands name it: by its number on the ledger, or by a file.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tributary_console::{Blame, ErrorCode, Failure};
use tributary_protocol::{Contract, SequenceNumber, SignedContract};

use super::files::{read_contract, read_model};
use crate::failures::contract_file_failure;
use crate::home::{ConsumerHome, RegisteredContract};
use crate::validation::ModelAtHand;

/// A number, or the path of a file. A file whose name is a number is meant by `./7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ContractReference {
    Number(SequenceNumber),
    File(PathBuf),
}

/// The contract that was meant.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// With the signatures that it has.
    pub(super) signed: SignedContract,
    /// Its number and proof, where it was asked for by number.
    pub(super) registered: Option<RegisteredContract>,
}

impl FromStr for ContractReference {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::File(PathBuf::from(text)),
        })
    }
}

impl fmt::Display for ContractReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl ContractReference {
    /// Reads the contract: by number from the home, with its proof verified; by file as it is.
    pub(super) fn find(&self, home: Option<&ConsumerHome>) -> Result<Found, Failure> {
        match self {
            Self::File(path) => Ok(Found {
                signed: read_contract(path)?,
                registered: None,
            }),
            Self::Number(number) => {
                let home = home.ok_or_else(|| need_home(self))?;
                let registered = home.contract(*number).map_err(contract_file_failure)?;
                Ok(Found {
                    signed: registered.signed.clone(),
                    registered: Some(registered),
                })
            }
        }
    }
}

impl Found {
    pub(super) fn contract(&self) -> &Contract {
        self.signed.contract()
    }
}

fn need_home(reference: &ContractReference) -> Failure {
    Failure::new(
        ErrorCode::USAGE,
        format!("expected --home, in which contract {reference} is kept"),
    )
    .hint("pass --home DIR or set TRIBUTARY_HOME, or name the contract's file")
    .blame(Blame::Configuration)
}

/// The contract's model: from a file that was named, else from the home.
pub(super) fn model_bytes(
    contract: &Contract,
    file: Option<&std::path::Path>,
    home: Option<&ConsumerHome>,
) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(file) = file {
        return read_model(file).map(Some);
    }
    match home {
        Some(home) => Ok(home.model(&contract.document().pipeline.model.onnx)?),
        None => Ok(None),
    }
}

/// [`model_bytes`], read as a graph.
pub(super) fn model_at_hand(
    contract: &Contract,
    file: Option<&std::path::Path>,
    home: Option<&ConsumerHome>,
) -> Result<ModelAtHand, Failure> {
    Ok(ModelAtHand::read(
        model_bytes(contract, file, home)?.as_deref(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_and_the_rest_are_paths() {
        let parse = |text: &str| text.parse::<ContractReference>().unwrap();
        assert!(matches!(parse("7"), ContractReference::Number(number) if number.get() == 7));
        for path in ["./7", "0", "contract.dsse", "7.dsse"] {
            assert_eq!(parse(path), ContractReference::File(PathBuf::from(path)));
        }
    }
}
