//! Where the contour of integration runs.

use super::step::{Direction, Step};
use super::tilted::{Moment, Tilted};

/// The real part `c` of the contour, and the period that a sum over equidistant points of it has.
#[derive(Clone, Debug)]
pub(super) struct Tilt {
    pub(super) c: f64,
    pub(super) period: f64,
    /// `log M(c)` of each step.
    pub(super) moments: Vec<Moment>,
    /// `Σ T log M(c)`.
    pub(super) log_moment: f64,
    /// An epsilon that is large enough, by the best moment.
    pub(super) enough: f64,
    /// About how large epsilon is at least.
    pub(super) floor: f64,
}

/// What an alias may add, relative to delta, as a negative logarithm. Aliases only add: this is about accuracy.
const ALIAS: f64 = 14.0;
/// The first `c` that is tried, and the factor to the next.
const FIRST: f64 = 1e-3;
const FACTOR: f64 = 1.25;
/// Nothing is left to distinguish where such a moment is best.
const LAST: f64 = 1e12;

impl Tilt {
    /// The `c` whose aliases allow the shortest period. Sampling the contour in steps of `2π/P` adds
    /// `Σ_{m≠0} e^(cmP) δ(ε + mP)`: those below are at most `e^(-cP)` each, those above at most `M(c') e^((c - c')P)` for
    /// every `c' > c`. Nothing but accuracy depends on the choice, nor on `floor`, a guess of what epsilon is at least.
    pub(super) fn choose(
        steps: &[Step],
        direction: Direction,
        log_delta: f64,
        floor: f64,
    ) -> Option<Self> {
        let mut tried: Vec<(f64, f64)> = Vec::new();
        let mut enough = f64::INFINITY;
        let mut c = FIRST;
        while c < LAST {
            let log_moment: f64 = moments(steps, direction, c)
                .zip(steps)
                .map(|(moment, step)| step.count * moment.log)
                .sum();
            if !log_moment.is_finite() {
                break;
            }
            tried.push((c, log_moment));
            // sup_u (1 - e^-u) e^-cu = c^c/(1 + c)^(1 + c).
            let epsilon = (log_moment - log_delta - (1.0 / c).ln_1p() * c - c.ln_1p()) / c;
            if epsilon > 4.0 * enough {
                break;
            }
            enough = enough.min(epsilon.max(0.0));
            // Losses that are bounded have no best moment: from here on the period is as short as they are wide.
            if enough == 0.0 || c * enough > 8.0 * (ALIAS - log_delta) {
                break;
            }
            c *= FACTOR;
        }
        let period = |i: usize| {
            let (c, _) = tried[i];
            let below = (ALIAS - log_delta) / c;
            let above = tried[i + 1..]
                .iter()
                .map(|(higher, log_moment)| {
                    (log_moment - higher * floor - log_delta + ALIAS) / (higher - c)
                })
                .fold(f64::INFINITY, f64::min);
            below.max(above)
        };
        let (best, period) = (0..tried.len())
            .map(|i| (i, period(i)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        let (c, log_moment) = tried[best];
        period.is_finite().then(|| Self {
            c,
            period,
            moments: moments(steps, direction, c).collect(),
            log_moment,
            enough,
            floor,
        })
    }
}

fn moments(steps: &[Step], direction: Direction, c: f64) -> impl Iterator<Item = Moment> + use<'_> {
    steps
        .iter()
        .map(move |step| Tilted { step, direction, c }.moment())
}
