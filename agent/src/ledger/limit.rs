//! The limit of epsilon that the contract sets for each dataset, as the ledger's keeper enforces it.

use tributary_accounting::{Epsilon, Steps};
use tributary_protocol::ledger::{LeaseLimit, Refusal};
use tributary_protocol::{Contract, DatasetRef, SequenceNumber};

/// Refuses the lease by which a dataset would spend more epsilon than its contract allows, over all runs.
///
/// Every agent's meter computes the same for itself. This is the ledger's own check, against an agent that does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct EpsilonLimit;

impl LeaseLimit for EpsilonLimit {
    fn allows(
        &self,
        number: SequenceNumber,
        contract: &Contract,
        dataset: &DatasetRef,
        already: u64,
        more: u64,
    ) -> Result<(), Refusal> {
        let refuse = |message: String| Refusal::Budget {
            contract: number,
            dataset: dataset.clone(),
            message,
        };
        let terms = contract
            .dataset(dataset)
            .ok_or_else(|| Refusal::UnknownDataset {
                contract: number,
                dataset: dataset.clone(),
            })?;
        // What cannot be computed is not allowed.
        let unknown =
            |error: &dyn std::fmt::Display| refuse(format!("epsilon is not known: {error}"));
        let limit = Epsilon::new(terms.epsilon).map_err(|error| unknown(&error))?;
        let capacity = contract.capacity(terms).map_err(|error| unknown(&error))?;
        let steps = already
            .checked_add(more)
            .ok_or_else(|| refuse("more steps than can be counted".to_owned()))?;
        let after = contract
            .epsilon_after(Steps::new(steps), capacity.remaining_delta)
            .map_err(|error| unknown(&error))?;
        if after <= limit {
            return Ok(());
        }
        Err(refuse(format!(
            "expected at most epsilon {:.4} at delta {:e}, got {:.4} after {already} leased steps and {more} more",
            limit.get(),
            contract.delta().get(),
            after.get()
        )))
    }
}
