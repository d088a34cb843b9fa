//! Complex numbers, as far as characteristic functions need them.

use std::ops::{Add, AddAssign, Mul, Sub};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    pub(super) const ONE: Self = Self { re: 1.0, im: 0.0 };

    pub(super) fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }

    /// `e^(i angle)`.
    pub(super) fn turn(angle: f64) -> Self {
        let (im, re) = angle.sin_cos();
        Self { re, im }
    }

    pub(super) fn modulus(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub(super) fn conjugate(self) -> Self {
        Self::new(self.re, -self.im)
    }

    pub(super) fn inverse(self) -> Self {
        let square = self.re * self.re + self.im * self.im;
        Self::new(self.re / square, -self.im / square)
    }

    pub(super) fn scaled(self, by: f64) -> Self {
        Self::new(self.re * by, self.im * by)
    }

    /// `log self`, of either branch: what is raised to whole powers does not see which.
    pub(super) fn log(self) -> Self {
        Self::new(self.modulus().ln(), self.im.atan2(self.re))
    }

    pub(super) fn exp(self) -> Self {
        Self::turn(self.im).scaled(self.re.exp())
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.re + other.re, self.im + other.im)
    }
}

impl AddAssign for Complex {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Complex {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.re - other.re, self.im - other.im)
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(
            self.re * other.re - self.im * other.im,
            self.re * other.im + self.im * other.re,
        )
    }
}
