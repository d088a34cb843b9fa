//! Receipts: proof, without the ledger at hand, that it holds an entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::checkpoint::{Checkpoint, CheckpointError, Members, SignedCheckpoint};
use super::entry::{ENTRY_SIZE_LIMIT, Entry, EntryError};
use super::tree::{PROOF_LENGTH_LIMIT, ProofError, leaf_hash, verify_inclusion};
use crate::{Digest, PartyName};

/// A leaf, where it stands, and a cosigned checkpoint that covers it. Nothing in it is true before [`LedgerReceipt::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawReceipt", into = "RawReceipt")]
pub struct LedgerReceipt {
    leaf: Vec<u8>,
    index: u64,
    proof: Vec<Digest>,
    checkpoint: SignedCheckpoint,
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The entry.
    pub entry: Entry,
    /// Its place in the ledger, from 0.
    pub index: u64,
    /// The head of the ledger that covers it.
    pub checkpoint: Checkpoint,
    /// Which members cosigned the head, and when.
    pub cosigners: BTreeMap<PartyName, DateTime<Utc>>,
}

/// A receipt that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Larger than any entry, or longer than any proof.
    #[error(
        "expected a receipt with a leaf of at most {ENTRY_SIZE_LIMIT} bytes and a proof of at most {PROOF_LENGTH_LIMIT} hashes"
    )]
    TooLarge,
    /// Not base64.
    #[error("expected the receipt's leaf in standard base64")]
    Base64,
    /// The leaf is not an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The leaf is not under the root.
    #[error("the receipt's leaf is not in the ledger that its checkpoint describes")]
    Proof(#[from] ProofError),
    /// The checkpoint is not the members' word.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl LedgerReceipt {
    /// A receipt for `entry` at `index`, with its path to the root of `checkpoint`.
    pub fn new(
        entry: &Entry,
        index: u64,
        proof: Vec<Digest>,
        checkpoint: SignedCheckpoint,
    ) -> Self {
        Self {
            leaf: entry.encode(),
            index,
            proof,
            checkpoint,
        }
    }

    /// Checks cosignatures, inclusion and encoding, and gives the entry.
    pub fn verify(&self, members: &Members) -> Result<Proven, ReceiptError> {
        let cosigners = members.verify(&self.checkpoint)?;
        let checkpoint = self.checkpoint.claimed().clone();
        verify_inclusion(
            &leaf_hash(&self.leaf),
            self.index,
            checkpoint.size,
            &self.proof,
            &checkpoint.root,
        )?;
        Ok(Proven {
            entry: Entry::decode(&self.leaf)?,
            index: self.index,
            checkpoint,
            cosigners,
        })
    }

    /// The checkpoint that covers the entry.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

/// The serialised form: readable as JSON, with the leaf in base64 and the checkpoint as a signed note.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceipt {
    leaf: String,
    index: u64,
    proof: Vec<Digest>,
    checkpoint: SignedCheckpoint,
}

impl From<LedgerReceipt> for RawReceipt {
    fn from(receipt: LedgerReceipt) -> Self {
        Self {
            leaf: BASE64.encode(receipt.leaf),
            index: receipt.index,
            proof: receipt.proof,
            checkpoint: receipt.checkpoint,
        }
    }
}

impl TryFrom<RawReceipt> for LedgerReceipt {
    type Error = ReceiptError;

    fn try_from(raw: RawReceipt) -> Result<Self, ReceiptError> {
        if raw.leaf.len() > ENTRY_SIZE_LIMIT * 4 / 3 + 4 || raw.proof.len() > PROOF_LENGTH_LIMIT {
            return Err(ReceiptError::TooLarge);
        }
        Ok(Self {
            leaf: BASE64.decode(raw.leaf).map_err(|_| ReceiptError::Base64)?,
            index: raw.index,
            proof: raw.proof,
            checkpoint: raw.checkpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Event;
    use crate::ledger::tree::MerkleTree;
    use crate::{DatasetRef, Identity, RunNumber, SequenceNumber};

    fn entry(step: u64) -> Entry {
        Entry::new(
            "agent-0".parse().unwrap(),
            DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            Event::Lease {
                contract: SequenceNumber::FIRST,
                run: RunNumber::FIRST,
                dataset: DatasetRef {
                    owner: "agent-0".parse().unwrap(),
                    name: "digits".parse().unwrap(),
                },
                first_step: step,
                end_step: step + 1,
            },
        )
    }

    fn receipt() -> (Members, LedgerReceipt) {
        let identity = Identity::generate();
        let host: PartyName = "agent-0".parse().unwrap();
        let members = Members::single(host.clone(), identity.public());
        let mut tree = MerkleTree::default();
        for step in 0..6 {
            tree.push(leaf_hash(&entry(step).encode()));
        }
        let checkpoint = Checkpoint {
            origin: members.origin().clone(),
            size: 6,
            root: tree.root(),
        };
        let time = DateTime::from_timestamp(1_790_000_001, 0).unwrap();
        let signed = checkpoint.cosigned(&host, &identity, time).unwrap();
        let proof = tree.prove_inclusion(3, 6).unwrap();
        (members, LedgerReceipt::new(&entry(3), 3, proof, signed))
    }

    #[test]
    fn a_receipt_verifies_offline_in_both_serialisations() {
        let (members, receipt) = receipt();
        let json = serde_json::to_vec(&receipt).unwrap();
        let binary = postcard::to_allocvec(&receipt).unwrap();
        let from_json: LedgerReceipt = serde_json::from_slice(&json).unwrap();
        let from_binary: LedgerReceipt = postcard::from_bytes(&binary).unwrap();
        assert_eq!(from_json, from_binary);
        let proven = from_json.verify(&members).unwrap();
        assert_eq!(proven.entry, entry(3));
        assert_eq!(proven.index, 3);
        assert_eq!(proven.cosigners.len(), 1);
    }

    #[test]
    fn every_altered_byte_of_a_receipt_is_refused() {
        let (members, receipt) = receipt();
        let json = serde_json::to_vec(&receipt).unwrap();
        for position in 0..json.len() {
            for flip in [0x01, 0x02, 0x10, 0x20, 0x80] {
                let mut bad = json.clone();
                bad[position] ^= flip;
                let accepted = serde_json::from_slice::<LedgerReceipt>(&bad)
                    .is_ok_and(|receipt| receipt.verify(&members).is_ok());
                assert!(!accepted, "byte {position} ^ {flip:#x}");
            }
        }
        let binary = postcard::to_allocvec(&receipt).unwrap();
        for position in 0..binary.len() {
            let mut bad = binary.clone();
            bad[position] ^= 1;
            let accepted = postcard::from_bytes::<LedgerReceipt>(&bad)
                .is_ok_and(|receipt| receipt.verify(&members).is_ok());
            assert!(!accepted, "byte {position}");
        }
    }

    #[test]
    fn a_receipt_for_another_leaf_or_of_other_members_is_refused() {
        let (members, receipt) = receipt();
        let other = LedgerReceipt::new(
            &entry(4),
            3,
            receipt.proof.clone(),
            receipt.checkpoint.clone(),
        );
        assert!(matches!(
            other.verify(&members),
            Err(ReceiptError::Proof(_))
        ));
        let strangers = Members::single("agent-0".parse().unwrap(), Identity::generate().public());
        assert!(matches!(
            receipt.verify(&strangers),
            Err(ReceiptError::Checkpoint(_))
        ));
    }

    #[test]
    fn a_leaf_that_is_no_entry_is_refused_though_it_is_in_the_tree() {
        let identity = Identity::generate();
        let host: PartyName = "agent-0".parse().unwrap();
        let members = Members::single(host.clone(), identity.public());
        let checkpoint = Checkpoint {
            origin: members.origin().clone(),
            size: 1,
            root: leaf_hash(b"nonsense"),
        };
        let receipt = LedgerReceipt {
            leaf: b"nonsense".to_vec(),
            index: 0,
            proof: Vec::new(),
            checkpoint: checkpoint.cosigned(&host, &identity, Utc::now()).unwrap(),
        };
        assert!(matches!(
            receipt.verify(&members),
            Err(ReceiptError::Entry(_))
        ));
    }
}
