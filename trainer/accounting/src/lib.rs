//! The arithmetic of privacy, without a tensor library: what a run of DP-SGD costs, how much still fits in a limit,
//! and how many rows a padded batch needs.
//!
//! The mechanism accounted for is the **Poisson-subsampled Gaussian on an integer grid**: each record joins a step
//! independently with probability `q` ([`SamplingRate`]); its clipped gradient is an integer vector of norm at most `C`;
//! discrete Gaussian noise of deviation at least `z C` ([`NoiseMultiplier`]) is added to the sum. Adjacency is
//! add-or-remove-one record. [`Rdp`] and [`Pld`] each say beside their code why the analysis of the continuous Gaussian
//! carries over, and what it costs.
//!
//! A value flows so: numbers are checked once, on becoming [`SamplingRate`], [`NoiseMultiplier`], [`Delta`], [`Steps`];
//! a stretch of equal steps is a [`Phase`]; an [`Accountant`] turns phases and a delta into an [`Epsilon`], which is
//! never below the truth: [`Rdp`] in microseconds once its curves are there, [`Pld`] more closely. [`Capacity`] splits delta between the accountant and the overflow of padded batches.
//! [`RdpLedger`] does the same step by step, cheap enough for a progress bar.
//!
//! Not here: sampling, noise and clipping themselves, budgets of contracts, anything that reads data.
//! A further accountant is a further file with an `impl` of [`Accountant`].
//!
//! ```
//! use tributary_accounting::{Accountant, Capacity, Delta, NoiseMultiplier, Phase, Rdp, SamplingRate, Steps};
//!
//! let (rate, steps, delta) = (SamplingRate::new(0.01)?, Steps::new(1_000), Delta::new(1e-5)?);
//! let capacity = Capacity::derive(15_000, rate, steps, delta)?;
//! let phase = Phase { sampling_rate: rate, noise_multiplier: NoiseMultiplier::new(1.1)?, steps };
//! let epsilon = Rdp.epsilon(&[phase], capacity.remaining_delta)?;
//! assert!(epsilon.get() < 2.2 && capacity.rows < 240);
//! # Ok::<(), tributary_accounting::AccountingError>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accountant;
mod capacity;
mod moments;
mod pld;
mod quantities;
mod rdp;

pub use accountant::{
    Accountant, AccountingError, Phase, calibrate_noise, calibrate_rate, largest_steps,
};
pub use capacity::Capacity;
pub use pld::Pld;
pub use quantities::{Delta, Epsilon, NoiseMultiplier, OutOfRange, SamplingRate, Steps};
pub use rdp::{Rdp, RdpLedger};
