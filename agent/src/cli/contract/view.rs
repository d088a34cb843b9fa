//! What a contract allows, gathered once, for people ([`super::words`]) and for programs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tributary_accounting::Epsilon;
use tributary_attest::{CodeRule, DebugRule, Measurement, Policy, Tee};
use tributary_console::{Blame, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{
    Contract, ContractError, DatasetRef, Digest, Document, PartyKey, PartyName, PartyRole,
    SignedContract,
};

use super::super::budget::{Forecast, forecast};
use super::super::folder::Unlocked;
use crate::entities::Entities;
use crate::failures::entities_failure;
use crate::home::AgentHome;
use crate::vault::{Vault, VaultError};

/// A contract as the officer sees it.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) digest: Digest,
    pub(super) document: Document,
    pub(super) signatures: Vec<Signature>,
    pub(super) datasets: Vec<DatasetView>,
    /// What is added to a sum of gradients, in clipping norms.
    pub(super) gradient_noise: f64,
    /// All that ever leaves the aggregator.
    pub(super) leaves: Vec<String>,
    /// What concerns the party whose home was given.
    pub(super) you: Option<You>,
    pub(super) warnings: Vec<String>,
}

/// Whether a party has signed.
#[derive(Debug, Serialize)]
pub(super) struct Signature {
    pub(super) party: PartyName,
    pub(super) role: PartyRole,
    pub(super) key: PartyKey,
    pub(super) state: SignatureState,
}

/// What the envelope holds of a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SignatureState {
    /// A valid signature.
    Signed,
    /// None.
    Missing,
    /// One that does not verify: the contract was altered after it was signed.
    Invalid,
}

/// What a dataset gives, in numbers that follow from the contract alone.
#[derive(Debug, Serialize)]
pub(super) struct DatasetView {
    pub(super) dataset: DatasetRef,
    pub(super) records: u64,
    /// How many entities they belong to, where these are the unit of privacy.
    pub(super) entities: Option<u64>,
    pub(super) columns: Vec<String>,
    /// Spent by one run.
    pub(super) epsilon_of_one_run: Epsilon,
    /// Spent by all runs, if the limit allowed them.
    pub(super) epsilon_of_all_runs: Epsilon,
    /// The most that may be spent.
    pub(super) epsilon_limit: Epsilon,
}

/// What concerns the reader.
#[derive(Debug, Serialize)]
pub(super) struct You {
    pub(super) party: PartyName,
    pub(super) role: Option<PartyRole>,
    /// The officer's reason, where the contract was refused here.
    pub(super) refused: Option<String>,
    /// This very program: whether the contract lets it serve.
    pub(super) program: Measurement,
    pub(super) program_is_named: bool,
    /// By dataset name; only where the vault was opened.
    pub(super) vault: Option<BTreeMap<String, InVault>>,
}

/// A dataset of the contract against the vault and the budget.
#[derive(Debug, Serialize)]
pub(super) struct InVault {
    /// What differs from the contract; empty where it is the same data.
    pub(super) differs: Option<String>,
    pub(super) budget: Option<Forecast>,
}

impl You {
    pub(super) fn without_vault(
        home: &AgentHome,
        signed: &SignedContract,
    ) -> Result<Self, Failure> {
        let contract = signed.contract();
        let party = home.party();
        let program =
            Measurement::of_current_exe().or_fail(ErrorCode::IO, "measuring this program")?;
        Ok(Self {
            party: party.party().clone(),
            role: contract
                .parties()
                .find(|(name, _, key)| *name == party.party() && **key == party.key())
                .map(|(_, role, _)| role),
            refused: home.contracts().refusal(&contract.digest())?,
            program_is_named: names(&contract.document().attestation.agents, &program),
            program,
            vault: None,
        })
    }

    pub(super) fn with_vault(
        unlocked: &Unlocked,
        signed: &SignedContract,
    ) -> Result<Self, Failure> {
        let mut you = Self::without_vault(&unlocked.home, signed)?;
        let contract = signed.contract();
        let mut vault = BTreeMap::new();
        for (id, _) in contract.datasets().filter(|(id, _)| id.owner == you.party) {
            let differs =
                compare(&unlocked.vault, contract, &id)?.map(|difference| difference.to_string());
            let budget = Some(forecast(unlocked, contract, &id)?);
            vault.insert(id.name.to_string(), InVault { differs, budget });
        }
        you.vault = Some(vault);
        Ok(you)
    }
}

impl View {
    pub(super) fn of(
        signed: &SignedContract,
        you: Option<You>,
        now: DateTime<Utc>,
    ) -> Result<Self, Failure> {
        let contract = signed.contract();
        let document = contract.document().clone();
        let plan = contract.plan().map_err(|error| {
            Failure::from_error(ErrorCode::CONTRACT_INVALID, &error)
                .hint("its privacy parameters cannot be accounted for: ask the consumer for another contract")
                .blame(Blame::Contract)
        })?;
        let datasets: Vec<DatasetView> = plan
            .datasets
            .iter()
            .zip(contract.datasets())
            .map(|(plan, (id, dataset))| DatasetView {
                dataset: id,
                records: dataset.records,
                entities: dataset.entities,
                columns: dataset
                    .columns
                    .iter()
                    .map(|column| format!("{} ({})", column.name, column.kind))
                    .collect(),
                epsilon_of_one_run: plan.run,
                epsilon_of_all_runs: plan.all_runs,
                epsilon_limit: plan.limit,
            })
            .collect();
        let signatures = signatures(signed);
        let mut warnings = warnings(contract, &datasets, &signatures, now);
        warnings.extend(
            you.as_ref()
                .map(|you| warnings_for(you, contract))
                .unwrap_or_default(),
        );
        Ok(Self {
            digest: contract.digest(),
            leaves: leaves(&document),
            document,
            signatures,
            datasets,
            gradient_noise: contract.gradient_noise().get(),
            you,
            warnings,
        })
    }
}

/// How the vault's dataset differs from the contract's.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) here: String,
    pub(super) contract: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            here,
            contract,
        } = self;
        write!(
            f,
            "{what}: the vault has {here}, the contract says {contract}"
        )
    }
}

/// Compares the newest version of a dataset with what the contract says of it; `None` where they agree.
pub(super) fn compare(
    vault: &Vault,
    contract: &Contract,
    id: &DatasetRef,
) -> Result<Option<Difference>, Failure> {
    let Some(named) = contract.dataset(id) else {
        return Ok(None);
    };
    let differs = |what, here: String, contract: String| {
        Ok(Some(Difference {
            what,
            here,
            contract,
        }))
    };
    let dataset = match vault.show(&id.name) {
        Ok(dataset) => dataset,
        Err(VaultError::NoDataset { known, .. }) => {
            return differs("dataset", known, format!("`{}`", id.name));
        }
        Err(error) => return Err(crate::failures::vault_failure(error)),
    };
    if dataset.digest != named.manifest {
        return differs(
            "manifest",
            format!(
                "{} (version {})",
                dataset.digest,
                dataset.manifest.version()
            ),
            named.manifest.to_string(),
        );
    }
    if dataset.manifest.rows() != named.records {
        return differs(
            "records",
            dataset.manifest.rows().to_string(),
            named.records.to_string(),
        );
    }
    let entity = contract.entity();
    let columns = named.columns.iter();
    for column in columns.chain(entity.map(|entity| &entity.column)) {
        let here = dataset.manifest.schema().column(&column.name);
        if here != Some(column) {
            return differs(
                "column",
                here.map_or("no such column".to_owned(), |here| {
                    format!("`{}` of {}", here.name, here.kind)
                }),
                format!("`{}` of {}", column.name, column.kind),
            );
        }
    }
    if let Some(entity) = entity {
        let column = &entity.column.name;
        let here =
            Entities::count(vault, &id.name, named.manifest, column).map_err(entities_failure)?;
        let said = named.entities.unwrap_or_default();
        if here != said {
            return differs("entities", here.to_string(), said.to_string());
        }
    }
    Ok(None)
}

pub(super) fn signatures(signed: &SignedContract) -> Vec<Signature> {
    let envelope = signed.envelope();
    signed
        .contract()
        .parties()
        .map(|(party, role, key)| {
            let claimed = key.to_string();
            let state = if envelope.verified_by(key) {
                SignatureState::Signed
            } else if envelope.key_ids().any(|id| id == claimed) {
                SignatureState::Invalid
            } else {
                SignatureState::Missing
            };
            Signature {
                party: party.clone(),
                role,
                key: *key,
                state,
            }
        })
        .collect()
}

fn leaves(document: &Document) -> Vec<String> {
    let mut leaves = vec![
        "the trained model, sealed to the consumer's key".to_owned(),
        "a receipt: contract, program, epsilon of each dataset, digest of the model".to_owned(),
    ];
    if document.disclosure.progress {
        leaves.push("while training: the number of the step and the epsilon spent, which depend on no record".to_owned());
    }
    match document.disclosure.metrics {
        tributary_protocol::Metrics::None => {}
        tributary_protocol::Metrics::Validation => leaves.push(
            "accuracy and loss on the consumer's own validation set, of the model after noise"
                .to_owned(),
        ),
    }
    leaves
}

fn names(policy: &Policy, program: &Measurement) -> bool {
    // Who signed its launch is not known here, and may be enough.
    policy.code == CodeRule::MeasurementOrSigner
        || policy
            .measurements
            .stated()
            .is_none_or(|measurements| measurements.contains(program))
}

/// What an officer should think twice about, whoever reads.
pub(super) fn warnings(
    contract: &Contract,
    datasets: &[DatasetView],
    signatures: &[Signature],
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let attestation = &contract.document().attestation;
    for (who, policy) in [
        ("the aggregator", &attestation.aggregator),
        ("agents", &attestation.agents),
    ] {
        if policy.tees.contains(&Tee::Simulated) {
            warnings.push(format!(
                "simulated: the contract accepts simulated evidence of {who}, which proves nothing: use it with data that anybody may see"
            ));
        }
        if policy.debug == DebugRule::Allowed {
            warnings.push(format!(
                "{who} may run under a debugger, which reads every record"
            ));
        }
        if policy.measurements.stated().is_none() && policy.signers.stated().is_none() {
            warnings.push(format!(
                "{who} may run any program: the contract names no measurement and no signer"
            ));
        }
    }
    for signature in signatures {
        if signature.state == SignatureState::Invalid {
            warnings.push(format!(
                "the signature of {} does not verify: the contract was altered after it was signed",
                signature.party
            ));
        }
    }
    for dataset in datasets {
        if dataset.epsilon_of_one_run > dataset.epsilon_limit {
            warnings.push(format!(
                "{}: one run would spend epsilon {}, more than the limit of {}: no run can end",
                dataset.dataset, dataset.epsilon_of_one_run, dataset.epsilon_limit
            ));
        } else if dataset.epsilon_of_all_runs > dataset.epsilon_limit {
            warnings.push(format!(
                "{}: all runs together would spend epsilon {}, more than the limit of {}: the last ones are refused",
                dataset.dataset, dataset.epsilon_of_all_runs, dataset.epsilon_limit
            ));
        }
    }
    match contract.in_force(now) {
        Err(error @ ContractError::Expired { .. })
        | Err(error @ ContractError::NotYetInForce { .. }) => {
            warnings.push(error.to_string());
        }
        _ => {}
    }
    warnings
}

fn warnings_for(you: &You, contract: &Contract) -> Vec<String> {
    let mut warnings = Vec::new();
    if you.role.is_none() {
        warnings.push(format!(
            "the contract has no party {} with the key of this home",
            you.party
        ));
    }
    if let Some(reason) = &you.refused {
        warnings.push(format!("it was refused here: {reason}"));
    }
    warnings.extend(program_warning(
        &contract.document().attestation.agents,
        &you.program,
    ));
    for (name, dataset) in you.vault.iter().flatten() {
        if let Some(difference) = &dataset.differs {
            warnings.push(format!(
                "{name} is not the data that the contract names: {difference}"
            ));
        }
        if let Some(exceeded) = dataset
            .budget
            .as_ref()
            .and_then(|budget| budget.exceeds.as_ref())
        {
            warnings.push(exceeded.clone());
        }
    }
    warnings
}

/// An agent whose program the contract does not name is refused by every peer.
pub(super) fn program_warning(agents: &Policy, program: &Measurement) -> Option<String> {
    (!names(agents, program)).then(|| {
        format!(
            "the contract does not name this agent's program ({program}): peers would refuse it; run the version that the contract names"
        )
    })
}
