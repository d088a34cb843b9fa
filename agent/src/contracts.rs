//! The contracts that an agent's party has signed, and those that it has refused.
//!
//! Each is a file named by its digest: `HEX.dsse` holds a signed contract, `HEX.refused` the officer's reason.
//! A refusal outlives a signature: whoever has refused a contract serves nothing under it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tributary_durable::{Readers, replace};
use tributary_protocol::{
    Contract, ContractError, Digest, Identity, PartyKey, SignedContract, Terms, TermsDirectory,
};

/// A reason is a paragraph.
const REASON_LENGTH_LIMIT: usize = 4096;

/// The contracts of one party.
#[derive(Debug)]
pub struct ContractBook {
    folder: PathBuf,
    key: PartyKey,
    /// Read from the folder once; what is absent here is looked for again, because `agent contract sign` may have run since.
    known: Mutex<BTreeMap<Digest, Arc<SignedContract>>>,
}

/// Why a contract is not in the book, or not put there.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The contract does not name this party with this key.
    #[error("expected a contract with a party whose key is {key}, got one with {parties}")]
    NotAParty {
        /// This party's key.
        key: PartyKey,
        /// The parties of the contract.
        parties: String,
    },
    /// It was refused before.
    #[error("contract {digest} was refused here: {reason}")]
    Refused {
        /// The contract.
        digest: Digest,
        /// The officer's reason.
        reason: String,
    },
    /// It was never signed here.
    #[error("contract {0} was not signed here")]
    Unknown(Digest),
    /// A reason that cannot be kept.
    #[error("expected a reason of 1 to 4096 bytes, got {0} bytes")]
    Reason(usize),
    /// The contract itself is wrong.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The file system fails.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ContractBook {
    /// The book in `folder`, for the party with `key`.
    pub fn new(folder: PathBuf, key: PartyKey) -> Self {
        Self {
            folder,
            key,
            known: Mutex::default(),
        }
    }

    /// Signs for this party and keeps the contract. Signatures that it carried stay on it.
    pub fn sign(
        &self,
        mut contract: SignedContract,
        identity: &Identity,
    ) -> Result<SignedContract, BookError> {
        self.expect_party(contract.contract())?;
        let digest = contract.contract().digest();
        if let Some(reason) = self.refusal(&digest)? {
            return Err(BookError::Refused { digest, reason });
        }
        contract.sign(identity);
        replace(
            &self.path(&digest, "dsse"),
            &contract.envelope().to_json(),
            Readers::Anyone,
        )?;
        Ok(contract)
    }

    /// Refuses a contract, whether it was signed before or not: nothing is served under it from now on.
    pub fn refuse(&self, contract: &Contract, reason: &str) -> Result<(), BookError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > REASON_LENGTH_LIMIT {
            return Err(BookError::Reason(reason.len()));
        }
        self.expect_party(contract)?;
        replace(
            &self.path(&contract.digest(), "refused"),
            reason.as_bytes(),
            Readers::Anyone,
        )?;
        Ok(())
    }

    /// A contract that was signed here and not refused since.
    pub fn get(&self, digest: &Digest) -> Result<Arc<SignedContract>, BookError> {
        if let Some(reason) = self.refusal(digest)? {
            return Err(BookError::Refused {
                digest: *digest,
                reason,
            });
        }
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned();
        if let Some(contract) = known {
            return Ok(contract);
        }
        let contract = Arc::new(self.read(digest)?);
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*digest, Arc::clone(&contract));
        Ok(contract)
    }

    /// The reason of a refusal, where there is one.
    pub fn refusal(&self, digest: &Digest) -> Result<Option<String>, BookError> {
        match std::fs::read_to_string(self.path(digest, "refused")) {
            Ok(reason) => Ok(Some(reason)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A contract that was signed here, refused since or not; `None` where it never was.
    pub fn signed(&self, digest: &Digest) -> Result<Option<SignedContract>, BookError> {
        match self.read(digest) {
            Ok(signed) => Ok(Some(signed)),
            Err(BookError::Unknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The digests of all contracts that were signed here, refused since or not.
    pub fn digests(&self) -> Result<Vec<Digest>, BookError> {
        self.names("dsse")
    }

    /// The digests of all contracts that were refused here, signed before or not.
    pub fn refused(&self) -> Result<Vec<Digest>, BookError> {
        self.names("refused")
    }

    fn names(&self, kind: &str) -> Result<Vec<Digest>, BookError> {
        let mut digests = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == kind)
                && let Some(digest) = path.file_stem().and_then(|stem| stem.to_str())
                && let Ok(digest) = format!("sha256:{digest}").parse()
            {
                digests.push(digest);
            }
        }
        digests.sort_unstable();
        Ok(digests)
    }

    fn read(&self, digest: &Digest) -> Result<SignedContract, BookError> {
        let bytes = match std::fs::read(self.path(digest, "dsse")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BookError::Unknown(*digest));
            }
            Err(error) => return Err(error.into()),
        };
        let signed = SignedContract::from_json(&bytes)?;
        // A file that somebody swapped or altered is not what this party signed.
        if signed.contract().digest() != *digest || !signed.envelope().verified_by(&self.key) {
            return Err(BookError::Unknown(*digest));
        }
        Ok(signed)
    }

    fn expect_party(&self, contract: &Contract) -> Result<(), BookError> {
        if contract.parties().any(|(_, _, key)| *key == self.key) {
            return Ok(());
        }
        let parties: Vec<String> = contract
            .parties()
            .map(|(name, _, key)| format!("{name} ({})", key.short()))
            .collect();
        Err(BookError::NotAParty {
            key: self.key,
            parties: parties.join(", "),
        })
    }

    fn path(&self, digest: &Digest, extension: &str) -> PathBuf {
        let name = hex::encode(digest.as_bytes());
        Path::new(&self.folder).join(format!("{name}.{extension}"))
    }
}

impl TermsDirectory for ContractBook {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        match self.get(contract) {
            Ok(signed) => Some(Arc::new(signed.contract().terms())),
            Err(error) => {
                tracing::info!(contract = %contract.short(), %error, "a peer names a contract that is not served");
                None
            }
        }
    }
}
