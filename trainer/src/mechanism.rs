//! How a batch's gradients become one: clipped and noised, or as they are.

use std::num::NonZeroUsize;

use crate::clipping::{Adaptive, Clipper, Clipping, Tally};
use crate::graph::Graph;
use crate::grid::{Grid, GridError};
use crate::group::Sums;
use crate::noise::{CHUNK, NoiseError, NoiseSource, SigmaInt};
use crate::privacy::{PrivacyError, PrivacySettings};

/// What stands between the workers' sums and the optimiser.
pub(crate) enum Mechanism {
    /// The Gaussian mechanism.
    Private(Box<Private>),
    /// None: the mean gradient as it is.
    None,
}

/// The Gaussian mechanism at work.
pub(crate) struct Private {
    settings: PrivacySettings,
    clipper: Clipper,
    adaptive: Option<Adaptive>,
    sigma: SigmaInt,
    noise: NoiseSource,
}

/// Why there is no such mechanism.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MechanismError {
    #[error(transparent)]
    Grid(#[from] GridError),
    #[error(transparent)]
    Noise(#[from] NoiseError),
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
}

impl Mechanism {
    /// The mechanism of some settings.
    pub(crate) fn private(
        graph: &Graph,
        settings: PrivacySettings,
        noise: NoiseSource,
    ) -> Result<Self, MechanismError> {
        let grid = Grid::new(settings.clipping_norm(), graph.parameter_count())?;
        let steps = graph.plan().steps.iter();
        let layers = steps.filter(|step| !step.parameters.is_empty()).count();
        let norm = f64::from(settings.clipping_norm());
        let mut multiplier = settings.noise_multiplier();
        let mut adaptive = None;
        if let Clipping::Adaptive(own) = settings.clipping() {
            multiplier = own.gradient_noise(multiplier).map_err(PrivacyError::from)?;
            adaptive = Some(Adaptive::new(own)?);
        }
        Ok(Self::Private(Box::new(Private {
            settings,
            clipper: Clipper::new(grid, settings.clipping(), norm, layers),
            adaptive,
            sigma: grid.sigma(multiplier)?,
            noise,
        })))
    }

    /// What clips, where anything does.
    pub(crate) fn clipper(&self) -> Option<Clipper> {
        match self {
            Self::Private(private) => Some(private.clipper),
            Self::None => None,
        }
    }

    /// How gradients are clipped, for a checkpoint; not at all without privacy.
    pub(crate) fn clipping(&self) -> Option<Clipping> {
        match self {
            Self::Private(private) => Some(private.settings.clipping()),
            Self::None => None,
        }
    }

    /// Goes on with other noise.
    #[cfg(test)]
    pub(crate) fn renew_noise(&mut self, noise: NoiseSource) {
        if let Self::Private(private) = self {
            private.noise = noise;
        }
    }

    /// The clipping norm that the adaptive mode has come to, for a checkpoint.
    pub(crate) fn adapted_norm(&self) -> Option<f64> {
        match self {
            Self::Private(private) => (private.adaptive).map(|_| private.clipper.norm()),
            Self::None => None,
        }
    }

    /// Goes on with a saved norm; false where the mode has none.
    pub(crate) fn restore_norm(&mut self, norm: Option<f64>) -> bool {
        match (self, norm) {
            (Self::Private(private), Some(norm)) => {
                private.clipper.set_norm(norm);
                private.adaptive.is_some() && norm.is_finite() && norm > 0.0
            }
            (Self::Private(private), None) => private.adaptive.is_none(),
            (Self::None, norm) => norm.is_none(),
        }
    }

    /// Merges the threads' sums into the gradient that the optimiser follows.
    pub(crate) fn mean<'s>(
        &mut self,
        sums: impl Iterator<Item = &'s mut Sums>,
        examples: usize,
        threads: NonZeroUsize,
        gradient: &mut [f32],
    ) -> Result<(), NoiseError> {
        let mut sums = sums;
        let Some(first) = sums.next() else {
            return Ok(());
        };
        let mut tally = first.tally;
        match self {
            Self::Private(private) => {
                let mut others: Vec<&[i64]> = Vec::new();
                for other in sums {
                    tally.add(&other.tally);
                    others.push(&other.private);
                }
                private.mean(&mut first.private, &others, &tally, threads, gradient)
            }
            Self::None => {
                gradient.copy_from_slice(&first.plain);
                for other in sums {
                    for (sum, other) in gradient.iter_mut().zip(&other.plain) {
                        *sum += other;
                    }
                }
                let share = 1.0 / examples.max(1) as f32;
                gradient.iter_mut().for_each(|value| *value *= share);
                Ok(())
            }
        }
    }
}

impl Private {
    fn mean(
        &mut self,
        sums: &mut [i64],
        others: &[&[i64]],
        tally: &Tally,
        threads: NonZeroUsize,
        gradient: &mut [f32],
    ) -> Result<(), NoiseError> {
        let expected = self.settings.expected_batch_size();
        let noise = self.noise.draw(self.sigma)?;
        let clipper = self.clipper;
        // Chunk by chunk, so that sums are fetched from memory once. In units of the norm that the gradients were clipped to,
        // before it moves.
        let chunks_each = sums.len().div_ceil(CHUNK).div_ceil(threads.get()).max(1);
        let finish = |part: usize, sums: &mut [i64], gradient: &mut [f32]| {
            let chunks = sums.chunks_mut(CHUNK).zip(gradient.chunks_mut(CHUNK));
            for (i, (sums, gradient)) in chunks.enumerate() {
                let chunk = part * chunks_each + i;
                for other in others {
                    for (sum, other) in sums.iter_mut().zip(&other[chunk * CHUNK..]) {
                        *sum += other;
                    }
                }
                noise.add(chunk, sums);
                clipper.mean(sums, expected, gradient);
            }
        };
        std::thread::scope(|scope| {
            let finish = &finish;
            let size = chunks_each * CHUNK;
            let mut parts = (sums.chunks_mut(size).zip(gradient.chunks_mut(size))).enumerate();
            let own = parts.next();
            for (part, (sums, gradient)) in parts {
                scope.spawn(move || finish(part, sums, gradient));
            }
            if let Some((part, (sums, gradient))) = own {
                finish(part, sums, gradient);
            }
        });
        if let Some(adaptive) = &self.adaptive {
            let norm = self.clipper.norm();
            let next =
                adaptive.next_norm(norm, tally.within, tally.beyond, expected, &mut self.noise)?;
            self.clipper.set_norm(next);
        }
        Ok(())
    }
}
