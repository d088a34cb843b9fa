//! A pen on a sheet of pixels: antialiased ink of changing width, then the noise of a scanner.

use super::glyphs::Point;
use super::{Chance, PIXELS, SIDE, bell_of};

/// Pixels over which the edge of the ink fades.
const EDGE: f32 = 1.2;

/// The sheet while it is written on.
pub(super) struct Sheet {
    /// 0 is blank, 1 is full ink.
    ink: [f32; PIXELS],
    /// Half the width of the pen, in pixels.
    radius: f32,
    /// Grey value of full ink.
    darkest: f32,
    /// Standard deviation of the scanner's noise, in grey values.
    noise: f32,
}

impl Sheet {
    /// A blank sheet, and the pen to write on it with.
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            ink: [0.0; PIXELS],
            radius: chance.between(0.6, 1.7),
            darkest: chance.between(190.0, 255.0),
            noise: chance.between(2.0, 16.0),
        }
    }

    /// Inks a chain of points; the pressure changes evenly from its start to its end.
    pub(super) fn ink(&mut self, line: &[Point], chance: &mut Chance) {
        let (from, to) = (chance.between(0.8, 1.2), chance.between(0.8, 1.2));
        let last = line.len().max(2) - 1;
        for (index, ends) in line.windows(2).enumerate() {
            let pressure = from + (to - from) * index as f32 / last as f32;
            self.ink_piece(ends[0], ends[1], self.radius * pressure);
        }
    }

    /// Inks one straight piece with round ends. Where pieces overlap the darker one shows, so joints do not.
    fn ink_piece(&mut self, start: Point, end: Point, radius: f32) {
        let reach = radius + EDGE;
        let columns = span(start.0.min(end.0) - reach, start.0.max(end.0) + reach);
        let rows = span(start.1.min(end.1) - reach, start.1.max(end.1) + reach);
        let (dx, dy) = (end.0 - start.0, end.1 - start.1);
        let square = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
        for row in rows {
            let y = row as f32 + 0.5 - start.1;
            for column in columns.clone() {
                let x = column as f32 + 0.5 - start.0;
                let along = ((x * dx + y * dy) / square).clamp(0.0, 1.0);
                let (off_x, off_y) = (x - along * dx, y - along * dy);
                let distance = (off_x * off_x + off_y * off_y).sqrt();
                let cover = ((radius - distance) / EDGE + 0.5).clamp(0.0, 1.0);
                let pixel = &mut self.ink[row * SIDE + column];
                *pixel = pixel.max(cover);
            }
        }
    }

    /// Turns ink into grey values, with noise; what noise would make blacker than full or less than blank is cut.
    pub(super) fn develop(&self, image: &mut [u8], chance: &mut Chance) {
        for (grey, ink) in image.iter_mut().zip(&self.ink) {
            let value = ink * self.darkest + self.noise * bell_of(chance.word());
            *grey = value.clamp(0.0, 255.0) as u8;
        }
    }
}

/// The pixels whose middles may lie between two coordinates.
fn span(low: f32, high: f32) -> std::ops::Range<usize> {
    let cut = |edge: f32| edge.clamp(0.0, SIDE as f32) as usize;
    cut(low.floor())..cut(high.ceil())
}
