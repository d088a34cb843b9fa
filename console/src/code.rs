//! Stable error codes: the names that programs match on and that people look up in `docs/exit-codes.md`.

use std::fmt;

use crate::exit::Exit;

/// A stable name for one kind of failure, and the exit it leads to.
///
/// ```
/// use tributary_console::{ErrorCode, Exit};
/// assert_eq!(ErrorCode::CONTRACT_EXPIRED.name(), "contract-expired");
/// assert_eq!(ErrorCode::CONTRACT_EXPIRED.exit(), Exit::ContractRefused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    name: &'static str,
    exit: Exit,
    meaning: &'static str,
}

impl ErrorCode {
    /// The name: lower case, words joined by hyphens.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The exit of a process that fails with it.
    pub const fn exit(self) -> Exit {
        self.exit
    }

    /// The code of this name, for a program that read another's JSON.
    pub fn named(name: &str) -> Option<ErrorCode> {
        ErrorCode::ALL
            .iter()
            .copied()
            .find(|code| code.name == name)
    }

    /// One sentence for the documentation.
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! codes {
    ($($ident:ident $exit:ident $name:literal $meaning:literal)*) => {
        impl ErrorCode {
            $(#[doc = $meaning] pub const $ident: ErrorCode = ErrorCode { name: $name, exit: Exit::$exit, meaning: $meaning };)*

            /// Every code, in the order of the documentation's table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$ident),*];
        }
    };
}

codes! {
    INTERNAL Failure "internal" "A fault of Tributary itself: please report it."
    IO Failure "io" "The operating system refused to read or write something."
    FILE_MISSING Failure "file-missing" "A file or folder that is needed is not there."
    FILE_EXISTS Failure "file-exists" "Something is there already and is not overwritten."
    PERMISSION_DENIED Failure "permission-denied" "The user who runs the program may not do this."
    DISK_FULL Failure "disk-full" "The disk is full; what was there before is unharmed."
    ADDRESS_IN_USE Failure "address-in-use" "Another process listens on this address and port."
    PEER_LOST Failure "peer-lost" "A peer closed the connection or stopped answering after it was accepted."
    PEER_MISBEHAVED Failure "peer-misbehaved" "A peer sent what the protocol does not allow."
    PASSPHRASE_WRONG Failure "passphrase-wrong" "A key could not be opened with this passphrase."
    KEY_UNREADABLE Failure "key-unreadable" "A key file is damaged or not of the expected kind."
    VAULT_ALTERED Failure "vault-altered" "A dataset's part, or its manifest, is not what its owner signed."
    VAULT_INCOMPLETE Failure "vault-incomplete" "A part of a dataset is missing, swapped or from another dataset."
    VAULT_ROLLED_BACK Failure "vault-rolled-back" "A dataset is older than the version that was seen before."
    DATA_INVALID Failure "data-invalid" "Input data is truncated, disagrees with itself or does not fit the schema."
    MODEL_UNSUPPORTED Failure "model-unsupported" "The ONNX model uses something that is not supported; the operator and node are named."
    MODEL_INVALID Failure "model-invalid" "The model file is damaged, or not the one the contract names."
    SEALED_ALTERED Failure "sealed-altered" "A sealed model was altered or truncated."
    SEALED_WRONG_KEY Failure "sealed-wrong-key" "A sealed model is for another sealing key."
    SEALED_WRONG_CONTRACT Failure "sealed-wrong-contract" "A sealed model belongs to another contract or run."
    SEALED_WRONG_SENDER Failure "sealed-wrong-sender" "A sealed model does not come from the aggregator that the receipt names."
    RECEIPT_REFUSED Failure "receipt-refused" "A receipt's signature or content does not hold."
    CHECKPOINT_REFUSED Failure "checkpoint-refused" "A checkpoint is altered, older than the ledger knows, or of another contract or run."
    EVIDENCE_MALFORMED Failure "evidence-malformed" "A file is not the evidence, report, quote, certificate or collateral that it should be."
    EVIDENCE_UNAVAILABLE Failure "evidence-unavailable" "This machine does not produce the evidence that it was asked for."
    POLICY_INVALID Failure "policy-invalid" "An appraisal policy has an unknown, missing or wrong field, or one that nobody can enforce."
    COLLATERAL_UNAVAILABLE Failure "collateral-unavailable" "A certificate, revocation list or TCB document could not be fetched, or what came does not verify."
    USAGE Usage "usage" "The command line is wrong."
    CONFIG_UNREADABLE Usage "config-unreadable" "The configuration file cannot be read, is too large or is not TOML."
    CONFIG_UNKNOWN_KEY Usage "config-unknown-key" "The configuration file has a key that the program does not know."
    CONFIG_INVALID Usage "config-invalid" "A value of the configuration file is of the wrong kind."
    TIMEOUT Timeout "timeout" "Something took longer than it was allowed to."
    PEER_ABSENT Timeout "peer-absent" "A party that the contract names could not be reached in time."
    ATTESTATION_REFUSED AttestationRefused "attestation-refused" "A peer's evidence does not meet the contract's appraisal policy."
    ATTESTATION_MISSING AttestationRefused "attestation-missing" "A peer sent something else before evidence, or no evidence at all."
    MEASUREMENT_REFUSED AttestationRefused "measurement-refused" "A peer runs code that the contract does not name."
    SIMULATED_REFUSED AttestationRefused "simulated-refused" "A peer's evidence is simulated and the contract does not allow that."
    EVIDENCE_NOT_BOUND AttestationRefused "evidence-not-bound" "Evidence was made for another connection, role, key or contract: replayed, relayed or reflected."
    PARTY_REFUSED AttestationRefused "party-refused" "A peer could not prove with its contract key that it is the party it says."
    REFUSED_BY_PEER AttestationRefused "refused-by-peer" "The peer refused our own evidence, party or contract; its reason is in the message."
    CONTRACT_INVALID ContractRefused "contract-invalid" "A contract has an unknown or wrong field, or one that nobody can enforce."
    CONTRACT_ALTERED ContractRefused "contract-altered" "A contract's bytes are not the ones that were signed."
    CONTRACT_UNSIGNED ContractRefused "contract-unsigned" "A contract lacks the signature of one of its parties."
    CONTRACT_EXPIRED ContractRefused "contract-expired" "A contract is not valid at this time."
    CONTRACT_USED_UP ContractRefused "contract-used-up" "All runs that the contract allows have been started."
    CONTRACT_UNKNOWN ContractRefused "contract-unknown" "The ledger has no contract of this number or digest."
    CONTRACT_MISMATCH ContractRefused "contract-mismatch" "A peer speaks of another contract, or the data or model is not what the contract names."
    CONTRACT_UNFIT ContractRefused "contract-unfit" "Registering, planning or training would refuse the contract; every reason is listed."
    CONTRACT_REFUSED ContractRefused "contract-refused" "A party refused to sign, or to serve, this contract."
    AUTHORISATION_REFUSED ContractRefused "authorisation-refused" "The run lacks the consumer's authorisation, or it is expired, used, or for something else."
    BUDGET_EXHAUSTED BudgetExhausted "budget-exhausted" "The step or run would exceed a provider's limit of epsilon."
    LEDGER_UNAVAILABLE LedgerUnavailable "ledger-unavailable" "The ledger cannot be reached or has no majority."
    LEDGER_DAMAGED LedgerUnavailable "ledger-damaged" "The ledger's log on disk does not verify."
    LEDGER_PROOF_REFUSED LedgerUnavailable "ledger-proof-refused" "A ledger receipt or checkpoint does not verify."
    REVOKED Revoked "revoked" "The contract was revoked; open channels are closed and nothing more is served."
    INTERRUPTED Interrupted "interrupted" "Ctrl-C, or the system asked the program to stop."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exit-codes.md");
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_page_explains_every_exit() {
        let page = page();
        for exit in Exit::ALL {
            let heading = format!("\n## {} — ", exit.code());
            assert!(
                page.contains(&heading),
                "docs/exit-codes.md lacks a section that begins with {heading:?}"
            );
        }
    }

    #[test]
    fn the_page_lists_every_code_once_and_no_other() {
        let page = page();
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| {
                format!(
                    "| `{}` | {} | {} |",
                    code.name,
                    code.exit.code(),
                    code.meaning
                )
            })
            .collect();
        assert_eq!(rows, expected, "expected table:\n{}", expected.join("\n"));
    }

    #[test]
    fn names_lead_back_to_their_codes() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::named(code.name), Some(*code));
        }
        assert_eq!(ErrorCode::named("nothing-of-the-kind"), None);
    }

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name).collect();
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }
}
