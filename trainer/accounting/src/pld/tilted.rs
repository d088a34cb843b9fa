//! The moment generating function of one step's privacy loss, by the trapezoidal rule.
//!
//! `M(z) = E[e^(zL)]` is `∫ g X^(1+z)` for adding the record and `∫ g X^(-z)` for removing it, at `z = c + it`, `c > 0`.
//!
//! **The rule's error.** By Poisson summation, `h Σ f(jh) - ∫ f = Σ_{k≠0} f^(k/h)`. The integrand is analytic for
//! `|Im x| < πσ²`. Moving the line by `y = φσ²`, `φ <= π/2`, multiplies `g` by at most `e^{φ²σ²/2}` and turns `e^w` by `φ`,
//! so that `|arg X| <= φ` and `X(Re x) cos(φ/2) <= |X| <= X(Re x)`; hence
//! `|f^(k/h)| <= M(c) exp(φ²σ²/2 + |t|φ - c log cos(φ/2) [removing only] - 2πφσ²|k|/h)`, where
//! `-log cos(φ/2) <= φ²/7`. [`Tilted::mesh`] chooses `h` such that the exponent is `-ACCURACY` for `|k| = 1`; the sum over
//! `k` is below `3 e^-ACCURACY M(c)`.
//!
//! **Cutting the sum.** Adding: left of `-Rσ` the integrand is below `g`; right of `1 + c + Rσ` it falls at least as a
//! Gaussian around `1 + c` does, because `d/dx log(g X^(1+c)) <= (1 + c - x)/σ²`. Removing: right of `Rσ >= 1/2` it is below
//! `g`, and everywhere below `g (1 - q)^-c`. `M(c) >= 1` in both directions. With `R²/2 = REACH²/2 > 45` what is cut stays
//! below `1e-18 M(c)`.

use std::f64::consts::{FRAC_PI_2, PI};

use super::step::{Direction, Step};

/// One step, its loss weighted with `e^(cL)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tilted<'a> {
    pub(super) step: &'a Step,
    pub(super) direction: Direction,
    pub(super) c: f64,
}

/// Where the integrand is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mesh {
    first: f64,
    pub(super) width: f64,
    pub(super) count: usize,
}

/// `log M(c)`, and how far the sum may be from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) log: f64,
    /// Of the rule, the cut and the arithmetic together, relative to `M(c)`; it holds at every `c + it` as well.
    pub(super) error: f64,
}

/// `-log` of what a cut or the rule may miss, relative to `M(c)`.
const ACCURACY: f64 = 42.0;
/// See the header.
const REACH: f64 = 9.6;
/// Of the rule and the cut together: `3 e^-42` and `1e-18`.
const METHOD_ERROR: f64 = 1e-17;

impl Mesh {
    /// The same range in cells of at most this width.
    fn refined(self, width: f64) -> Self {
        let parts = (self.width / width).ceil().max(1.0);
        Self {
            width: self.width / parts,
            count: (self.count - 1) * parts as usize + 1,
            ..self
        }
    }
}

impl Tilted<'_> {
    /// Nodes that serve every `c + iτ` with `|τ| <= t`.
    pub(super) fn mesh(&self, t: f64) -> Mesh {
        let (sigma, variance) = (self.step.sigma, self.step.variance());
        let (low, high, pull) = match self.direction {
            Direction::Add => (-REACH * sigma, 1.0 + self.c + REACH * sigma, 0.0),
            Direction::Remove => {
                let rise = -self.c * self.step.keep.ln();
                let low = -sigma * (REACH * REACH + 2.0 * rise).sqrt();
                (low, (REACH * sigma).max(0.5 + sigma), self.c)
            }
        };
        let phi = (ACCURACY / (variance / 2.0 + pull / 7.0))
            .sqrt()
            .min(FRAC_PI_2);
        let rate = variance * phi / 2.0 + t + pull * phi / 7.0 + ACCURACY / phi;
        let width = 2.0 * PI * variance / rate;
        Mesh {
            first: low,
            width,
            count: ((high - low) / width).ceil() as usize + 1,
        }
    }

    /// `log` of the integrand at `t = 0`, times the mesh's width, and `log X`, at every node.
    pub(super) fn nodes(&self, mesh: Mesh) -> impl Iterator<Item = Node> {
        let exponent = match self.direction {
            Direction::Add => 1.0 + self.c,
            Direction::Remove => -self.c,
        };
        let step = *self.step;
        let log_width = mesh.width.ln();
        (0..mesh.count).map(move |j| {
            let x = mesh.first + j as f64 * mesh.width;
            let (density, loss) = (step.log_density(x), step.log_ratio(x));
            Node {
                x,
                loss,
                log_weight: density + exponent * loss + log_width,
                magnitude: density.abs() + (exponent * loss).abs(),
            }
        })
    }

    /// The sign of `log X` in the privacy loss.
    pub(super) fn sign(&self) -> f64 {
        match self.direction {
            Direction::Add => 1.0,
            Direction::Remove => -1.0,
        }
    }

    pub(super) fn moment(&self) -> Moment {
        if self.step.is_full() {
            return Moment {
                log: self.c * (self.c + 1.0) / (2.0 * self.step.variance()),
                error: 8.0 * f64::EPSILON,
            };
        }
        let nodes: Vec<Node> = self.nodes(self.mesh(0.0)).collect();
        let largest = nodes
            .iter()
            .map(|node| node.log_weight)
            .fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for node in &nodes {
            let weight = (node.log_weight - largest).exp();
            sum += weight;
            magnitude += weight * node.magnitude;
        }
        Moment {
            log: largest + sum.ln(),
            error: METHOD_ERROR + (ROUNDINGS + 4.0 * magnitude / sum) * f64::EPSILON,
        }
    }
}

/// Roundings of a weight, of its 64 turns (see `contour.rs`), and of a sum in which nearly all of the terms are negligible.
const ROUNDINGS: f64 = 1024.0;

/// A node's part in the integral.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) x: f64,
    /// `log X`.
    pub(super) loss: f64,
    pub(super) log_weight: f64,
    /// Of what was added up in the exponent.
    magnitude: f64,
}

/// How fast `|M(c + it)|` falls with `t`. Two bounds; the first is for small `t`, the second for large.
///
/// **By the spread of the loss.** With `L'` an independent copy under the tilted law `ρ`,
/// `|M(c + it)|²/M(c)² = 1 - E[1 - cos t(L - L')]`, and `1 - cos θ >= κ(φ) θ²` for `|θ| <= φ <= π`,
/// `κ(φ) = (1 - cos φ)/φ²`. So for every `a < b`, with `φ = t |L(b) - L(a)|` and `V = E[(L - L')²; a <= x, x' <= b]`,
/// `log |M(c + it)|/M(c) <= -κ(φ) t² V / 2`.
///
/// **By parts.** Let `r = ρ/(d/dx log X)`. Right of any `a`, `|∫ ρ e^(it log X)| <= (r(a) + TV(r))/t`, since
/// `ρ e^(it log X) = r (e^(it log X))'/it`. The derivative of `log r` is a straight line plus a multiple of the logistic
/// function of `w`: at most three zeros, hence at most two maxima, and `r(a) + TV(r) <= 4 max r`. So
/// `|M(c + it)|/M(c) <= 1 - (∫_a ρ - 4 max_{x>=a} r / t)` for every `a`, which falls as `t` grows.
pub(super) struct Decay {
    /// For some `a`, and every `b`: how far apart their losses are, and a lower bound of `V`.
    between: Vec<Vec<(f64, f64)>>,
    /// For every `a`: lower bounds of `∫_a ρ` and upper bounds of `4 max r`.
    beyond: Vec<(f64, f64)>,
}

/// Cells to a deviation: so many that neighbouring weights differ little.
const FINE: f64 = 8.0;

impl Decay {
    /// Between nodes, `|(log ρ)''|` and `|(log r)''|`, at most `1/σ² + (c + 2)/4σ⁴`, bound how far `ρ` dips and `r` rises;
    /// the loss is monotone.
    pub(super) fn of(tilted: &Tilted<'_>, log_moment: f64) -> Self {
        let step = tilted.step;
        let mesh = tilted.mesh(0.0).refined(step.sigma / FINE);
        let variance = step.variance();
        let bend = (1.0 + (tilted.c + 2.0) / (4.0 * variance)) / variance;
        let between = (mesh.width * mesh.width / 8.0 * bend).exp();
        let nodes: Vec<(f64, f64)> = tilted
            .nodes(mesh)
            .map(|node| (node.x, (node.log_weight - log_moment).exp()))
            .collect();
        let (mut mass, mut largest, mut right) = (0.0, 0.0f64, 0.0f64);
        let mut beyond = Vec::with_capacity(nodes.len());
        for &(x, weight) in nodes.iter().rev() {
            mass += weight.min(right) / between;
            right = weight;
            largest = largest.max(weight / mesh.width * variance / step.slope(x) * between);
            beyond.push((mass, 4.0 * largest));
        }
        let stride = ((step.sigma / 2.0 / mesh.width) as usize).max(1);
        let between = (0..nodes.len())
            .step_by(stride)
            .filter(|&first| nodes[first].1 > START || first == 0)
            .map(|first| spreads(step, &nodes[first..], between))
            .collect();
        Self { between, beyond }
    }

    /// An upper bound of `log |M(c + iτ)|/M(c)` for every `τ` from `t` to `end`.
    pub(super) fn log_ratio(&self, t: f64, end: f64) -> f64 {
        let mut by_spread = 0.0f64;
        for spreads in &self.between {
            let within = spreads.iter().take_while(|&&(loss, _)| end * loss <= PI);
            for &(loss, spread) in within {
                let most = t * t * spread / 4.0;
                if most > by_spread {
                    by_spread = by_spread.max(2.0 * kappa(end * loss) * most);
                }
            }
        }
        by_spread.max(-self.log_ratio_beyond(t)) * -(1.0 - 1e-9)
    }

    /// An upper bound of `log |M(c + iτ)|/M(c)` for every `τ >= t`.
    pub(super) fn log_ratio_beyond(&self, t: f64) -> f64 {
        let gap = self
            .beyond
            .iter()
            .map(|&(mass, swing)| mass - swing / t)
            .fold(0.0, f64::max);
        (-gap.min(0.999)).ln_1p()
    }
}

/// A start with less of the mass is as good as the one before it.
const START: f64 = 1e-9;

/// For every end: the loss above that of the first node, and a lower bound of `E[(L - L')²]` in between. Of each pair of
/// cells the smallest masses and the smallest distance count.
fn spreads(step: &Step, nodes: &[(f64, f64)], between: f64) -> Vec<(f64, f64)> {
    let odds = |x: f64| step.q / step.keep * ((x - 0.5) / step.variance()).exp();
    let Some(first) = nodes.first().map(|&(x, _)| odds(x).ln_1p()) else {
        return Vec::new();
    };
    let (mut m0, mut m1, mut m2, mut spread) = (0.0, 0.0, 0.0, 0.0);
    let mut ends = Vec::with_capacity(nodes.len());
    for pair in nodes.windows(2) {
        let mass = pair[0].1.min(pair[1].1) / between;
        let (left, right) = (
            odds(pair[0].0).ln_1p() - first,
            odds(pair[1].0).ln_1p() - first,
        );
        if !right.is_finite() {
            break;
        }
        spread += 2.0 * mass * (left * left * m0 - 2.0 * left * m1 + m2).max(0.0);
        m0 += mass;
        m1 += mass * right;
        m2 += mass * right * right;
        ends.push((right, spread));
    }
    ends
}

/// `(1 - cos φ)/φ²`, which falls from 1/2 at 0 to `2/π²` at `π`.
fn kappa(phi: f64) -> f64 {
    if phi < 1e-3 {
        0.5 - phi * phi / 24.0
    } else {
        let half = (phi / 2.0).sin() / phi;
        2.0 * half * half
    }
}
