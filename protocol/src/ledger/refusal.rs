//! Why the ledger says no: each refusal with a stable code, what was expected and came, how to mend it, and the exit code it leads to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{DatasetRef, Digest, PartyName, Role, RunNumber, SequenceNumber};

/// The answer no, for a reason that will not go away by asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The envelope holds no contract that makes sense.
    #[error("expected a contract that can be checked: {message}")]
    ContractUnreadable {
        /// What is wrong with it.
        message: String,
        /// How to mend that.
        hint: String,
    },
    /// Signatures are missing.
    #[error("expected a valid signature of every party, got none of {}", join(.missing))]
    Unsigned {
        /// The parties without a valid signature.
        missing: Vec<PartyName>,
    },
    /// Too early.
    #[error(
        "expected a contract in force, got one that begins at {not_before} (the ledger's clock says {now})"
    )]
    NotYetInForce {
        /// When it begins.
        not_before: DateTime<Utc>,
        /// The ledger's time.
        now: DateTime<Utc>,
    },
    /// Too late.
    #[error(
        "expected a contract in force, got one that expired at {not_after} (the ledger's clock says {now})"
    )]
    Expired {
        /// When it ended.
        not_after: DateTime<Utc>,
        /// The ledger's time.
        now: DateTime<Utc>,
    },
    /// The contract names other keepers of its ledger.
    #[error("expected a contract whose ledger is kept by {}, got one kept by {}", join(.here), join(.contract))]
    OtherLedger {
        /// The members of this ledger.
        here: Vec<PartyName>,
        /// The members that the contract names.
        contract: Vec<PartyName>,
    },
    /// The contract gives a ledger member another key.
    #[error(
        "expected the contract to state the key under which `{0}` keeps this ledger, got another key"
    )]
    MemberKey(PartyName),
    /// No such contract.
    #[error(
        "expected the number of a registered contract, got {number}; {registered} are registered here"
    )]
    UnknownContract {
        /// The number asked for.
        number: SequenceNumber,
        /// How many there are.
        registered: u64,
    },
    /// The asking party is not of the contract.
    #[error("expected a party of contract {contract}, got `{party}`")]
    NotAParty {
        /// The contract.
        contract: SequenceNumber,
        /// Who asked.
        party: PartyName,
    },
    /// The asking party is of the contract, in another role.
    #[error("expected {expected} to ask for this, got `{party}` as {role}")]
    WrongRequester {
        /// Who may.
        expected: String,
        /// Who asked.
        party: PartyName,
        /// In which role.
        role: Role,
    },
    /// The contract was revoked.
    #[error("contract {contract} was revoked by `{by}` at {at}")]
    Revoked {
        /// The contract.
        contract: SequenceNumber,
        /// Who revoked it.
        by: PartyName,
        /// When.
        at: DateTime<Utc>,
    },
    /// The revocation is not one.
    #[error("expected a revocation of this contract signed by `{party}`: {message}")]
    RevocationRefused {
        /// Whose statement it should be.
        party: PartyName,
        /// What is wrong with it.
        message: String,
    },
    /// The consumer's authorisation does not hold.
    #[error(
        "expected the consumer's authorisation of run {run} under contract {contract}: {message}"
    )]
    AuthorisationRefused {
        /// The contract.
        contract: SequenceNumber,
        /// The run asked for.
        run: RunNumber,
        /// What is wrong with it.
        message: String,
    },
    /// A run out of its turn.
    #[error("expected run {next} of contract {contract}, or the open one, got run {run}")]
    RunOutOfOrder {
        /// The contract.
        contract: SequenceNumber,
        /// The run asked for.
        run: RunNumber,
        /// The next unused number.
        next: RunNumber,
    },
    /// All runs are used.
    #[error("expected at most {runs} runs of contract {contract}, got a request for run {run}")]
    RunsUsedUp {
        /// The contract.
        contract: SequenceNumber,
        /// The run asked for.
        run: RunNumber,
        /// How many runs the contract allows.
        runs: u32,
    },
    /// The run was never opened.
    #[error("expected an opened run of contract {contract}, got run {run}, which was never opened")]
    UnknownRun {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
    },
    /// The run is over.
    #[error("expected an open run of contract {contract}, got run {run}, which is over")]
    RunOver {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
    },
    /// The run ended with another receipt.
    #[error("expected the receipt {recorded} with which run {run} was closed, got {got}")]
    OtherReceipt {
        /// The run.
        run: RunNumber,
        /// The digest on the ledger.
        recorded: Digest,
        /// The digest in the request.
        got: Digest,
    },
    /// The dataset is not of the contract.
    #[error("expected a dataset of contract {contract}, got `{dataset}`")]
    UnknownDataset {
        /// The contract.
        contract: SequenceNumber,
        /// The dataset asked for.
        dataset: DatasetRef,
    },
    /// A lease that leaves a gap or overlaps.
    #[error(
        "expected a lease from step {expected}, where the last one ended, got one from step {got}"
    )]
    LeaseNotContiguous {
        /// Where it must begin.
        expected: u64,
        /// Where it begins.
        got: u64,
    },
    /// A lease of no steps or too many.
    #[error("expected a lease of 1 to {limit} steps, got {got}")]
    LeaseLength {
        /// The steps of a run.
        limit: u64,
        /// The steps asked for.
        got: u64,
    },
    /// A lease that would spend more privacy than the contract allows.
    #[error("the budget of `{dataset}` under contract {contract} is exhausted: {message}")]
    Budget {
        /// The contract.
        contract: SequenceNumber,
        /// The dataset.
        dataset: DatasetRef,
        /// Limit, spent and asked for.
        message: String,
    },
    /// A settlement of what was not leased.
    #[error("expected a settlement of at most the {leased} leased steps, got {got}")]
    SettlementBeyondLease {
        /// The end of the last lease.
        leased: u64,
        /// The steps stated.
        got: u64,
    },
    /// A settlement of less than before.
    #[error("expected a settlement of at least the {settled} steps settled before, got {got}")]
    SettlementBackwards {
        /// Steps settled.
        settled: u64,
        /// The steps stated.
        got: u64,
    },
    /// A proof between sizes that the ledger does not have.
    #[error("expected two sizes in order, of at most {size}, got {older} and {newer}")]
    FutureSize {
        /// Entries there are.
        size: u64,
        /// The earlier size asked about.
        older: u64,
        /// The later size asked about.
        newer: u64,
    },
    /// Bytes that are no request.
    #[error("expected a ledger request: {message}")]
    RequestUnreadable {
        /// What is wrong.
        message: String,
    },
    /// An entry that could not be proved on its own.
    #[error("expected a request whose entry fits the ledger: {message}")]
    EntryRefused {
        /// What is wrong.
        message: String,
    },
}

/// The exit codes that ledger errors lead to, as the documentation lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitFamily {
    /// 11: contract refused.
    Contract,
    /// 12: budget exhausted.
    Budget,
    /// 13: ledger unavailable.
    Unavailable,
    /// 14: revoked.
    Revoked,
}

impl ExitFamily {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Contract => 11,
            Self::Budget => 12,
            Self::Unavailable => 13,
            Self::Revoked => 14,
        }
    }
}

impl Refusal {
    /// A name for programs that no later version changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ContractUnreadable { .. } => "ledger.contract-unreadable",
            Self::Unsigned { .. } => "contract.unsigned",
            Self::NotYetInForce { .. } => "contract.not-yet-in-force",
            Self::Expired { .. } => "contract.expired",
            Self::OtherLedger { .. } => "ledger.other-ledger",
            Self::MemberKey(_) => "ledger.member-key",
            Self::UnknownContract { .. } => "ledger.unknown-contract",
            Self::NotAParty { .. } => "ledger.not-a-party",
            Self::WrongRequester { .. } => "ledger.wrong-requester",
            Self::Revoked { .. } => "contract.revoked",
            Self::RevocationRefused { .. } => "ledger.revocation-refused",
            Self::AuthorisationRefused { .. } => "ledger.authorisation-refused",
            Self::RunOutOfOrder { .. } => "ledger.run-out-of-order",
            Self::RunsUsedUp { .. } => "contract.runs-used-up",
            Self::UnknownRun { .. } => "ledger.unknown-run",
            Self::RunOver { .. } => "ledger.run-over",
            Self::OtherReceipt { .. } => "ledger.other-receipt",
            Self::UnknownDataset { .. } => "ledger.unknown-dataset",
            Self::LeaseNotContiguous { .. } => "ledger.lease-not-contiguous",
            Self::LeaseLength { .. } => "ledger.lease-length",
            Self::Budget { .. } => "budget.exhausted",
            Self::SettlementBeyondLease { .. } => "ledger.settlement-beyond-lease",
            Self::SettlementBackwards { .. } => "ledger.settlement-backwards",
            Self::FutureSize { .. } => "ledger.future-size",
            Self::RequestUnreadable { .. } => "ledger.request-unreadable",
            Self::EntryRefused { .. } => "ledger.entry-refused",
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> String {
        let text = match self {
            Self::ContractUnreadable { hint, .. } => hint,
            Self::Unsigned { .. } => {
                "have each of them run `agent contract sign`, then register the contract again"
            }
            Self::NotYetInForce { .. } => {
                "wait, or have a contract signed that begins earlier; compare the clocks if the times look wrong"
            }
            Self::Expired { .. } => "have a new contract signed",
            Self::OtherLedger { .. } => {
                "register it with an agent that the contract's `ledger.members` names, or correct the contract and have it signed again"
            }
            Self::MemberKey(_) => {
                "compare the key in the contract with `agent identity show` of that party; correct the contract and have it signed again"
            }
            Self::UnknownContract { .. } => {
                "take the number that `aggregator contract register` printed, and ask the ledger it was registered with"
            }
            Self::NotAParty { .. } => "ask as a party that the contract names",
            Self::WrongRequester { .. } => "let the party that it names ask",
            Self::Revoked { .. } => {
                "talk to that party; going on takes a new contract, signed by all"
            }
            Self::RevocationRefused { .. } => {
                "make the statement with `agent contract revoke` under the key that the contract states"
            }
            Self::AuthorisationRefused { .. } => {
                "make a new one with `aggregator authorise` for this contract and run"
            }
            Self::RunOutOfOrder { .. } => "authorise the run that is next, or resume the open one",
            Self::RunsUsedUp { .. } => {
                "have a contract with more runs signed; check its epsilon first"
            }
            Self::UnknownRun { .. } => "open the run first",
            Self::RunOver { .. } => "authorise the next run",
            Self::OtherReceipt { .. } => "keep the receipt that the ledger recorded first",
            Self::UnknownDataset { .. } => "name a dataset as the contract does, owner and name",
            Self::LeaseNotContiguous { .. } => {
                "ask the ledger for the run's state and lease from the step where the last lease ended"
            }
            Self::LeaseLength { .. } => "lease fewer steps at a time, and at least one",
            Self::Budget { .. } => {
                "stop here: the model so far can be sealed; more steps take a contract with a higher epsilon, signed by all"
            }
            Self::SettlementBeyondLease { .. } => "lease steps before serving them",
            Self::SettlementBackwards { .. } => "settle the highest step that was served",
            Self::FutureSize { .. } => {
                "if an earlier checkpoint showed this size, the ledger was rolled back: keep that checkpoint as evidence and do not use this ledger"
            }
            Self::RequestUnreadable { .. } => "use the same version of the programs on both sides",
            Self::EntryRefused { .. } => "make the envelope smaller",
        };
        text.to_owned()
    }

    /// The exit code that a command ends with.
    pub const fn exit(&self) -> ExitFamily {
        match self {
            Self::Budget { .. } => ExitFamily::Budget,
            Self::Revoked { .. } => ExitFamily::Revoked,
            _ => ExitFamily::Contract,
        }
    }
}

fn join(names: &[PartyName]) -> String {
    let names: Vec<&str> = names.iter().map(PartyName::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_lead_to_the_documented_exit_codes() {
        let owner: PartyName = "a".parse().unwrap();
        let budget = Refusal::Budget {
            contract: SequenceNumber::FIRST,
            dataset: DatasetRef {
                owner: owner.clone(),
                name: "d".parse().unwrap(),
            },
            message: "limit 3.0, asked for 3.1".into(),
        };
        assert_eq!(budget.exit().code(), 12);
        let revoked = Refusal::Revoked {
            contract: SequenceNumber::FIRST,
            by: owner.clone(),
            at: DateTime::UNIX_EPOCH,
        };
        assert_eq!(revoked.exit().code(), 14);
        let unsigned = Refusal::Unsigned {
            missing: vec![owner, "b".parse().unwrap()],
        };
        assert_eq!(unsigned.exit().code(), 11);
        assert!(unsigned.to_string().ends_with("a, b"));
        assert_eq!(ExitFamily::Unavailable.code(), 13);
    }
}
