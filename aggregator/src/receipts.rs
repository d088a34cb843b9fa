//! Receipts and what they stand on: a contract with all signatures, the ledger's proof of its number, the aggregator's
//! evidence. All of it is verified offline.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tributary_attest::Collateral;
use tributary_protocol::ledger::{Event, LedgerReceipt, Proven};
use tributary_protocol::{
    Contract, Digest, Envelope, PartyName, Receipt, ReceiptError, SignedContract,
};

use crate::home::ledger_members;

/// A receipt that verified, with everything that it stands on.
#[derive(Debug, Clone)]
pub struct CheckedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The ledger's registration of the contract.
    pub registration: Proven,
    /// Entries of the ledger that were proven, the registration among them.
    pub ledger_proofs: usize,
}

/// Why a receipt was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptRefusal {
    /// The contract lacks signatures, so that nobody agreed to what the receipt speaks of.
    #[error("expected a contract that every party signed, got none of {}", names(.0))]
    Unsigned(Vec<PartyName>),
    /// The receipt itself.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A proof of the ledger that proves nothing.
    #[error("proof {number} of the ledger is refused: {reason}")]
    Ledger {
        /// Which, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// No proof of the registration.
    #[error(
        "expected a proof of the ledger that it registered {contract} as contract {number}, got none among {proofs}"
    )]
    NotRegistered {
        /// The contract.
        contract: Digest,
        /// Its number, as the receipt states it.
        number: tributary_protocol::SequenceNumber,
        /// How many proofs there were.
        proofs: usize,
    },
}

/// Verifies a receipt offline: its contract's signatures, its own signature and evidence, and the ledger's proofs in it
/// and in `further`.
///
/// # Errors
/// The first of these that does not hold.
pub fn check_receipt(
    envelope: &Envelope,
    signed: &SignedContract,
    further: &[LedgerReceipt],
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<CheckedReceipt, ReceiptRefusal> {
    let contract = signed.contract();
    let missing = signed.missing();
    if !missing.is_empty() {
        return Err(ReceiptRefusal::Unsigned(missing));
    }
    let receipt = Receipt::verify(envelope, contract, collateral, now)?;
    let proofs = proofs(&receipt, contract, further)?;
    let registration = proofs
        .iter()
        .find(|proven| registers(proven, contract, &receipt))
        .cloned()
        .ok_or(ReceiptRefusal::NotRegistered {
            contract: contract.digest(),
            number: receipt.number,
            proofs: proofs.len(),
        })?;
    Ok(CheckedReceipt {
        receipt,
        registration,
        ledger_proofs: proofs.len(),
    })
}

/// The contract that a receipt speaks of, by its own account: to find the contract, and not to be believed.
pub fn claimed_contract(envelope: &Envelope) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Statement {
        predicate: Predicate,
    }
    #[derive(Deserialize)]
    struct Predicate {
        contract: Digest,
    }
    let statement: Statement = serde_json::from_slice(envelope.payload()).ok()?;
    Some(statement.predicate.contract)
}

fn proofs(
    receipt: &Receipt,
    contract: &Contract,
    further: &[LedgerReceipt],
) -> Result<Vec<Proven>, ReceiptRefusal> {
    let members = ledger_members(contract);
    let inside = receipt.ledger.iter().map(|bytes| {
        serde_json::from_slice::<LedgerReceipt>(bytes).map_err(|error| error.to_string())
    });
    let outside = further.iter().cloned().map(Ok);
    inside
        .chain(outside)
        .zip(1..)
        .map(|(read, number)| {
            let verified = read
                .and_then(|receipt| receipt.verify(&members).map_err(|error| error.to_string()));
            verified.map_err(|reason| ReceiptRefusal::Ledger { number, reason })
        })
        .collect()
}

fn registers(proven: &Proven, contract: &Contract, receipt: &Receipt) -> bool {
    match &proven.entry.event {
        Event::ContractRegistered { number, envelope } => {
            *number == receipt.number
                && Envelope::from_json(envelope)
                    .is_ok_and(|registered| registered.payload_digest() == contract.digest())
        }
        _ => false,
    }
}

fn names(parties: &[PartyName]) -> String {
    let names: Vec<&str> = parties.iter().map(PartyName::as_str).collect();
    names.join(", ")
}
