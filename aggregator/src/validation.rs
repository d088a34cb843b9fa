//! Everything that would refuse a contract, all at once: registering it, planning a run and training.

use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tributary_attest::{Criterion, Policy, Tee};
use tributary_console::ErrorCode;
use tributary_protocol::{Contract, ContractError, Digest, FormatError, SignedContract};
use tributary_trainer::{Graph, Trainer};

use crate::{model_fit, terms};

/// One reason why a contract would be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code with which it would be refused.
    pub code: &'static str,
    /// What was expected and what was found.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

impl Finding {
    pub(crate) fn new(code: ErrorCode, message: impl ToString, hint: impl ToString) -> Self {
        Self {
            code: code.name(),
            message: message.to_string(),
            hint: hint.to_string(),
        }
    }
}

/// The model of a contract, as far as it is at hand.
#[derive(Debug)]
pub enum ModelAtHand {
    /// It is not here.
    Absent,
    /// It was read and can be trained.
    Graph(Box<Graph>),
    /// It was read and cannot be trained.
    Unusable(tributary_trainer::GraphError),
}

impl ModelAtHand {
    /// The model in these bytes, if there are any.
    pub fn read(onnx: Option<&[u8]>) -> Self {
        match onnx.map(Graph::from_onnx) {
            None => Self::Absent,
            Some(Ok(graph)) => Self::Graph(Box::new(graph)),
            Some(Err(error)) => Self::Unusable(error),
        }
    }

    /// The graph, where there is one.
    pub fn graph(&self) -> Option<&Graph> {
        match self {
            Self::Graph(graph) => Some(graph),
            _ => None,
        }
    }
}

/// Everything about a contract that would be refused, whether it is signed or not.
pub fn findings(signed: &SignedContract, model: &ModelAtHand, now: DateTime<Utc>) -> Vec<Finding> {
    let contract = signed.contract();
    let mut found = Vec::new();
    let missing = signed.missing();
    if !missing.is_empty() {
        found.push(of_contract_error(&ContractError::Unsigned { missing }));
    }
    if let Err(error) = contract.in_force(now) {
        found.push(of_contract_error(&error));
    }
    check_model(contract, model, &mut found);
    check_budget(contract, &mut found);
    check_batches(contract, &mut found);
    found
}

/// What a contract's signers should know, though nothing refuses it.
pub fn warnings(contract: &Contract) -> Vec<String> {
    let mut warnings = Vec::new();
    let attestation = &contract.document().attestation;
    for (who, policy) in [
        ("the aggregator", &attestation.aggregator),
        ("agents", &attestation.agents),
    ] {
        if policy.tees.contains(&Tee::Simulated) {
            warnings.push(format!(
                "{who} may run on simulated platforms, which protect nothing from their operator"
            ));
        }
        if accepts_any_program(policy) {
            warnings.push(format!(
                "{who} may run any program: state the measurements, or the signers, that are accepted"
            ));
        }
    }
    if let Ok(plan) = contract.plan() {
        for dataset in plan.datasets {
            if dataset.run <= dataset.limit && dataset.all_runs > dataset.limit {
                warnings.push(format!(
                    "{}: all {} runs would spend epsilon {:.3}, beyond the limit of {}: the later ones will be refused",
                    dataset.dataset,
                    contract.runs(),
                    dataset.all_runs.get(),
                    dataset.limit
                ));
            }
        }
    }
    warnings
}

fn accepts_any_program(policy: &Policy) -> bool {
    matches!(
        (&policy.measurements, &policy.signers),
        (Criterion::Any, Criterion::Any)
    )
}

/// A contract's own refusal as a finding.
pub(crate) fn of_contract_error(error: &ContractError) -> Finding {
    Finding::new(crate::failures::contract_code(error), error, error.hint())
}

fn check_model(contract: &Contract, model: &ModelAtHand, found: &mut Vec<Finding>) {
    let named: Digest = contract.document().pipeline.model.onnx;
    match model {
        ModelAtHand::Absent => found.push(Finding::new(
            ErrorCode::MODEL_INVALID,
            format!("expected the model {named} at hand, found none with this digest"),
            "pass the ONNX file that the contract was written for with --model, or the home that has it with --home",
        )),
        ModelAtHand::Unusable(error) => found.push(Finding::new(
            ErrorCode::MODEL_UNSUPPORTED,
            error,
            "export the model without what is named, and write a new contract for it",
        )),
        ModelAtHand::Graph(graph) => {
            let misfits = model_fit::misfits(graph, contract);
            let trains = misfits.is_empty();
            found.extend(
                misfits
                    .into_iter()
                    .map(|misfit| Finding::new(ErrorCode::MODEL_INVALID, &misfit, misfit.hint())),
            );
            if trains {
                check_training(contract, graph, found);
            }
        }
    }
}

/// What the trainer itself refuses: settings, and gradients that its integer grid cannot hold.
fn check_training(contract: &Contract, graph: &Graph, found: &mut Vec<Finding>) {
    let hint = "correct it in a new contract and have every party sign it";
    let mut refuse = |error: &dyn std::error::Error| {
        found.push(Finding::new(ErrorCode::CONTRACT_INVALID, error, hint))
    };
    let privacy = match terms::privacy(contract) {
        Ok(privacy) => privacy,
        Err(error) => return refuse(&error),
    };
    let (loss, update) = (terms::loss(contract), terms::update(contract));
    if let Err(error) = Trainer::new(graph.clone(), loss, update, privacy, NonZeroUsize::MIN) {
        refuse(&error);
    }
}

fn check_budget(contract: &Contract, found: &mut Vec<Finding>) {
    let plan = match contract.plan() {
        Ok(plan) => plan,
        Err(error) => {
            let hint = "write a new contract with other steps, noise, sampling rate or delta";
            return found.push(Finding::new(ErrorCode::CONTRACT_INVALID, error, hint));
        }
    };
    for dataset in plan.datasets {
        if dataset.run > dataset.limit {
            found.push(Finding::new(
                ErrorCode::BUDGET_EXHAUSTED,
                format!(
                    "{}: expected one run to spend at most epsilon {}, it would spend {:.3}",
                    dataset.dataset,
                    dataset.limit,
                    dataset.run.get()
                ),
                "write a new contract with more noise, fewer steps, a lower sampling rate, or a limit that the provider accepts",
            ));
        }
    }
}

fn check_batches(contract: &Contract, found: &mut Vec<Finding>) {
    for (id, dataset) in contract.datasets() {
        match contract.batch_format(dataset) {
            // Said already, with the budget.
            Ok(_) | Err(FormatError::Accounting(_)) => {}
            Err(reason) => found.push(Finding::new(
                ErrorCode::CONTRACT_INVALID,
                format!("{id}: {reason}"),
                "write a new contract with a lower sampling rate",
            )),
        }
    }
}
