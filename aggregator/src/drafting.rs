//! Writing a contract from what providers offer and what the consumer wants.

use chrono::{DateTime, Utc};
use tributary_accounting::{
    AccountingError, Capacity, Delta, Epsilon, NoiseMultiplier, SamplingRate, Steps,
    calibrate_noise,
};
use tributary_attest::Policy;
use tributary_protocol::{
    AccountantName, AdaptiveClipping, Attestation, Average, Clipping, Column, ColumnName,
    ColumnType, Combine, Dataset, DatasetName, Digest, Disclosure, Document, Entity, Input, Label,
    LedgerTerms, Loss, Metrics, Model, Offer, Optimiser, Party, PartyKey, PartyName, PartyRole,
    People, Pipeline, Privacy, Schedule, SealingKey, Unit, Validity,
};

/// What the consumer wants; the rest of a contract follows from it and from the offers.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// What the model is for.
    pub purpose: String,
    /// The consumer's name.
    pub consumer: PartyName,
    /// The consumer's key.
    pub key: PartyKey,
    /// The key for which the model is sealed.
    pub sealing_key: SealingKey,
    /// When runs may begin.
    pub validity: Validity,
    /// How many runs may be begun.
    pub runs: u32,
    /// The most epsilon that all runs together may spend on each dataset.
    pub epsilon: f64,
    /// The probability that epsilon does not bound.
    pub delta: f64,
    /// How steps are turned into epsilon.
    pub accountant: AccountantName,
    /// The probability with which each record takes part in each step.
    pub sampling_rate: f64,
    /// The noise in clipping norms; the least that keeps all runs within `epsilon`, where left out.
    pub noise_multiplier: Option<f64>,
    /// The longest gradient that one record may contribute.
    pub clipping_norm: f64,
    /// How gradients are clipped to it.
    pub clipping: ClippingWish,
    /// Steps of one run.
    pub steps: u64,
    /// What training makes small.
    pub loss: Loss,
    /// How training makes the loss small.
    pub optimiser: Optimiser,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// The average of the weights that is measured and sealed.
    pub average: Option<Average>,
    /// The column that feeds the model, and how it is scaled.
    pub input: Input,
    /// The column that says what the model should answer.
    pub label: ColumnName,
    /// How many classes the bytes of an image of classes may be: what the column itself does not say.
    pub classes: Option<u32>,
    /// Whose presence is hidden, where it is not a record's.
    pub entity: Option<EntityWish>,
    /// The digest of the model's ONNX file.
    pub model: Digest,
    /// What agents demand of the aggregator.
    pub aggregator: Policy,
    /// What the aggregator demands of agents.
    pub agents: Policy,
    /// Seconds after which a channel must be attested anew.
    pub reattest_seconds: u32,
    /// The provider that keeps the ledger; the first offer's where left out.
    pub ledger: Option<PartyName>,
    /// Which measurements of the model leave the aggregator.
    pub metrics: Metrics,
}

/// Entities as the unit of privacy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityWish {
    /// The column that names the entity of each record, in all datasets.
    pub column: ColumnName,
    /// The most records of one that a step may see.
    pub rows: u32,
}

/// How gradients shall be clipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClippingWish {
    /// In this way.
    As(Clipping),
    /// Adaptively with the settings of Andrew et al. 2021, where the noise on the count follows from the average batch.
    Adaptive,
}

/// Why no contract can be written.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// Nobody offers anything.
    #[error("expected at least one offer, got none")]
    NoOffers,
    /// Two offers of one party with different keys.
    #[error("expected one key of {party}, got offers signed by {first} and {second}")]
    TwoKeys {
        /// The party.
        party: PartyName,
        /// A key.
        first: PartyKey,
        /// Another key.
        second: PartyKey,
    },
    /// One dataset twice.
    #[error("expected each dataset once, got two offers of {owner}/{name}")]
    Twice {
        /// The provider.
        owner: PartyName,
        /// The dataset.
        name: DatasetName,
    },
    /// A dataset without a column that the pipeline reads.
    #[error("expected a column `{column}` in {owner}/{name}, it has {known}")]
    NoColumn {
        /// The column.
        column: ColumnName,
        /// The provider.
        owner: PartyName,
        /// The dataset.
        name: DatasetName,
        /// The columns there are.
        known: String,
    },
    /// A column that holds something else than its place in the pipeline takes.
    #[error("expected {expected} in the column `{column}` of {owner}/{name}, got {got}")]
    ColumnType {
        /// The column.
        column: ColumnName,
        /// The provider.
        owner: PartyName,
        /// The dataset.
        name: DatasetName,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        got: ColumnType,
    },
    /// Labels say it themselves.
    #[error(
        "expected no number of classes, or {own}, which the labels in the column `{column}` have; got {asked}"
    )]
    OtherClasses {
        /// The column.
        column: ColumnName,
        /// Its classes.
        own: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Images of classes do not say how many there are.
    #[error("expected a number of classes for the masks in the column `{0}`")]
    Classes(ColumnName),
    /// An offer that does not count what is to be protected.
    #[error("expected the offer of {owner}/{name} to count the entities of its column `{column}`, {}", which_counted(.counted))]
    NoEntities {
        /// The provider.
        owner: PartyName,
        /// The dataset.
        name: DatasetName,
        /// The column.
        column: ColumnName,
        /// The column whose entities it counts, if any.
        counted: Option<ColumnName>,
    },
    /// Datasets that cannot be joined, since their columns differ.
    #[error(
        "expected the column `{column}` to hold the same in all datasets: {first} has {first_kind}, {other} has {other_kind}"
    )]
    Differ {
        /// The column.
        column: ColumnName,
        /// The first dataset.
        first: String,
        /// What it holds there.
        first_kind: ColumnType,
        /// Another dataset.
        other: String,
        /// What it holds there.
        other_kind: ColumnType,
    },
    /// The wishes cannot be met.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}

fn which_counted(column: &Option<ColumnName>) -> String {
    match column {
        None => "it counts none".to_owned(),
        Some(column) => format!("it counts those of `{column}`"),
    }
}

impl DraftError {
    /// How to mend it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoOffers => {
                "ask each provider for `agent dataset offer`, and pass the files with --offer"
            }
            Self::TwoKeys { .. } => {
                "ask the provider which key is its own, and for offers signed by that one"
            }
            Self::Twice { .. } => "pass only the newest offer of each dataset",
            Self::NoColumn { .. } => {
                "name the columns with --input and --label, or leave the offer out"
            }
            Self::ColumnType { .. } => {
                "name another column with --input or --label, or leave the offer out"
            }
            Self::OtherClasses { .. } => "leave --classes out",
            Self::Classes(_) => "give --classes, such as 2 for masks of something and all else",
            Self::NoEntities { .. } => {
                "ask the provider for `agent dataset offer --entity` with this column"
            }
            Self::Differ { .. } => {
                "leave one of the offers out, or have its provider import its data anew"
            }
            Self::Accounting(_) => "change --epsilon, --delta, --sampling-rate, --steps or --runs",
        }
    }
}

/// Writes the contract.
///
/// # Errors
/// Where the offers do not fit the wishes or each other, and where no noise keeps them within epsilon. Whatever else a
/// contract must meet is checked when it is signed.
pub fn draft(wishes: Wishes, offers: &[Offer]) -> Result<Document, DraftError> {
    let ledger = match (&wishes.ledger, offers.first()) {
        (_, None) => return Err(DraftError::NoOffers),
        (Some(keeper), _) => keeper.clone(),
        (None, Some(first)) => first.party().clone(),
    };
    let mut parties = providers(offers)?;
    parties.push(Party {
        name: wishes.consumer,
        role: PartyRole::Consumer,
        key: wishes.key,
    });
    let (mut datasets, classes) =
        datasets(offers, &wishes.input.column, &wishes.label, wishes.epsilon)?;
    let classes = match (classes, wishes.classes) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(DraftError::OtherClasses {
                column: wishes.label,
                own,
                asked,
            });
        }
        (Some(own), _) => own,
        (None, Some(asked)) => asked,
        (None, None) => return Err(DraftError::Classes(wishes.label)),
    };
    let unit = match &wishes.entity {
        None => Unit::Record,
        Some(wish) => Unit::Entity(entity(wish, offers, &mut datasets)?),
    };
    let noise_multiplier = match wishes.noise_multiplier {
        Some(noise) => noise,
        None => {
            let steps = Steps::new(wishes.steps.saturating_mul(wishes.runs.into()));
            let rate = SamplingRate::new(wishes.sampling_rate).map_err(AccountingError::from)?;
            least_noise(
                &datasets,
                wishes.accountant,
                wishes.epsilon,
                wishes.delta,
                rate,
                steps,
            )?
            .get()
        }
    };
    let average_batch = wishes.sampling_rate * datasets.iter().map(units).sum::<u64>() as f64;
    Ok(Document {
        version: 1,
        purpose: wishes.purpose,
        parties,
        sealing_key: wishes.sealing_key,
        validity: wishes.validity,
        runs: wishes.runs,
        datasets,
        pipeline: Pipeline {
            combine: Combine::Union,
            input: wishes.input,
            label: Label {
                column: wishes.label,
                classes,
            },
            model: Model { onnx: wishes.model },
            loss: wishes.loss,
            optimiser: wishes.optimiser,
            schedule: wishes.schedule,
            average: wishes.average,
            steps: wishes.steps,
        },
        privacy: Privacy {
            unit,
            people: People::Disjoint,
            sampling_rate: wishes.sampling_rate,
            noise_multiplier,
            clipping_norm: wishes.clipping_norm,
            clipping: wishes.clipping.settled(average_batch, noise_multiplier),
            delta: wishes.delta,
            accountant: wishes.accountant,
        },
        attestation: Attestation {
            aggregator: wishes.aggregator,
            agents: wishes.agents,
            interval_seconds: wishes.reattest_seconds,
        },
        ledger: LedgerTerms {
            members: vec![ledger],
        },
        disclosure: Disclosure {
            progress: true,
            metrics: wishes.metrics,
        },
    })
}

/// A span of `days` that begins now, to the second; a minute earlier, for parties whose clocks are behind.
pub fn validity_from(now: DateTime<Utc>, days: u32) -> Validity {
    use chrono::{SubsecRound as _, TimeDelta};
    let now = now.trunc_subsecs(0);
    Validity {
        not_before: now - TimeDelta::minutes(1),
        not_after: now + TimeDelta::days(days.into()),
    }
}

impl ClippingWish {
    fn settled(self, average_batch: f64, noise_multiplier: f64) -> Clipping {
        match self {
            Self::As(clipping) => clipping,
            Self::Adaptive => Clipping::Adaptive(AdaptiveClipping {
                quantile: 0.5,
                learning_rate: 0.2,
                // The paper's twentieth; of small batches more, so that the gradients' noise grows by at most an eighth.
                count_noise: (average_batch / 20.0).max(noise_multiplier),
            }),
        }
    }
}

fn providers(offers: &[Offer]) -> Result<Vec<Party>, DraftError> {
    let mut parties: Vec<Party> = Vec::new();
    for offer in offers {
        let known = parties.iter().find(|party| party.name == *offer.party());
        match known {
            Some(party) if party.key != offer.key() => {
                return Err(DraftError::TwoKeys {
                    party: party.name.clone(),
                    first: party.key,
                    second: offer.key(),
                });
            }
            Some(_) => {}
            None => parties.push(Party {
                name: offer.party().clone(),
                role: PartyRole::Provider,
                key: offer.key(),
            }),
        }
    }
    Ok(parties)
}

fn datasets(
    offers: &[Offer],
    input: &ColumnName,
    label: &ColumnName,
    epsilon: f64,
) -> Result<(Vec<Dataset>, Option<u32>), DraftError> {
    let mut datasets: Vec<Dataset> = Vec::new();
    let mut classes = None;
    for offer in offers {
        let (owner, name) = (offer.party(), offer.manifest().dataset());
        if datasets
            .iter()
            .any(|dataset| (&dataset.owner, &dataset.name) == (owner, name))
        {
            return Err(DraftError::Twice {
                owner: owner.clone(),
                name: name.clone(),
            });
        }
        let input = column(offer, input)?;
        let label = column(offer, label)?;
        let refuse = |column: &Column, expected| DraftError::ColumnType {
            column: column.name.clone(),
            owner: owner.clone(),
            name: name.clone(),
            expected,
            got: column.kind,
        };
        if !matches!(
            input.kind,
            ColumnType::ImageU8 { .. } | ColumnType::U8Bytes { .. }
        ) {
            return Err(refuse(input, "images or bytes"));
        }
        match label.kind {
            ColumnType::Label { classes: count } => classes = Some(count),
            ColumnType::ImageU8 { channels: 1, .. } => {}
            _ => return Err(refuse(label, "labels, or images of classes")),
        }
        let columns = vec![input.clone(), label.clone()];
        if let Some(first) = datasets.first() {
            for (ours, theirs) in first.columns.iter().zip(&columns) {
                if ours != theirs {
                    return Err(DraftError::Differ {
                        column: ours.name.clone(),
                        first: format!("{}/{}", first.owner, first.name),
                        first_kind: ours.kind,
                        other: format!("{owner}/{name}"),
                        other_kind: theirs.kind,
                    });
                }
            }
        }
        datasets.push(Dataset {
            owner: owner.clone(),
            name: name.clone(),
            manifest: offer.manifest_digest(),
            records: offer.manifest().rows(),
            entities: None,
            columns,
            epsilon,
        });
    }
    Ok((datasets, classes))
}

/// Counts every dataset's entities, by one column that is the same in all.
fn entity(
    wish: &EntityWish,
    offers: &[Offer],
    datasets: &mut [Dataset],
) -> Result<Entity, DraftError> {
    let mut first: Option<(&Offer, &Column)> = None;
    for (offer, dataset) in offers.iter().zip(datasets) {
        let here = column(offer, &wish.column)?;
        if let Some((other, there)) = first
            && here.kind != there.kind
        {
            return Err(DraftError::Differ {
                column: here.name.clone(),
                first: format!("{}/{}", other.party(), other.manifest().dataset()),
                first_kind: there.kind,
                other: format!("{}/{}", dataset.owner, dataset.name),
                other_kind: here.kind,
            });
        }
        first.get_or_insert((offer, here));
        let counted = offer.entities();
        match counted.filter(|counted| counted.column == wish.column) {
            Some(counted) => dataset.entities = Some(counted.count),
            None => {
                return Err(DraftError::NoEntities {
                    owner: dataset.owner.clone(),
                    name: dataset.name.clone(),
                    column: wish.column.clone(),
                    counted: counted.map(|counted| counted.column.clone()),
                });
            }
        }
    }
    match first {
        Some((_, column)) => Ok(Entity {
            column: column.clone(),
            rows: wish.rows,
        }),
        None => Err(DraftError::NoOffers),
    }
}

/// Units of privacy of a dataset.
fn units(dataset: &Dataset) -> u64 {
    dataset.entities.unwrap_or(dataset.records)
}

fn column<'a>(offer: &'a Offer, name: &ColumnName) -> Result<&'a Column, DraftError> {
    let columns = offer.manifest().schema().columns();
    columns
        .iter()
        .find(|column| column.name == *name)
        .ok_or_else(|| {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            DraftError::NoColumn {
                column: name.clone(),
                owner: offer.party().clone(),
                name: offer.manifest().dataset().clone(),
                known: known.join(", "),
            }
        })
}

/// The least noise with which every dataset keeps within epsilon: at the smallest delta that overflowing batches leave.
fn least_noise(
    datasets: &[Dataset],
    accountant: AccountantName,
    epsilon: f64,
    delta: f64,
    rate: SamplingRate,
    steps: Steps,
) -> Result<NoiseMultiplier, AccountingError> {
    let (epsilon, delta) = (Epsilon::new(epsilon)?, Delta::new(delta)?);
    let mut least = delta;
    for dataset in datasets {
        let left = Capacity::derive(units(dataset), rate, steps, delta)?.remaining_delta;
        if left.get() < least.get() {
            least = left;
        }
    }
    calibrate_noise(accountant.accountant(), epsilon, least, rate, steps)
}
