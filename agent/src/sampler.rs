//! The Poisson sample of a step, and the batch that is made of it.
//!
//! The privacy of a run rests on this draw: each record takes part in a step with the contract's probability, independently
//! of all others and of every other step, and nobody but the agent knows who did.

use std::fmt;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng as _};
use tributary_accounting::SamplingRate;
use tributary_protocol::{
    BatchError, BatchFormat, Column, ColumnType, DatasetSchema, ENTITY_INDEX,
};

use crate::entities::Entities;
use crate::vault::{Records, VaultError};

/// Draws the sample of each step of a run.
///
/// Each record is compared with an integer threshold, `floor(rate * 2^64)`, against 64 uniform bits: exact for every rate of
/// at least 2^-11 that an `f64` can state, else below the rate by less than 2^-64, so never above what is accounted for.
/// Geometric skips would need fewer random bits, but a logarithm, whose rounding is a bias that nobody has bounded.
///
/// The generator is ChaCha20, seeded from the operating system when the sampler is made. Its state is not stored and no
/// caller can choose it: a run that goes on after a crash draws anew, under steps of their own numbers and their own cost.
///
/// ```
/// use tributary_accounting::SamplingRate;
/// use tributary_agent::Sampler;
/// let mut sampler = Sampler::new(15_000, SamplingRate::new(0.02)?, 450)?;
/// let sample = sampler.draw();
/// assert!(sample.len() <= 450);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sampler<R = ChaCha20Rng> {
    generator: R,
    /// Records, or entities.
    units: u32,
    threshold: Threshold,
    capacity: u32,
    groups: Option<Groups>,
}

/// Whose records are drawn together.
struct Groups {
    entities: Entities,
    /// The most records of one.
    rows: usize,
}

/// The records that take part in one step, ascending; by entity, those of each together. Empty samples are samples too.
///
/// Who takes part is as secret as the records: it prints nothing, and only batches are made of it.
pub struct Sample {
    indices: Vec<u32>,
    /// The entity of each record, numbered from 0 in this sample, where the unit of privacy is an entity.
    entities: Option<Vec<u32>>,
}

/// Why there is no sampler or no batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// The operating system gives no seed.
    #[error("the operating system gives no random seed, so nothing can be sampled")]
    Entropy,
    /// No records or entities, or more than are counted in 32 bits.
    #[error("expected 1 to 4294967295 records or entities, got {0}")]
    Records(u64),
    /// A cap that lets nobody in.
    #[error("expected at least 1 record of an entity in a step")]
    EntityRows,
    /// No room for a record.
    #[error("expected a capacity of at least 1 record")]
    Capacity,
    /// A batch of other columns than the records'.
    #[error("the records were opened with other columns than the batch has")]
    OtherColumns,
    /// A sample beyond the capacity of the batch.
    #[error("a sample of {got} records does not fit a batch of {capacity}")]
    Overflow {
        /// Rows of the batch.
        capacity: u32,
        /// Records of the sample.
        got: usize,
    },
    /// The batch could not be made.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records could not be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// When 64 uniform bits select a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    Always,
    Below(u64),
}

impl Sampler {
    /// A sampler of a dataset of `records` records. Samples of more than `capacity` are cut: see
    /// [`Capacity`](tributary_accounting::Capacity), which makes that rare and says what it costs.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no seed, and for numbers that make no sense.
    pub fn new(records: u64, rate: SamplingRate, capacity: u32) -> Result<Self, SamplerError> {
        Self::with_generator(Self::generator()?, records, rate, capacity)
    }

    /// A sampler of entities: each takes part in a step with the probability `rate`, independently of all others, with at
    /// most `rows` of its records, of which every subset is as likely as another. Samples of more than `capacity` entities
    /// are cut as those of records are.
    ///
    /// # Errors
    ///
    /// As [`Sampler::new`], and where `rows` is 0.
    pub fn by_entity(
        entities: Entities,
        rows: u32,
        rate: SamplingRate,
        capacity: u32,
    ) -> Result<Self, SamplerError> {
        Self::with_generator(Self::generator()?, entities.len(), rate, capacity)?
            .grouped(entities, rows)
    }

    fn generator() -> Result<ChaCha20Rng, SamplerError> {
        ChaCha20Rng::try_from_os_rng().map_err(|_| SamplerError::Entropy)
    }
}

impl<R: RngCore> Sampler<R> {
    fn with_generator(
        generator: R,
        records: u64,
        rate: SamplingRate,
        capacity: u32,
    ) -> Result<Self, SamplerError> {
        let units = u32::try_from(records)
            .ok()
            .filter(|units| *units > 0)
            .ok_or(SamplerError::Records(records))?;
        if capacity == 0 {
            return Err(SamplerError::Capacity);
        }
        Ok(Self {
            generator,
            units,
            threshold: Threshold::of(rate),
            capacity,
            groups: None,
        })
    }

    fn grouped(self, entities: Entities, rows: u32) -> Result<Self, SamplerError> {
        if rows == 0 {
            return Err(SamplerError::EntityRows);
        }
        let rows = rows as usize;
        Ok(Self {
            groups: Some(Groups { entities, rows }),
            ..self
        })
    }

    /// The sample of the next step; independent of all before.
    pub fn draw(&mut self) -> Sample {
        let mut units = match self.threshold {
            Threshold::Always => (0..self.units).collect(),
            Threshold::Below(threshold) => self.select(threshold),
        };
        let capacity = self.capacity as usize;
        self.cut(&mut units, capacity);
        // Taken out while records of each are drawn, which needs the generator.
        match self.groups.take() {
            None => Sample {
                indices: units,
                entities: None,
            },
            Some(groups) => {
                let sample = self.records_of(&units, &groups);
                self.groups = Some(groups);
                sample
            }
        }
    }

    /// The records of some entities, at most so many of each as a step may see.
    fn records_of(&mut self, units: &[u32], groups: &Groups) -> Sample {
        let mut indices = Vec::new();
        let mut entities = Vec::new();
        for (number, unit) in (0..).zip(units) {
            let mut records = groups.entities.records(*unit).to_vec();
            self.cut(&mut records, groups.rows);
            entities.resize(entities.len() + records.len(), number);
            indices.extend(records);
        }
        Sample {
            indices,
            entities: Some(entities),
        }
    }

    /// Compares 64 bits with the threshold, 32 at a time: the lower half decides once in four billion records.
    fn select(&mut self, threshold: u64) -> Vec<u32> {
        let (high, low) = ((threshold >> 32) as u32, threshold as u32);
        let generator = &mut self.generator;
        (0..self.units)
            .filter(|_| match generator.next_u32().cmp(&high) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => generator.next_u32() < low,
                std::cmp::Ordering::Greater => false,
            })
            .collect()
    }

    /// Leaves `capacity` of them, every subset as likely as another: the beginning of a Fisher-Yates shuffle.
    fn cut(&mut self, indices: &mut Vec<u32>, capacity: usize) {
        if indices.len() <= capacity {
            return;
        }
        for position in 0..capacity {
            // A sample has at most 2^32 - 1 records.
            let left = (indices.len() - position) as u32;
            let other = position + self.below(left) as usize;
            indices.swap(position, other);
        }
        indices.truncate(capacity);
        indices.sort_unstable();
    }

    /// Uniform below `bound`, by rejection: without the bias of a remainder.
    fn below(&mut self, bound: u32) -> u32 {
        let accepted = u32::MAX - u32::MAX % bound;
        loop {
            let bits = self.generator.next_u32();
            if bits < accepted {
                return bits % bound;
            }
        }
    }
}

impl Sample {
    /// How many records take part.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True where none does.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

impl Threshold {
    /// `floor(rate * 2^64)`: multiplying by a power of two is exact, and the cast cuts.
    fn of(rate: SamplingRate) -> Self {
        const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
        let scaled = rate.get() * TWO_TO_64;
        if scaled >= TWO_TO_64 {
            Self::Always
        } else {
            Self::Below(scaled as u64)
        }
    }
}

impl<R> fmt::Debug for Sampler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampler")
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sample")
    }
}

/// The frame of a sample: its records in the first rows, zeros in the rest, of the one length that all frames of the format
/// have. How many records are present stands inside, where only the attested peer can read it.
///
/// # Errors
///
/// Where the records were opened with other columns than the format's, or cannot be read.
pub fn padded_batch(
    records: &Records,
    format: &BatchFormat,
    sample: &Sample,
) -> Result<Bytes, SamplerError> {
    let columns = records.schema().columns().len();
    if !same_columns(records.schema(), format.schema(), sample.entities.is_some()) {
        return Err(SamplerError::OtherColumns);
    }
    let overflow = || SamplerError::Overflow {
        capacity: format.capacity(),
        got: sample.len(),
    };
    let present = u32::try_from(sample.len()).map_err(|_| overflow())?;
    if present > format.capacity() {
        return Err(overflow());
    }
    let mut frame = format.frame();
    records.fill(&sample.indices, &mut frame)?;
    if let Some(entities) = &sample.entities {
        let values = frame.column_mut(columns).chunks_exact_mut(size_of::<i64>());
        for (value, entity) in values.zip(entities) {
            value.copy_from_slice(&i64::from(*entity).to_le_bytes());
        }
    }
    Ok(frame.finish(present)?)
}

/// Whether a batch has the columns of the records and, by entity, one more that numbers entities.
fn same_columns(records: &DatasetSchema, batch: &DatasetSchema, by_entity: bool) -> bool {
    let numbers =
        |column: &Column| column.name.as_str() == ENTITY_INDEX && column.kind == ColumnType::I64;
    match (by_entity, batch.columns()) {
        (false, columns) => records.columns() == columns,
        (true, [columns @ .., last]) => records.columns() == columns && numbers(last),
        (true, []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    use crate::entities::tests::entities;

    fn sampler(seed: u64, records: u64, rate: f64, capacity: u32) -> Sampler {
        Sampler::with_generator(
            ChaCha20Rng::seed_from_u64(seed),
            records,
            SamplingRate::new(rate).unwrap(),
            capacity,
        )
        .unwrap()
    }

    /// Pearson's statistic, and the bound that it exceeds once in a million times (Wilson and Hilferty 1931).
    fn check_chi_square(observed: &[f64], expected: &[f64]) {
        let pairs = observed.iter().zip(expected);
        let statistic: f64 = pairs.map(|(o, e)| (o - e) * (o - e) / e).sum();
        let freedom = (observed.len() - 1) as f64;
        let cube = 1.0 - 2.0 / (9.0 * freedom) + 4.753 * (2.0 / (9.0 * freedom)).sqrt();
        let bound = freedom * cube.powi(3);
        assert!(statistic < bound, "{statistic} >= {bound}");
        // Far too even would not be random either; of few cells that can happen.
        assert!(
            freedom < 9.0 || statistic > freedom / 10.0,
            "{statistic} of {freedom}"
        );
    }

    #[test]
    fn every_record_is_drawn_as_often_as_the_rate_says() {
        let (records, rate, steps) = (200, 0.03, 20_000);
        let mut sampler = sampler(1, records, rate, u32::MAX);
        let mut counts = vec![0.0; records as usize];
        for _ in 0..steps {
            for index in sampler.draw().indices {
                counts[index as usize] += 1.0;
            }
        }
        // Each count is Binomial(steps, rate), whose variance is smaller than the mean by the factor 1 - rate.
        let expected = vec![steps as f64 * rate; records as usize];
        check_chi_square(&counts, &expected);
    }

    #[test]
    fn sizes_are_binomial() {
        let (records, rate, steps) = (50_u64, 0.1_f64, 40_000);
        let mut sampler = sampler(2, records, rate, u32::MAX);
        let mut observed = vec![0.0; 14];
        for _ in 0..steps {
            observed[sampler.draw().len().min(13)] += 1.0;
        }
        let mut expected = vec![0.0; 14];
        let mut probability = (1.0 - rate).powi(records as i32);
        for size in 0..=records {
            expected[(size as usize).min(13)] += probability * f64::from(steps);
            probability *= (records - size) as f64 / (size + 1) as f64 * rate / (1.0 - rate);
        }
        check_chi_square(&observed, &expected);
    }

    #[test]
    fn pairs_of_records_and_of_steps_are_independent() {
        let mut sampler = sampler(3, 2, 0.5, u32::MAX);
        let mut within = vec![0.0; 4];
        let mut across = vec![0.0; 4];
        let mut last = 0;
        for _ in 0..40_000 {
            let sample: usize = sampler.draw().indices.iter().map(|i| 1 << i).sum();
            within[sample] += 1.0;
            across[(sample & 1) + 2 * (last & 1)] += 1.0;
            last = sample;
        }
        check_chi_square(&within, &[10_000.0; 4]);
        check_chi_square(&across, &[10_000.0; 4]);
    }

    #[test]
    fn rate_one_takes_all_and_the_smallest_rates_take_next_to_none() {
        let all = sampler(4, 1000, 1.0, u32::MAX).draw();
        assert_eq!(all.indices, (0..1000).collect::<Vec<_>>());
        assert!(sampler(4, 1000, f64::MIN_POSITIVE, 1).draw().is_empty());
        assert!(sampler(4, 1000, 1e-12, 1).draw().is_empty());
    }

    #[test]
    fn thresholds_are_exact_and_never_above_the_rate() {
        let of = |rate| Threshold::of(SamplingRate::new(rate).unwrap());
        assert_eq!(of(0.5), Threshold::Below(1 << 63));
        assert_eq!(of(1.0), Threshold::Always);
        assert_eq!(
            of(1.0 - f64::EPSILON / 2.0),
            Threshold::Below(u64::MAX - 2047)
        );
        assert_eq!(
            of((0.75_f64).powi(0) * 2_f64.powi(-65)),
            Threshold::Below(0)
        );
        // 3 * 2^-65 is one and a half thresholds: cut to one.
        assert_eq!(of(3.0 * 2_f64.powi(-65)), Threshold::Below(1));
    }

    #[test]
    fn the_lower_half_of_the_threshold_decides_where_the_upper_is_met() {
        struct Fixed(Vec<u32>);
        impl RngCore for Fixed {
            fn next_u32(&mut self) -> u32 {
                self.0.pop().unwrap()
            }
            fn next_u64(&mut self) -> u64 {
                unreachable!("the sampler draws 32 bits at a time")
            }
            fn fill_bytes(&mut self, _: &mut [u8]) {
                unreachable!("the sampler draws 32 bits at a time")
            }
        }
        let threshold = (7_u64 << 32) + 9;
        // For five records: below, above, equal and below, equal and equal, equal and above.
        let mut bits = vec![6, 8, 7, 8, 7, 9, 7, 10];
        bits.reverse();
        let mut sampler = Sampler {
            generator: Fixed(bits),
            units: 5,
            threshold: Threshold::Below(threshold),
            capacity: 5,
            groups: None,
        };
        assert_eq!(sampler.draw().indices, [0, 2]);
    }

    #[test]
    fn a_cut_leaves_every_subset_with_the_same_chance() {
        let mut sampler = sampler(5, 5, 1.0, 2);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            let sample = sampler.draw();
            *counts.entry(sample.indices).or_insert(0.0) += 1.0;
        }
        let observed: Vec<f64> = counts.into_values().collect();
        check_chi_square(&observed, &[2000.0; 10]);
    }

    #[test]
    fn two_samplers_of_the_system_draw_differently() {
        let draw = || {
            let rate = SamplingRate::new(0.5).unwrap();
            Sampler::new(10_000, rate, 10_000).unwrap().draw().indices
        };
        assert_ne!(draw(), draw());
    }

    #[test]
    fn samples_do_not_print() {
        let mut sampler = sampler(6, 10, 0.5, 10);
        assert_eq!(
            format!("{:?} {sampler:?}", sampler.draw()),
            "Sample Sampler"
        );
    }

    /// A sampler of entities, by the entity of each record.
    fn by_entity(seed: u64, of_record: &[u32], rows: u32, rate: f64, capacity: u32) -> Sampler {
        let entities = entities(of_record);
        sampler(seed, entities.len(), rate, capacity)
            .grouped(entities, rows)
            .unwrap()
    }

    #[test]
    fn entities_are_drawn_as_often_as_the_rate_says_whatever_they_have() {
        // Entity 0 has one record, entity 19 has twenty.
        let of_record: Vec<u32> = (0..20_u32)
            .flat_map(|entity| vec![entity; entity as usize + 1])
            .collect();
        let steps = 20_000;
        let mut sampler = by_entity(7, &of_record, 3, 0.05, u32::MAX);
        let mut counts = vec![0.0; 20];
        for _ in 0..steps {
            let sample = sampler.draw();
            let entities = sample.entities.as_ref().unwrap();
            for run in sample
                .indices
                .chunk_by(|a, b| of_record[*a as usize] == of_record[*b as usize])
            {
                let entity = of_record[run[0] as usize];
                assert_eq!(run.len(), 3.min(entity as usize + 1));
                counts[entity as usize] += 1.0;
            }
            assert_eq!(entities.len(), sample.len());
            let expected = sample.indices.windows(2).zip(entities.windows(2));
            for (records, numbers) in expected {
                let same = of_record[records[0] as usize] == of_record[records[1] as usize];
                assert_eq!(numbers[1] - numbers[0], u32::from(!same));
            }
        }
        check_chi_square(&counts, &[f64::from(steps) * 0.05; 20]);
    }

    #[test]
    fn of_an_entity_with_many_records_every_subset_is_as_likely() {
        let mut sampler = by_entity(8, &[0; 5], 2, 1.0, 1);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            *counts.entry(sampler.draw().indices).or_insert(0.0) += 1.0;
        }
        let observed: Vec<f64> = counts.into_values().collect();
        check_chi_square(&observed, &[2000.0; 10]);
    }

    #[test]
    fn a_sample_of_too_many_entities_is_cut_to_whole_entities() {
        let mut sampler = by_entity(9, &[0, 0, 1, 1, 2, 2, 3, 3], 2, 1.0, 3);
        for _ in 0..100 {
            let sample = sampler.draw();
            assert_eq!(sample.entities.as_deref(), Some(&[0, 0, 1, 1, 2, 2][..]));
        }
    }

    #[test]
    fn a_cap_of_no_records_is_refused() {
        let rate = SamplingRate::new(0.5).unwrap();
        assert!(matches!(
            Sampler::by_entity(entities(&[0, 1]), 0, rate, 1),
            Err(SamplerError::EntityRows)
        ));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let rate = SamplingRate::new(0.5).unwrap();
        assert!(matches!(
            Sampler::new(0, rate, 1),
            Err(SamplerError::Records(0))
        ));
        assert!(matches!(
            Sampler::new(1 << 32, rate, 1),
            Err(SamplerError::Records(_))
        ));
        assert!(matches!(
            Sampler::new(1, rate, 0),
            Err(SamplerError::Capacity)
        ));
    }

    proptest! {
        #[test]
        fn samples_are_ascending_within_range_and_capacity(
            seed in any::<u64>(), records in 1_u64..2000, rate in 0.0001_f64..=1.0, capacity in 1_u32..100,
        ) {
            let sample = sampler(seed, records, rate, capacity).draw();
            prop_assert!(sample.len() <= capacity as usize);
            prop_assert!(sample.indices.is_sorted_by(|a, b| a < b));
            prop_assert!(sample.indices.iter().all(|index| u64::from(*index) < records));
        }
    }
}
