//! The consumer's side: contracts written, checked, registered and planned; models opened, evaluated and their receipts
//! verified. Binary `aggregator`.
//!
//! Not here: how peers prove themselves (`tributary-protocol`), what is learnt (`tributary-trainer`), how any party's data
//! is kept (`tributary-agent`).
//!
//! A value flows so: providers' offers and the consumer's [`Wishes`] become a contract by [`draft`]; [`findings`] says
//! what would refuse it, [`RunPlan`] what a run would cost; registered, it lives in the [`ConsumerHome`] with its number
//! and proof. What a run leaves there is opened with the home's sealing key, and measured by [`evaluate`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
mod drafting;
mod evaluation;
mod failures;
mod home;
mod masks;
mod model_fit;
mod planning;
mod receipts;
mod recipe;
mod targets;
mod terms;
mod training;
mod trial;
mod validation;

pub use drafting::{ClippingWish, DraftError, EntityWish, Wishes, draft, validity_from};
pub use evaluation::{Answers, ClassScore, Evaluation, EvaluationError, evaluate};
pub use home::{ConsumerHome, ContractFileError, HomeError, RegisteredContract, ledger_members};
pub use masks::MasksError;
pub use model_fit::{ModelMisfit, misfits};
pub use planning::{DatasetCost, PlanError, RunPlan, TimeEstimate};
pub use receipts::{CheckedReceipt, ReceiptRefusal, check_receipt, claimed_contract};
pub use recipe::{Recipe, RecipeError};
pub use training::{
    CurvePoint, DatasetReport, RunFolder, TrainArgs, TrainReport, curves_svg, train,
};
pub use trial::{MeasuredStep, StepCost, TrialError, measure_step};
pub use validation::{Finding, ModelAtHand, findings, warnings};
