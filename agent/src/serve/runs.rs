//! Runs that this agent takes part in: what must hold before a record leaves, and what is remembered of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tributary_protocol::ledger::{Request, Response, RunStatus, RunView};
use tributary_protocol::{
    BatchFormat, ColumnName, Contract, Dataset, DatasetName, DatasetRef, DatasetSchema, Digest,
    Entity, Joined, JoinedDataset, KeyShare, LEASE_STEPS_LIMIT, PartyName, RunNumber,
    SequenceNumber, ServiceRefusal, ServiceRefusalCode, SignedContract,
};

use super::ledgers::Ledgers;
use super::refusals::{internal, of_book, of_contract, of_lease, of_ledger, refuse};
use crate::contracts::ContractBook;
use crate::entities::Entities;
use crate::meter::{LeaseRequest, Meter, MeterError};
use crate::sampler::Sampler;
use crate::vault::{CacheSize, Records, StateKey, Vault};

/// What the agent's service holds for all its channels.
pub(super) struct Runs {
    pub(super) party: PartyName,
    pub(super) book: Arc<ContractBook>,
    pub(super) vault: Arc<Vault>,
    pub(super) meter: Arc<Meter>,
    pub(super) ledgers: Ledgers,
    pub(super) cache: CacheSize,
    /// From which the shares of checkpoint keys are derived: the same for whoever resumes a run.
    pub(super) share_key: StateKey,
    pub(super) joined: Mutex<BTreeMap<RunId, Arc<JoinedRun>>>,
}

/// Which run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunId {
    pub(super) contract: Digest,
    pub(super) run: RunNumber,
}

/// A run that this agent takes part in.
pub(super) struct JoinedRun {
    number: SequenceNumber,
    run: RunNumber,
    contract: Contract,
    datasets: BTreeMap<DatasetName, Source>,
}

/// One dataset as a run draws from it.
struct Source {
    id: DatasetRef,
    draw: Arc<Draw>,
    /// Held over lease and bookkeeping, so that two streams cannot lease the same steps.
    progress: Mutex<Progress>,
}

/// Where the records are and who draws them.
pub(super) struct Draw {
    pub(super) records: Records,
    pub(super) format: BatchFormat,
    pub(super) sampler: std::sync::Mutex<Sampler>,
}

#[derive(Clone, Copy)]
struct Progress {
    next_step: u64,
}

/// Steps that were leased and may be drawn, once.
pub(super) struct LeasedSteps {
    pub(super) draw: Arc<Draw>,
    pub(super) first_step: u64,
    pub(super) count: u64,
}

impl Runs {
    /// A contract that this party signed, that is in force, and that every party signed as far as this copy tells.
    pub(super) fn contract(
        &self,
        digest: &Digest,
        now: DateTime<Utc>,
    ) -> Result<Arc<SignedContract>, ServiceRefusal> {
        let signed = self.book.get(digest).map_err(of_book)?;
        signed
            .contract()
            .in_force(now)
            .map_err(|error| of_contract(&error))?;
        Ok(signed)
    }

    /// Takes part in a run: contract, ledger, authorisation, dataset and budget must all hold.
    pub(super) async fn join(
        &self,
        digest: &Digest,
        number: SequenceNumber,
        run: RunNumber,
        authorisation: Digest,
        now: DateTime<Utc>,
    ) -> Result<Joined, ServiceRefusal> {
        let signed = self.contract(digest, now)?;
        let contract = signed.contract();
        self.check_registered(contract, number, now).await?;
        let view = self.check_run(contract, number, run, authorisation).await?;
        let id = RunId {
            contract: *digest,
            run,
        };
        let joined = self.take_part(&id, contract, number, &view).await?;
        let mut datasets = Vec::new();
        for (name, source) in &joined.datasets {
            let progress = *source.progress.lock().await;
            datasets.push(JoinedDataset {
                dataset: name.clone(),
                next_step: progress.next_step,
                capacity: u64::from(source.draw.format.capacity()),
            });
        }
        Ok(Joined {
            share: self.share(&id),
            datasets,
        })
    }

    /// Leases steps: on this agent's meter first, then on the ledger. What fails in between is spent.
    pub(super) async fn lease(
        &self,
        digest: &Digest,
        run: RunNumber,
        dataset: &DatasetName,
        first_step: u64,
        count: u64,
        now: DateTime<Utc>,
    ) -> Result<LeasedSteps, ServiceRefusal> {
        self.contract(digest, now)?;
        let joined = self.joined(digest, run).await?;
        let source = joined.source(dataset)?;
        let mut progress = source.progress.lock().await;
        if count == 0 || count > LEASE_STEPS_LIMIT {
            return Err(refuse(
                ServiceRefusalCode::Request,
                format_args!("expected 1 to {LEASE_STEPS_LIMIT} steps, got {count}"),
                "ask for fewer steps at a time",
            ));
        }
        if first_step != progress.next_step {
            return Err(refuse(
                ServiceRefusalCode::Rejoin,
                format_args!(
                    "expected a lease from step {} of {}, got one from {first_step}",
                    progress.next_step, source.id
                ),
                "join the run again",
            ));
        }
        let left = joined.contract.steps().get().saturating_sub(first_step);
        let count = count.min(left);
        if count == 0 {
            return Err(refuse(
                ServiceRefusalCode::Budget,
                format_args!("all {first_step} steps of run {run} are leased"),
                "begin the next run, if the contract allows one",
            ));
        }
        let granted = self.reserve(&joined, source, first_step, count).await?;
        // From here the steps are spent, whatever the ledger says.
        progress.next_step = first_step + granted;
        let request = Request::Lease {
            contract: joined.number,
            run,
            dataset: source.id.clone(),
            first_step,
            end_step: first_step + granted,
        };
        match self.ledgers.submit(&joined.contract, request).await {
            Ok(Response::Leased { .. }) => Ok(LeasedSteps {
                draw: Arc::clone(&source.draw),
                first_step,
                count: granted,
            }),
            Ok(_) => Err(internal(&"the ledger answers another question")),
            Err(error) => {
                // The ledger and this agent may now disagree on the next step: joining again settles it.
                self.forget(digest, run).await;
                Err(of_lease(&error))
            }
        }
    }

    /// Records that steps were trained on.
    pub(super) async fn settle(
        &self,
        digest: &Digest,
        run: RunNumber,
        dataset: &DatasetName,
        through: u64,
        checkpoint: Option<Digest>,
    ) -> Result<(), ServiceRefusal> {
        let joined = self.joined(digest, run).await?;
        let source = joined.source(dataset)?;
        let request = Request::Settle {
            contract: joined.number,
            run,
            dataset: source.id.clone(),
            served: through,
            checkpoint,
        };
        match self.ledgers.submit(&joined.contract, request).await {
            Ok(Response::Settled { .. }) => {}
            Ok(_) => return Err(internal(&"the ledger answers another question")),
            Err(error) => return Err(of_ledger(&error)),
        }
        let meter = Arc::clone(&self.meter);
        let (name, digest) = (dataset.clone(), *digest);
        blocking(move || meter.settle(&name, &digest, run, through)).await
    }

    /// Whether the ledger holds this contract under this number, signed by all and not revoked.
    async fn check_registered(
        &self,
        contract: &Contract,
        number: SequenceNumber,
        now: DateTime<Utc>,
    ) -> Result<(), ServiceRefusal> {
        let view = match self
            .ledgers
            .submit(contract, Request::Show { number })
            .await
        {
            Ok(Response::Contract(view)) => view,
            Ok(_) => return Err(internal(&"the ledger answers another question")),
            Err(error) => return Err(of_ledger(&error)),
        };
        if view.envelope.payload_digest() != contract.digest() {
            return Err(refuse(
                ServiceRefusalCode::Contract,
                format_args!(
                    "expected contract {number} to be {} on the ledger, got {}",
                    contract.digest(),
                    view.envelope.payload_digest()
                ),
                "name the number under which this contract was registered",
            ));
        }
        if let Some(revoked) = view.revoked {
            return Err(refuse(
                ServiceRefusalCode::Revoked,
                format_args!(
                    "contract {number} was revoked by {} at {}",
                    revoked.by, revoked.at
                ),
                "agree on a new contract",
            ));
        }
        SignedContract::from_envelope(view.envelope)
            .and_then(|signed| signed.check(now))
            .map_err(|error| of_contract(&error))
    }

    /// Whether the run is open, with the consumer's authorisation that the aggregator names.
    async fn check_run(
        &self,
        contract: &Contract,
        number: SequenceNumber,
        run: RunNumber,
        authorisation: Digest,
    ) -> Result<RunView, ServiceRefusal> {
        let request = Request::RunState {
            contract: number,
            run,
        };
        let view = match self.ledgers.submit(contract, request).await {
            Ok(Response::Run(view)) => view,
            Ok(_) => return Err(internal(&"the ledger answers another question")),
            Err(error) => return Err(of_ledger(&error)),
        };
        if view.status != RunStatus::Open {
            return Err(refuse(
                ServiceRefusalCode::Run,
                format_args!("expected run {run} of contract {number} to be open, it is over"),
                "open the next run, if the contract allows one",
            ));
        }
        if view.authorisation != Some(authorisation) {
            return Err(refuse(
                ServiceRefusalCode::Run,
                format_args!(
                    "expected the authorisation with which run {run} was opened last, got {authorisation}"
                ),
                "open the run on the ledger with the consumer's authorisation",
            ));
        }
        Ok(view)
    }

    async fn take_part(
        &self,
        id: &RunId,
        contract: &Contract,
        number: SequenceNumber,
        view: &RunView,
    ) -> Result<Arc<JoinedRun>, ServiceRefusal> {
        let mut joined = self.joined.lock().await;
        let known = joined.get(id).cloned();
        let mut datasets = BTreeMap::new();
        for (dataset, terms) in contract.datasets() {
            if dataset.owner != self.party {
                continue;
            }
            let Some(leased) = view
                .datasets
                .iter()
                .find(|leased| leased.dataset == dataset)
            else {
                return Err(internal(
                    &"the ledger knows other datasets of this contract",
                ));
            };
            self.reconcile(
                contract,
                &dataset,
                id.run,
                leased.leased,
                leased.leased_in_all_runs,
            )
            .await?;
            if leased.leased == 0 {
                self.expect_room_for_a_run(contract, &dataset, id.run)
                    .await?;
            }
            let draw = match known
                .as_ref()
                .and_then(|run| run.datasets.get(&dataset.name))
            {
                Some(source) => Arc::clone(&source.draw),
                None => Arc::new(self.open_dataset(contract, &dataset, terms).await?),
            };
            let progress = Progress {
                next_step: leased.leased,
            };
            datasets.insert(
                dataset.name.clone(),
                Source {
                    id: dataset,
                    draw,
                    progress: Mutex::new(progress),
                },
            );
        }
        let run = Arc::new(JoinedRun {
            number,
            run: id.run,
            contract: contract.clone(),
            datasets,
        });
        joined.insert(id.clone(), Arc::clone(&run));
        Ok(run)
    }

    /// Opens exactly the data that the contract names.
    async fn open_dataset(
        &self,
        contract: &Contract,
        id: &DatasetRef,
        terms: &Dataset,
    ) -> Result<Draw, ServiceRefusal> {
        let columns = terms.columns.iter().map(|column| column.name.clone());
        let records = self
            .open_columns(id, terms, columns.collect(), self.cache)
            .await?;
        let schema = DatasetSchema::new(terms.columns.clone()).map_err(|error| internal(&error))?;
        if records.len() != terms.records || *records.schema() != schema {
            return Err(refuse(
                ServiceRefusalCode::Dataset,
                format_args!(
                    "expected {} records of {schema:?} in {id}, as the contract says, the vault has {} of {:?}",
                    terms.records,
                    records.len(),
                    records.schema()
                ),
                "have a contract signed that describes the dataset as it is",
            ));
        }
        let format = contract
            .batch_format(terms)
            .map_err(|error| internal(&error))?;
        let capacity = contract.capacity(terms).map_err(|error| internal(&error))?;
        let capacity = u32::try_from(capacity.rows).map_err(|error| internal(&error))?;
        let rate = contract.sampling_rate();
        let sampler = match contract.entity() {
            None => Sampler::new(records.len(), rate, capacity),
            Some(entity) => {
                let entities = self.read_entities(id, terms, entity).await?;
                Sampler::by_entity(entities, entity.rows, rate, capacity)
            }
        };
        Ok(Draw {
            records,
            format,
            sampler: std::sync::Mutex::new(sampler.map_err(|error| internal(&error))?),
        })
    }

    async fn open_columns(
        &self,
        id: &DatasetRef,
        terms: &Dataset,
        columns: Vec<ColumnName>,
        cache: CacheSize,
    ) -> Result<Records, ServiceRefusal> {
        let (vault, name, manifest) = (Arc::clone(&self.vault), id.name.clone(), terms.manifest);
        tokio::task::spawn_blocking(move || Records::open(&vault, &name, manifest, &columns, cache))
            .await
            .map_err(|error| internal(&error))?
            .map_err(|error| other_dataset(id, &error))
    }

    /// Who the records belong to: as many entities as the contract counts, by the column that it names.
    async fn read_entities(
        &self,
        id: &DatasetRef,
        terms: &Dataset,
        entity: &Entity,
    ) -> Result<Entities, ServiceRefusal> {
        let column = vec![entity.column.name.clone()];
        // Every block is read once.
        let records = self
            .open_columns(id, terms, column, CacheSize::mebibytes(0))
            .await?;
        if *records.schema().columns() != [entity.column.clone()] {
            return Err(refuse(
                ServiceRefusalCode::Dataset,
                format_args!(
                    "expected `{}` of {} to name the entities of {id}, as the contract says, the vault has {:?}",
                    entity.column.name,
                    entity.column.kind,
                    records.schema()
                ),
                "have a contract signed that describes the dataset as it is",
            ));
        }
        let entities = tokio::task::spawn_blocking(move || Entities::of(&records))
            .await
            .map_err(|error| internal(&error))?
            .map_err(|error| other_dataset(id, &error))?;
        if Some(entities.len()) != terms.entities {
            return Err(refuse(
                ServiceRefusalCode::Dataset,
                format_args!(
                    "expected {} entities in {id}, as the contract says, the vault has {}",
                    terms.entities.unwrap_or_default(),
                    entities.len()
                ),
                "have a contract signed that describes the dataset as it is",
            ));
        }
        Ok(entities)
    }

    /// The larger of what this agent and the ledger remember is spent: neither can be rolled back alone.
    async fn reconcile(
        &self,
        contract: &Contract,
        id: &DatasetRef,
        run: RunNumber,
        leased: u64,
        leased_in_all_runs: u64,
    ) -> Result<(), ServiceRefusal> {
        let meter = Arc::clone(&self.meter);
        let (contract, name) = (contract.clone(), id.clone());
        blocking(move || meter.reconcile(&contract, &name, run, leased, leased_in_all_runs)).await
    }

    /// A run that could not be finished is not begun.
    async fn expect_room_for_a_run(
        &self,
        contract: &Contract,
        id: &DatasetRef,
        run: RunNumber,
    ) -> Result<(), ServiceRefusal> {
        let meter = Arc::clone(&self.meter);
        let (contract, id) = (contract.clone(), id.clone());
        blocking(move || meter.expect_room(&contract, &id, run, contract.steps())).await
    }

    async fn reserve(
        &self,
        joined: &JoinedRun,
        source: &Source,
        first_step: u64,
        count: u64,
    ) -> Result<u64, ServiceRefusal> {
        let meter = Arc::clone(&self.meter);
        let request = LeaseRequest {
            contract: joined.contract.clone(),
            dataset: source.id.clone(),
            run: joined.run,
            first_step,
            count,
        };
        blocking(move || meter.reserve(&request)).await
    }

    async fn joined(
        &self,
        digest: &Digest,
        run: RunNumber,
    ) -> Result<Arc<JoinedRun>, ServiceRefusal> {
        let id = RunId {
            contract: *digest,
            run,
        };
        self.joined.lock().await.get(&id).cloned().ok_or_else(|| {
            refuse(
                ServiceRefusalCode::Rejoin,
                format_args!("expected a run that this agent has joined, got run {run}"),
                "join the run first",
            )
        })
    }

    async fn forget(&self, digest: &Digest, run: RunNumber) {
        let id = RunId {
            contract: *digest,
            run,
        };
        self.joined.lock().await.remove(&id);
    }

    /// This agent's share of a run's checkpoint key: a MAC of the run under a key that never leaves the vault.
    fn share(&self, id: &RunId) -> KeyShare {
        let mut message = b"tributary checkpoint share v1".to_vec();
        message.extend_from_slice(id.contract.as_bytes());
        message.extend_from_slice(&id.run.get().to_be_bytes());
        KeyShare::from_bytes(self.share_key.tag(&message))
    }
}

fn other_dataset(id: &DatasetRef, error: &dyn std::fmt::Display) -> ServiceRefusal {
    tracing::error!(dataset = %id, %error, "a dataset of a contract cannot be opened");
    refuse(
        ServiceRefusalCode::Dataset,
        format_args!("{id} is not what the contract names: {error}"),
        "the provider runs `agent dataset verify` and restores the dataset, or a new contract names the new one",
    )
}

impl JoinedRun {
    fn source(&self, dataset: &DatasetName) -> Result<&Source, ServiceRefusal> {
        self.datasets.get(dataset).ok_or_else(|| {
            refuse(
                ServiceRefusalCode::Dataset,
                format_args!("expected a dataset of this contract and agent, got {dataset}"),
                "name one that the contract lists",
            )
        })
    }
}

/// The meter writes to the disk: off the threads that move packets.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MeterError> + Send + 'static,
) -> Result<T, ServiceRefusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(&error))?
        .map_err(|error| match error.is_budget() {
            true => refuse(ServiceRefusalCode::Budget, &error, error.hint()),
            false => internal(&error),
        })
}
