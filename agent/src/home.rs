//! The folder in which an agent keeps what it is and what it knows.
//!
//! ```text
//! party.json, identity.pem, platform    who this is, as in every party's folder
//! contracts/                            contracts that this party signed or refused
//! vault/                                the datasets
//! meter/                                what of their privacy is spent
//! ledger/                               the ledger, where this agent keeps it
//! ```

use std::path::{Path, PathBuf};

use tributary_durable::create_private_folder;
use tributary_protocol::{FolderError, PartyFolder, PartyName, Passphrase};

use crate::contracts::ContractBook;

/// The folder of one agent.
#[derive(Debug, Clone)]
pub struct AgentHome {
    party: PartyFolder,
}

impl AgentHome {
    /// Makes a home with a new identity.
    ///
    /// # Errors
    ///
    /// Where there is one already: an identity is never overwritten.
    pub fn create(
        folder: &Path,
        name: PartyName,
        passphrase: &Passphrase,
    ) -> Result<Self, FolderError> {
        create_private_folder(&folder.join("contracts"))?;
        let party = PartyFolder::create(folder, name, passphrase)?;
        Ok(Self { party })
    }

    /// Opens a home that [`AgentHome::create`] made.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let party = PartyFolder::open(folder)?;
        Ok(Self { party })
    }

    /// Who this is.
    pub fn party(&self) -> &PartyFolder {
        &self.party
    }

    /// The contracts that this party signed or refused.
    pub fn contracts(&self) -> ContractBook {
        ContractBook::new(self.party.folder().join("contracts"), self.party.key())
    }

    /// Where datasets are kept.
    pub fn vault(&self) -> PathBuf {
        self.party.folder().join("vault")
    }

    /// Where budgets are kept.
    pub fn meter(&self) -> PathBuf {
        self.party.folder().join("meter")
    }

    /// Where the ledger is kept, if this agent keeps it.
    pub fn ledger(&self) -> PathBuf {
        self.party.folder().join("ledger")
    }
}
