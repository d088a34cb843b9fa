//! A hand: how one writer, this once, bends and places a skeleton on the sheet.

use super::glyphs::{End, Point, Stroke};
use super::{Chance, SIDE};

/// Sides, in pixels, of the box that the digits are written in; MNIST's are 20 as well.
const BOX: f32 = 20.0;

/// Straight pieces that a smooth piece between two points is cut into.
const PIECES: usize = 6;

/// Standard deviation of the shake of each point, in fractions of the box.
const SHAKE: f32 = 0.03;

/// Knots, each way, of the grid that bends the sheet.
const KNOTS: usize = 4;

/// Standard deviation of a knot's displacement, in pixels.
const BEND: f32 = 1.2;

/// One random affine map and one random elastic bend of the sheet.
pub(super) struct Hand {
    /// The first two columns map offsets from the middle of the box, in fractions of it, to pixels; the last one shifts.
    rows: [[f32; 3]; 2],
    bend: [[Point; KNOTS]; KNOTS],
}

impl Hand {
    pub(super) fn new(chance: &mut Chance) -> Self {
        // The half-angle formulas turn without trigonometric functions.
        let half = 0.09 * chance.bell();
        let cosine = (1.0 - half * half) / (1.0 + half * half);
        let sine = 2.0 * half / (1.0 + half * half);
        let slant = 0.17 * chance.bell();
        let width = BOX * chance.between(0.62, 1.02);
        let height = BOX * chance.between(0.82, 1.06);
        let middle = SIDE as f32 / 2.0;
        let (right, down) = (1.05 * chance.bell(), 1.05 * chance.bell());
        let bend = std::array::from_fn(|_| {
            std::array::from_fn(|_| (BEND * chance.bell(), BEND * chance.bell()))
        });
        Self {
            rows: [
                [
                    cosine * width,
                    (-sine - cosine * slant) * height,
                    middle + right,
                ],
                [
                    sine * width,
                    (cosine - sine * slant) * height,
                    middle + down,
                ],
            ],
            bend,
        }
    }

    /// The stroke as a chain of points in pixels, near enough to each other to be joined by straight lines.
    pub(super) fn trace(&self, stroke: &Stroke, chance: &mut Chance) -> Vec<Point> {
        let points = shaken(stroke.points, chance);
        let count = points.len();
        let at = |index: isize| match stroke.end {
            End::Open => points[index.clamp(0, count as isize - 1) as usize],
            End::Closed => points[index.rem_euclid(count as isize) as usize],
        };
        let last = match stroke.end {
            End::Open => count - 1,
            End::Closed => count,
        };
        let mut line = vec![self.place(points[0])];
        for index in 0..last as isize {
            let around = [at(index - 1), at(index), at(index + 1), at(index + 2)];
            // A point that stands twice is a corner; between the two there is nothing to draw.
            if around[1] != around[2] {
                line.extend(
                    (1..=PIECES)
                        .map(|piece| self.place(spline(around, piece as f32 / PIECES as f32))),
                );
            }
        }
        line
    }

    /// Maps a point of the box to the sheet.
    fn place(&self, (x, y): Point) -> Point {
        let (x, y) = (x - 0.5, y - 0.5);
        let [across, down] = self.rows.map(|row| row[0] * x + row[1] * y + row[2]);
        let (right, below) = self.bend_at(across, down);
        (across + right, down + below)
    }

    /// Displacement at a place of the sheet: the knots around it, blended smoothly.
    fn bend_at(&self, across: f32, down: f32) -> Point {
        let (column, u) = knot(across);
        let (row, v) = knot(down);
        let mix = |a: f32, b: f32, weight: f32| a + (b - a) * weight;
        let blend = |part: fn(Point) -> f32| {
            let upper = mix(
                part(self.bend[row][column]),
                part(self.bend[row][column + 1]),
                u,
            );
            let lower = mix(
                part(self.bend[row + 1][column]),
                part(self.bend[row + 1][column + 1]),
                u,
            );
            mix(upper, lower, v)
        };
        (blend(|point| point.0), blend(|point| point.1))
    }
}

/// The knot before a coordinate, and how far the next one counts.
fn knot(coordinate: f32) -> (usize, f32) {
    let scaled = (coordinate / SIDE as f32).clamp(0.0, 1.0) * (KNOTS - 1) as f32;
    let before = (scaled as usize).min(KNOTS - 2);
    let rest = scaled - before as f32;
    (before, rest * rest * (3.0 - 2.0 * rest))
}

/// The points, each moved a little; the two of a corner stay together.
fn shaken(points: &[Point], chance: &mut Chance) -> Vec<Point> {
    let mut moved: Vec<Point> = Vec::with_capacity(points.len());
    for (index, point) in points.iter().enumerate() {
        let next = if index > 0 && points[index - 1] == *point {
            moved[index - 1]
        } else {
            (
                point.0 + SHAKE * chance.bell(),
                point.1 + SHAKE * chance.bell(),
            )
        };
        moved.push(next);
    }
    moved
}

/// The Catmull-Rom spline (Catmull and Rom 1974, uniform, tension one half) between the two points in the middle.
fn spline(around: [Point; 4], t: f32) -> Point {
    let one = |a: f32, b: f32, c: f32, d: f32| {
        b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    };
    let [a, b, c, d] = around;
    (one(a.0, b.0, c.0, d.0), one(a.1, b.1, c.1, d.1))
}
