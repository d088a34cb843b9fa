//! The steps of a run: a batch of every dataset, one private step, and a checkpoint for every window of steps.

use std::time::Instant;

use tributary_accounting::Epsilon;
use tributary_console::{
    Console, ErrorCode, Failure, FailureContext as _, StepProgress, StepReport,
};
use tributary_protocol::{CheckpointKey, Contract, DatasetRef, Digest, Metrics};
use tributary_trainer::{Metrics as Measured, Trainer, TrainerState};

use super::curves::CurvePoint;
use super::feed::FeedError;
use super::opening::Opening;
use super::preprocessing::{Preprocessing, StepExamples};
use super::run_folder::RunFolder;
use super::settings::TrainArgs;
use super::setup::Setup;
use super::spending::Spending;
use super::validation::Validation;
use crate::terms;

/// How often the model is measured on the consumer's validation set during a run: enough for a curve.
const MEASUREMENTS: u64 = 20;

/// A run under way.
pub(super) struct Steps {
    opening: Opening,
    trainer: Trainer,
    preprocessing: Preprocessing,
    validation: Option<Validation>,
    key: CheckpointKey,
    accounts: Vec<Account>,
    points: Vec<CurvePoint>,
    contract: Contract,
    window: u64,
    bytes: u64,
}

/// A run whose steps are done.
pub(super) struct Trained {
    pub(super) opening: Opening,
    pub(super) trainer: Trainer,
    pub(super) validation: Option<Validation>,
    pub(super) accounts: Vec<Account>,
    pub(super) points: Vec<CurvePoint>,
    pub(super) bytes: u64,
}

/// What one dataset gave and paid.
pub(super) struct Account {
    pub(super) dataset: DatasetRef,
    /// Steps leased by earlier runs, or lost by crashes of this one.
    pub(super) spent_before: u64,
    /// Steps of this run in the model.
    pub(super) trained: u64,
    /// The dataset's step after the last that was trained on.
    pub(super) through: u64,
    pub(super) limit: f64,
    spending: Spending,
}

/// What a checkpoint holds besides the trainer's state: how the curves went, and what each dataset gave.
#[derive(serde::Serialize, serde::Deserialize)]
struct SavedState {
    trainer: TrainerState,
    points: Vec<CurvePoint>,
    trained: Vec<u64>,
}

impl Account {
    /// Epsilon of all that is spent under the contract.
    pub(super) fn epsilon(&self) -> Result<Epsilon, Failure> {
        self.spending
            .epsilon()
            .or_fail(ErrorCode::INTERNAL, "accounting")
    }

    pub(super) fn spent_steps(&self) -> u64 {
        self.spent_before + self.through
    }

    fn charge(&mut self, steps: u64) -> Result<(), Failure> {
        self.spending
            .add(steps)
            .or_fail(ErrorCode::INTERNAL, "accounting")
    }
}

impl Steps {
    /// Restores the newest checkpoint that the ledger knows, or begins with the contract's model.
    pub(super) fn resume_or_begin(
        setup: &Setup,
        args: &TrainArgs,
        opening: Opening,
    ) -> Result<Self, Failure> {
        let contract = setup.contract().clone();
        let privacy = terms::privacy(&contract).or_fail(ErrorCode::CONTRACT_INVALID, "privacy")?;
        let update = terms::update(&contract);
        let graph = setup.new_graph()?;
        let loss = terms::loss(&contract);
        let key = opening.checkpoint_key(&contract)?;
        let saved = opening
            .checkpoint
            .map(|digest| restore(&opening, &key, &digest))
            .transpose()?;
        let (trainer, points, trained) = match saved {
            Some(SavedState {
                trainer,
                points,
                trained,
            }) => {
                let trainer =
                    Trainer::resume(graph, loss, update, privacy, args.threads(), trainer)
                        .or_fail(ErrorCode::CHECKPOINT_REFUSED, "the checkpoint")?;
                (trainer, points, trained)
            }
            None => {
                let trainer = Trainer::new(graph, loss, update, privacy, args.threads())
                    .or_fail(ErrorCode::CONTRACT_INVALID, "the trainer")?;
                (trainer, Vec::new(), Vec::new())
            }
        };
        let mut steps = Self {
            preprocessing: Preprocessing::new(&contract, trainer.graph())
                .or_fail(ErrorCode::CONTRACT_INVALID, "the contract's batches")?,
            validation: Validation::read(args, &contract, trainer.graph())?,
            key,
            accounts: Vec::new(),
            points,
            window: opening.window,
            bytes: 0,
            opening,
            contract,
            trainer,
        };
        steps.accounts = steps.open_accounts(&trained)?;
        Ok(steps)
    }

    fn open_accounts(&self, trained: &[u64]) -> Result<Vec<Account>, Failure> {
        let plan = self
            .contract
            .plan()
            .or_fail(ErrorCode::CONTRACT_INVALID, "the plan")?;
        self.opening
            .feeds
            .iter()
            .zip(plan.datasets)
            .enumerate()
            .map(|(index, (feed, plan))| {
                let mut account = Account {
                    dataset: feed.dataset.clone(),
                    spent_before: self.opening.leased_by_earlier_runs[index],
                    trained: trained.get(index).copied().unwrap_or_default(),
                    through: feed.first_step,
                    limit: plan.limit.get(),
                    spending: Spending::new(&self.contract, plan.capacity.remaining_delta),
                };
                let spent = account.spent_steps();
                account.charge(spent)?;
                Ok(account)
            })
            .collect()
    }

    /// Trains until the steps, or a budget, are used up.
    pub(super) async fn train(mut self, console: &Console) -> Result<Trained, Failure> {
        let total = self.contract.steps().get();
        let before = self.trainer.steps();
        let disclosed = self.contract.document().disclosure.progress;
        let mut progress =
            disclosed.then(|| StepProgress::start(console, before, total, Instant::now()));
        if self.points.is_empty() {
            self.measure().await?;
        }
        let mut examples = self.preprocessing.empty();
        while self.trainer.steps() < total {
            examples.clear();
            if !self.gather(&mut examples).await? {
                break;
            }
            (self, examples) = step_on_a_thread(self, examples).await?;
            let step = self.trainer.steps();
            if step.is_multiple_of((total / MEASUREMENTS).max(1)) {
                self.measure().await?;
            }
            if step.is_multiple_of(self.window) {
                self.save().await?;
            }
            if let Some(progress) = &mut progress {
                let samples = (step - before) as f64 * self.contract.expected_batch_size();
                progress.update(
                    StepReport {
                        step,
                        epsilon: self.worst_epsilon(),
                        samples: samples as u64,
                    },
                    Instant::now(),
                );
            }
        }
        if self
            .points
            .last()
            .is_none_or(|point| point.step != self.trainer.steps())
        {
            self.measure().await?;
        }
        self.save().await?;
        if let Some(progress) = progress {
            progress.finish();
        }
        let done = self.trainer.steps();
        if done < total {
            console.warn(format_args!(
                "trained {done} of {total} steps: what a crash lost is spent, and nothing beyond the contract is"
            ));
        }
        Ok(Trained {
            opening: self.opening,
            trainer: self.trainer,
            validation: self.validation,
            accounts: self.accounts,
            points: self.points,
            bytes: self.bytes,
        })
    }

    /// One batch of every dataset; false where one has no more.
    async fn gather(&mut self, examples: &mut StepExamples) -> Result<bool, Failure> {
        let feeds = self.opening.feeds.iter_mut();
        for (number, (feed, account)) in feeds.zip(&mut self.accounts).enumerate() {
            let Some(batch) = feed.next().await else {
                return Ok(false);
            };
            let batch = batch?;
            self.preprocessing
                .append(number, batch.batch.records(), examples)
                .or_fail(
                    ErrorCode::PEER_MISBEHAVED,
                    format_args!("a batch of {}", feed.dataset),
                )?;
            // Steps between the last and this one were leased and lost: they are spent all the same.
            let through = batch.step + 1;
            let steps = through - account.through;
            account.through = through;
            account.trained += 1;
            account.charge(steps)?;
            self.bytes += batch.bytes;
        }
        Ok(true)
    }

    /// Seals a checkpoint, keeps it, and has its digest recorded before more is leased on it.
    async fn save(&mut self) -> Result<(), Failure> {
        let state = SavedState {
            trainer: self.trainer.state(),
            points: self.points.clone(),
            trained: self
                .accounts
                .iter()
                .map(|account| account.trained)
                .collect(),
        };
        let bytes = postcard::to_allocvec(&state).or_fail(ErrorCode::INTERNAL, "the checkpoint")?;
        let step = self.trainer.steps();
        let sealed = self
            .key
            .seal(step, &bytes)
            .or_fail(ErrorCode::INTERNAL, "the checkpoint")?;
        self.opening
            .folder
            .keep_checkpoint(step, sealed.bytes())
            .or_fail(ErrorCode::IO, "the checkpoint")?;
        let digest = sealed.digest();
        // All at once: each is a round trip and a synced write at another machine.
        let mut settlements = Vec::new();
        for (feed, account) in self.opening.feeds.iter().zip(&self.accounts) {
            settlements.push(feed.settle(account.through, Some(digest)));
        }
        for settled in join_all(settlements).await {
            settled?;
        }
        Ok(())
    }

    /// Measures the model on the consumer's own data, if there is some, and notes the epsilon spent.
    async fn measure(&mut self) -> Result<(), Failure> {
        let disclosed = self.contract.document().disclosure.metrics == Metrics::Validation;
        let measured = match &self.validation {
            Some(validation) if disclosed => Some(validation.measure(&self.trainer)?),
            _ => None,
        };
        self.points.push(CurvePoint {
            step: self.trainer.steps(),
            epsilon: self.worst_epsilon(),
            accuracy: measured.as_ref().and_then(Measured::accuracy),
            loss: measured.as_ref().map(|metrics| metrics.loss),
        });
        Ok(())
    }

    fn worst_epsilon(&self) -> f64 {
        self.accounts
            .iter()
            .map(|account| account.spending.shown().get())
            .fold(0.0, f64::max)
    }
}

/// Trains one step where it does not hold up the streams.
async fn step_on_a_thread(
    mut steps: Steps,
    examples: StepExamples,
) -> Result<(Steps, StepExamples), Failure> {
    tokio::task::spawn_blocking(move || {
        let batch = examples.examples();
        let outcome = match &examples.entities {
            None => steps.trainer.step(&batch),
            Some(entities) => steps.trainer.step_by_entity(&batch, entities),
        };
        outcome.or_fail(ErrorCode::MODEL_INVALID, "a step of training")?;
        Ok((steps, examples))
    })
    .await
    .or_fail(ErrorCode::INTERNAL, "the training thread")?
}

async fn join_all<F: Future<Output = Result<(), FeedError>>>(
    futures: Vec<F>,
) -> Vec<Result<(), FeedError>> {
    let mut pending: Vec<_> = futures
        .into_iter()
        .map(|future| Some(Box::pin(future)))
        .collect();
    let mut results: Vec<Option<Result<(), FeedError>>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (slot, result) in pending.iter_mut().zip(&mut results) {
            if let Some(future) = slot {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => {
                        *result = Some(value);
                        *slot = None;
                    }
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

fn restore(opening: &Opening, key: &CheckpointKey, newest: &Digest) -> Result<SavedState, Failure> {
    let sealed = find_checkpoint(&opening.folder, newest)?;
    let opened = key
        .open(&sealed, newest)
        .or_fail(ErrorCode::CHECKPOINT_REFUSED, "the checkpoint")?;
    postcard::from_bytes(&opened.content).or_fail(ErrorCode::CHECKPOINT_REFUSED, "the checkpoint")
}

fn find_checkpoint(folder: &RunFolder, digest: &Digest) -> Result<Vec<u8>, Failure> {
    folder.find_checkpoint(digest).or_fail(ErrorCode::IO, "the checkpoint")?.ok_or_else(|| {
        Failure::new(
            ErrorCode::CHECKPOINT_REFUSED,
            format!("expected the checkpoint {digest}, the newest that the ledger knows, in {}", folder.path("").display()),
        )
        .hint("put the newest checkpoint back; an older one is refused, because its steps would be spent twice")
    })
}
