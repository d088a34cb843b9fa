//! Reading and writing of binary encodings: the crate's own, with big-endian integers and length-prefixed
//! strings, and the vendors', with little-endian ones.
//!
//! Every encoding has one spelling for one value, so a changed byte is either malformed or means something else.

/// Why bytes were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The bytes end within a field.
    #[error("{what} needs {needed} bytes, got {got}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that are left.
        got: usize,
    },
    /// A length is outside its limits.
    #[error("{what} must have {min} to {max} bytes, got {got}")]
    Length {
        /// The field.
        what: &'static str,
        /// The least that is taken.
        min: usize,
        /// The most that is taken.
        max: usize,
        /// What the bytes state.
        got: usize,
    },
    /// Bytes follow after the last field.
    #[error("expected the end of {what}, got {got} more bytes")]
    Trailing {
        /// The structure.
        what: &'static str,
        /// Bytes that are left.
        got: usize,
    },
    /// A field holds what it may not.
    #[error("{what} must be {expected}, got {got}")]
    Value {
        /// The field.
        what: &'static str,
        /// What is taken.
        expected: String,
        /// What came.
        got: String,
    },
}

impl WireError {
    pub(crate) fn value(what: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Value {
            what,
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

/// Takes fields from the front of a slice; allocates nothing.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated {
                what,
                needed: len,
                got: self.rest.len(),
            })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16_le(&mut self, what: &'static str) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32_le(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64_le(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Bytes that a specification reserves and wants zero.
    pub(crate) fn zeros(&mut self, what: &'static str, len: usize) -> Result<(), WireError> {
        match self.take(what, len)?.iter().find(|&&byte| byte != 0) {
            None => Ok(()),
            Some(byte) => Err(WireError::value(what, "zero", format_args!("{byte:#04x}"))),
        }
    }

    /// The end, but for zeros.
    pub(crate) fn only_zeros_left(mut self, what: &'static str) -> Result<(), WireError> {
        let left = self.rest.len();
        self.zeros(what, left)
    }

    /// A string behind a length of two bytes.
    pub(crate) fn prefixed(
        &mut self,
        what: &'static str,
        limits: std::ops::RangeInclusive<usize>,
    ) -> Result<&'a [u8], WireError> {
        let len = usize::from(self.u16(what)?);
        if !limits.contains(&len) {
            return Err(WireError::Length {
                what,
                min: *limits.start(),
                max: *limits.end(),
                got: len,
            });
        }
        self.take(what, len)
    }

    pub(crate) fn expect(&mut self, what: &'static str, magic: &[u8]) -> Result<(), WireError> {
        let got = self.take(what, magic.len())?;
        if got == magic {
            return Ok(());
        }
        Err(WireError::value(what, hex::encode(magic), hex::encode(got)))
    }

    pub(crate) fn finish(self, what: &'static str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            got => Err(WireError::Trailing { what, got }),
        }
    }
}

/// Appends a string behind a length of two bytes.
///
/// The caller has checked the length against a limit below 64 KiB; more is cut off from the length's
/// range and would not read back.
pub(crate) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}
