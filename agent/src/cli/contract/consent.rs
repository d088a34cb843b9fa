//! What must hold before this party signs.

use chrono::{DateTime, Utc};
use tributary_attest::Measurement;
use tributary_console::{Blame, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{Contract, ContractError, PartyRole, SignedContract};

use super::super::budget::forecast;
use super::super::folder::Unlocked;
use super::mismatch;
use super::view::{SignatureState, View, compare, program_warning, signatures};
use crate::failures::contract_failure;
use crate::home::AgentHome;

/// Refuses what this party must not sign; gives what its officer should know.
pub(super) fn check(
    signed: &SignedContract,
    unlocked: &Unlocked,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Failure> {
    let contract = signed.contract();
    expect_this_party(contract, &unlocked.home)?;
    expect_unaltered(signed)?;
    if let Err(error @ ContractError::Expired { .. }) = contract.in_force(now) {
        return Err(contract_failure(error));
    }
    let mut warnings = View::of(signed, None, now)?.warnings;
    let mine = &unlocked.home.party().party();
    for (id, _) in contract.datasets().filter(|(id, _)| id.owner == **mine) {
        if let Some(difference) = compare(&unlocked.vault, contract, &id)? {
            let what = format!("{} of dataset {}", difference.what, id.name);
            return Err(mismatch(&what, difference.here, difference.contract).hint(
                "write an offer of the data as it is now (`agent dataset offer`) and have the contract written anew",
            ));
        }
        if let Some(exceeded) = forecast(unlocked, contract, &id)?.exceeds {
            return Err(Failure::new(
                ErrorCode::BUDGET_EXHAUSTED,
                format!("{exceeded}; nothing was signed"),
            )
            .hint(format!(
                "ask for a contract with less epsilon, or raise your own limit with `agent budget set {}`",
                id.name
            ))
            .blame(Blame::Contract));
        }
    }
    let program = Measurement::of_current_exe().or_fail(ErrorCode::IO, "measuring this program")?;
    warnings.extend(program_warning(
        &contract.document().attestation.agents,
        &program,
    ));
    Ok(warnings)
}

fn expect_this_party(contract: &Contract, home: &AgentHome) -> Result<(), Failure> {
    let (name, key) = (home.party().party(), home.party().key());
    let hint = "check --home, or ask the consumer for a contract with this party's name and key (`agent dataset offer` gives both)";
    let Some((_, role, named_key)) = contract.parties().find(|(party, _, _)| *party == name) else {
        let parties: Vec<&str> = contract
            .parties()
            .map(|(party, _, _)| party.as_str())
            .collect();
        return Err(mismatch(
            "party",
            format_args!("one named {name}"),
            parties.join(", "),
        )
        .hint(hint));
    };
    if *named_key != key {
        return Err(mismatch(&format!("key of {name}"), key, named_key).hint(hint));
    }
    if role != PartyRole::Provider {
        return Err(mismatch(&format!("role of {name}"), "provider", "consumer").hint(hint));
    }
    Ok(())
}

/// The consumer signs first, over the very bytes: without its signature nobody can tell who wrote what is here.
fn expect_unaltered(signed: &SignedContract) -> Result<(), Failure> {
    for signature in signatures(signed) {
        let party = &signature.party;
        match (signature.state, signature.role) {
            (SignatureState::Invalid, _) => {
                return Err(Failure::new(
                    ErrorCode::CONTRACT_ALTERED,
                    format!("expected the contract that {party} signed, got other bytes under its signature; nothing was signed"),
                )
                .hint(format!("ask {party} for the contract again, and tell the others"))
                .blame(Blame::Contract));
            }
            (SignatureState::Missing, PartyRole::Consumer) => {
                return Err(Failure::new(
                    ErrorCode::CONTRACT_UNSIGNED,
                    format!(
                        "expected the signature of the consumer, {party}, who signs first; got none"
                    ),
                )
                .hint("pass the file that `aggregator contract new` wrote")
                .blame(Blame::Contract));
            }
            (SignatureState::Signed | SignatureState::Missing, _) => {}
        }
    }
    Ok(())
}
