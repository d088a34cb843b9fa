//! The folder in which a consumer, or an aggregator that runs for it, keeps what it is and what it knows.
//!
//! ```text
//! party.json, identity.pem, platform    who this is, as in every party's folder
//! sealing.json, sealing.key             the sealing key: public half, and private half under the passphrase
//! models/HEX.onnx                       models that contracts name by digest
//! contracts/N/contract.dsse             registered contracts
//! contracts/N/receipt                   and the ledger's proof of each
//! runs/N-R/                             checkpoints and results of run R under contract N
//! ```

use std::io;
use std::path::{Path, PathBuf};

use tributary_durable::{Readers, create, create_private_folder, replace};
use tributary_protocol::ledger::{Event, LedgerReceipt, Members, Proven};
use tributary_protocol::{
    Contract, ContractError, Digest, Envelope, FolderError, PartyFolder, PartyName, Passphrase,
    RunNumber, SealingKey, SealingSecret, SealingSecretError, SequenceNumber, SignedContract,
};

/// A public sealing key takes 1.7 KB in JSON, and the private half less in PEM.
const SEALING_SIZE_LIMIT: u64 = 16 << 10;

/// The folder of one consumer.
#[derive(Debug, Clone)]
pub struct ConsumerHome {
    party: PartyFolder,
}

/// A contract that the ledger has numbered.
#[derive(Debug, Clone)]
pub struct RegisteredContract {
    /// The number.
    pub number: SequenceNumber,
    /// The contract, signed by every party.
    pub signed: SignedContract,
    /// The ledger's proof.
    pub receipt: LedgerReceipt,
}

/// Why a home cannot be made, or its sealing key not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The part that is like every party's.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The sealing key.
    #[error(transparent)]
    Sealing(#[from] SealingSecretError),
    /// A file of the sealing key that is not what `init` wrote.
    #[error("expected {path} as `aggregator init` wrote it: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The private half belongs to another public one.
    #[error("expected the private half of sealing.json in {path}, got that of another key")]
    OtherKey {
        /// The private half's file.
        path: PathBuf,
    },
    /// The file system fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a contract of a number cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractFileError {
    /// It is not in this home.
    #[error("expected contract {number} in {folder}, found {found}")]
    Absent {
        /// The number.
        number: SequenceNumber,
        /// Where it was looked for.
        folder: PathBuf,
        /// The numbers that are there.
        found: String,
    },
    /// It makes no sense, or is not signed.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The receipt does not prove it.
    #[error("expected a receipt that proves contract {number}: {reason}")]
    Receipt {
        /// The number.
        number: SequenceNumber,
        /// Why it does not.
        reason: String,
    },
    /// The file system fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ConsumerHome {
    /// Makes a home with a new identity and a new sealing key.
    ///
    /// # Errors
    ///
    /// Where there is one already.
    pub fn create(
        folder: &Path,
        name: PartyName,
        passphrase: &Passphrase,
    ) -> Result<Self, HomeError> {
        for inner in ["models", "contracts", "runs"] {
            create_private_folder(&folder.join(inner))?;
        }
        let secret = SealingSecret::generate()?;
        let pem = secret.to_encrypted_pem(passphrase)?;
        create(&folder.join(SEALING_SECRET), pem.as_bytes(), Readers::Owner)?;
        let public = serde_json::to_vec_pretty(secret.public()).map_err(io::Error::from)?;
        create(&folder.join(SEALING_PUBLIC), &public, Readers::Anyone)?;
        // Last: what makes the folder a party's.
        let party = PartyFolder::create(folder, name, passphrase)?;
        Ok(Self { party })
    }

    /// Opens a home that [`ConsumerHome::create`] made.
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

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.party.folder()
    }

    /// The public half of the sealing key, as contracts name it.
    ///
    /// # Errors
    ///
    /// Where its file is missing or malformed.
    pub fn sealing_key(&self) -> Result<SealingKey, HomeError> {
        let path = self.folder().join(SEALING_PUBLIC);
        let text = read_small(&path)?;
        serde_json::from_str(&text).map_err(|error| HomeError::Malformed {
            path,
            reason: error.to_string(),
        })
    }

    /// The private half of the sealing key, which opens models.
    ///
    /// # Errors
    ///
    /// Where the passphrase does not open it, or it is not the half that belongs to the public one.
    pub fn sealing_secret(&self, passphrase: &Passphrase) -> Result<SealingSecret, HomeError> {
        let path = self.folder().join(SEALING_SECRET);
        let secret = SealingSecret::from_encrypted_pem(&read_small(&path)?, passphrase)?;
        if *secret.public() != self.sealing_key()? {
            return Err(HomeError::OtherKey { path });
        }
        Ok(secret)
    }

    /// Keeps a model under its digest.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn keep_model(&self, onnx: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(onnx);
        replace(&self.model_path(&digest), onnx, Readers::Anyone)?;
        Ok(digest)
    }

    /// The model with this digest; `None` where it is not here, or no longer what it was.
    pub fn model(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.model_path(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a model is kept.
    pub fn model_path(&self, digest: &Digest) -> PathBuf {
        let name = hex::encode(digest.as_bytes());
        self.folder().join("models").join(format!("{name}.onnx"))
    }

    /// Keeps a contract with its number and proof.
    pub fn keep_contract(&self, contract: &RegisteredContract) -> io::Result<()> {
        let folder = self.contract_folder(contract.number);
        create_private_folder(&folder)?;
        let receipt = postcard::to_allocvec(&contract.receipt).map_err(io::Error::other)?;
        replace(&folder.join("receipt"), &receipt, Readers::Anyone)?;
        replace(
            &folder.join("contract.dsse"),
            &contract.signed.envelope().to_json(),
            Readers::Anyone,
        )
    }

    /// The contract with this number, its signatures and its proof verified.
    pub fn contract(
        &self,
        number: SequenceNumber,
    ) -> Result<RegisteredContract, ContractFileError> {
        let folder = self.contract_folder(number);
        let bytes = match std::fs::read(folder.join("contract.dsse")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ContractFileError::Absent {
                    number,
                    folder,
                    found: self.numbers()?,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let signed = SignedContract::from_json(&bytes)?;
        let missing = signed.missing();
        if !missing.is_empty() {
            return Err(ContractError::Unsigned { missing }.into());
        }
        let refuse = |reason: String| ContractFileError::Receipt { number, reason };
        let receipt: LedgerReceipt = postcard::from_bytes(&std::fs::read(folder.join("receipt"))?)
            .map_err(|error| refuse(error.to_string()))?;
        let contract = RegisteredContract {
            number,
            signed,
            receipt,
        };
        contract.verify()?;
        Ok(contract)
    }

    fn contract_folder(&self, number: SequenceNumber) -> PathBuf {
        self.folder().join("contracts").join(number.to_string())
    }

    /// The numbers of the contracts that are kept here, in order.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be read.
    pub fn contract_numbers(&self) -> io::Result<Vec<SequenceNumber>> {
        let mut numbers: Vec<SequenceNumber> = std::fs::read_dir(self.folder().join("contracts"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The folder of a run: its checkpoints, and what it left.
    pub fn run_path(&self, contract: SequenceNumber, run: RunNumber) -> PathBuf {
        self.folder().join("runs").join(format!("{contract}-{run}"))
    }

    fn numbers(&self) -> io::Result<String> {
        let numbers: Vec<String> = self
            .contract_numbers()?
            .iter()
            .map(ToString::to_string)
            .collect();
        Ok(if numbers.is_empty() {
            "none".to_owned()
        } else {
            numbers.join(", ")
        })
    }
}

impl RegisteredContract {
    /// The members that keep the contract's ledger.
    pub fn members(&self) -> Members {
        ledger_members(self.signed.contract())
    }

    /// What the receipt proves: that the ledger's members gave this contract this number.
    ///
    /// # Errors
    ///
    /// Where it proves something else, or nothing.
    pub fn verify(&self) -> Result<Proven, ContractFileError> {
        let refuse = |reason: String| ContractFileError::Receipt {
            number: self.number,
            reason,
        };
        let proven = self
            .receipt
            .verify(&self.members())
            .map_err(|error| refuse(error.to_string()))?;
        let ours = match &proven.entry.event {
            Event::ContractRegistered { number, envelope } => {
                *number == self.number
                    && Envelope::from_json(envelope).is_ok_and(|registered| {
                        registered.payload() == self.signed.envelope().payload()
                    })
            }
            _ => false,
        };
        if ours {
            Ok(proven)
        } else {
            Err(refuse("it proves another entry of the ledger".to_owned()))
        }
    }
}

fn read_small(path: &Path) -> Result<String, HomeError> {
    let length = std::fs::metadata(path)?.len();
    if length > SEALING_SIZE_LIMIT {
        return Err(HomeError::Malformed {
            path: path.to_owned(),
            reason: format!("{length} bytes are more than {SEALING_SIZE_LIMIT}"),
        });
    }
    Ok(std::fs::read_to_string(path)?)
}

const SEALING_PUBLIC: &str = "sealing.json";
const SEALING_SECRET: &str = "sealing.key";

/// The members that keep a contract's ledger, as the contract names them.
pub fn ledger_members(contract: &Contract) -> Members {
    let host = &contract.document().ledger.members[0];
    match contract.key_of(host) {
        Some(key) => Members::single(host.clone(), *key),
        None => unreachable!("a contract whose ledger is kept by no party is not parsed"),
    }
}
