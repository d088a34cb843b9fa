//! Long content under one key, in segments: encrypted and decrypted as a stream, and every cut, swap and addition noticed.
//!
//! This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7) over AES-256-GCM: segment `i` is encrypted under the nonce
//! `prefix (7 bytes) ‖ i (4 bytes, big-endian) ‖ 1 for the last segment, else 0`, and with the header of what it is part
//! of as associated data. Layout:
//!
//! ```text
//! prefix (7) | each: ciphertext (1 MiB, the last 1 byte to 1 MiB, or 0 where there is no content) | tag (16)
//! ```

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rand_core::{OsRng, TryRngCore as _};
use zeroize::Zeroizing;

/// Plaintext of one segment, in bytes: large enough that tags and calls cost nothing, small enough to hold.
pub const SEGMENT_SIZE: usize = 1 << 20;

/// What a segment's tag adds to it, in bytes.
pub const SEGMENT_OVERHEAD: usize = 16;

/// A key for the segments of one file. Each file has its own: a nonce's prefix of seven bytes does not keep many files
/// under one key apart.
pub(crate) type SegmentKey = Zeroizing<[u8; 32]>;

/// Why segments were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The content goes on after what is there.
    #[error("the content is cut off after segment {0}: copy the whole file again")]
    Truncated(u32),
    /// Something follows the content's end.
    #[error(
        "something was appended after segment {0}, the last one: copy the file again from where it was made"
    )]
    Extended(u32),
    /// A segment is not what was written in this place of this file.
    #[error(
        "segment {0} does not verify: it was altered, moved, or belongs to another file; copy the file again from where it was made"
    )]
    Altered(u32),
    /// The content is longer than the reader allows.
    #[error("expected at most {limit} bytes of content, got more")]
    TooLong {
        /// The reader's limit.
        limit: u64,
    },
    /// More segments than the counter of the nonce can number.
    #[error("expected at most 2^32 segments, got more")]
    Counter,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
}

impl From<SegmentError> for io::Error {
    fn from(error: SegmentError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl SegmentError {
    /// The refusal inside an error that a [`SegmentReader`] or [`SegmentWriter`] returned.
    pub fn of(error: &io::Error) -> Option<SegmentError> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Encrypts what is written to it. [`SegmentWriter::finish`] writes the last segment; without it the file is truncated,
/// and reads as such.
pub(crate) struct SegmentWriter<W> {
    inner: W,
    cipher: Cipher,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> SegmentWriter<W> {
    pub(crate) fn new(inner: W, key: &SegmentKey, header: &[u8]) -> io::Result<Self> {
        let mut prefix = [0; PREFIX_SIZE];
        OsRng
            .try_fill_bytes(&mut prefix)
            .map_err(|_| SegmentError::Entropy)?;
        Self::with_prefix(inner, key, header, prefix)
    }

    fn with_prefix(
        mut inner: W,
        key: &SegmentKey,
        header: &[u8],
        prefix: [u8; PREFIX_SIZE],
    ) -> io::Result<Self> {
        inner.write_all(&prefix)?;
        let buffer = Zeroizing::new(Vec::with_capacity(SEGMENT_SIZE + SEGMENT_OVERHEAD));
        let cipher = Cipher::new(key, header, prefix);
        Ok(Self {
            inner,
            cipher,
            buffer,
        })
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.seal(Position::Last)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn seal(&mut self, position: Position) -> io::Result<()> {
        self.cipher.seal(&mut self.buffer, position)?;
        self.inner.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Write for SegmentWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full segment waits until more comes: the last one must be marked, and may be full.
        if self.buffer.len() == SEGMENT_SIZE && !bytes.is_empty() {
            self.seal(Position::Inner)?;
        }
        let taken = bytes.len().min(SEGMENT_SIZE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Flushes whole segments only; a part of one cannot be encrypted on its own.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Decrypts what it reads. Nothing of a segment comes out before its tag was verified; that the content is complete is
/// known only when the reader says that it has ended.
pub(crate) struct SegmentReader<R> {
    inner: R,
    cipher: Cipher,
    /// What was read beyond the present segment: at most one byte, by which its end is told from the file's.
    ahead: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    taken: usize,
    ended: bool,
    failed: Option<SegmentError>,
}

impl<R: Read> SegmentReader<R> {
    pub(crate) fn new(mut inner: R, key: &SegmentKey, header: &[u8]) -> io::Result<Self> {
        let mut prefix = [0; PREFIX_SIZE];
        inner.read_exact(&mut prefix).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                SegmentError::Truncated(0).into()
            } else {
                error
            }
        })?;
        Ok(Self {
            inner,
            cipher: Cipher::new(key, header, prefix),
            ahead: Vec::new(),
            plain: Zeroizing::new(Vec::new()),
            taken: 0,
            ended: false,
            failed: None,
        })
    }

    /// Reads to the verified end, and refuses content of more than `limit` bytes before it is held.
    pub(crate) fn read_all(mut self, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut content = Zeroizing::new(Vec::new());
        while self.open_next()? {
            let length = content.len() as u64 + self.plain.len() as u64;
            if length > limit {
                return Err(SegmentError::TooLong { limit }.into());
            }
            content.extend_from_slice(&self.plain);
        }
        Ok(content)
    }

    /// Opens the next segment; false where the last one was opened before.
    fn open_next(&mut self) -> io::Result<bool> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        if self.ended {
            return Ok(false);
        }
        let mut segment = std::mem::take(&mut self.ahead);
        let whole = SEGMENT_SIZE + SEGMENT_OVERHEAD;
        let wanted = (whole + 1 - segment.len()) as u64;
        Read::by_ref(&mut self.inner)
            .take(wanted)
            .read_to_end(&mut segment)?;
        let position = if segment.len() > whole {
            self.ahead = segment.split_off(whole);
            Position::Inner
        } else {
            Position::Last
        };
        let opened = self.cipher.open(&segment, position, &mut self.plain);
        self.taken = 0;
        self.ended = position == Position::Last;
        self.failed = opened.err();
        opened?;
        Ok(true)
    }
}

impl<R: Read> Read for SegmentReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.taken == self.plain.len() {
            if !self.open_next()? {
                return Ok(0);
            }
        }
        let left = &self.plain[self.taken..];
        let count = left.len().min(out.len());
        out[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

const PREFIX_SIZE: usize = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Inner = 0,
    Last = 1,
}

struct Cipher {
    key: LessSafeKey,
    header: Vec<u8>,
    prefix: [u8; PREFIX_SIZE],
    /// The next segment's number; beyond `u32::MAX` there is none.
    counter: u64,
}

impl Cipher {
    fn new(key: &SegmentKey, header: &[u8], prefix: [u8; PREFIX_SIZE]) -> Self {
        let key = match UnboundKey::new(&AES_256_GCM, key.as_slice()) {
            Ok(key) => LessSafeKey::new(key),
            Err(_) => unreachable!("a key of AES-256 has 32 bytes"),
        };
        Self {
            key,
            header: header.to_vec(),
            prefix,
            counter: 0,
        }
    }

    /// Encrypts in place and appends the tag.
    fn seal(&mut self, buffer: &mut Vec<u8>, position: Position) -> Result<(), SegmentError> {
        let number = self.number()?;
        let nonce = self.nonce(number, position);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(&self.header), buffer)
            .map_err(|_| SegmentError::Altered(number))?;
        self.counter += 1;
        Ok(())
    }

    fn open(
        &mut self,
        segment: &[u8],
        position: Position,
        plain: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), SegmentError> {
        let number = self.number()?;
        plain.clear();
        let Some(length) = segment.len().checked_sub(SEGMENT_OVERHEAD) else {
            return Err(match number {
                // Not even a tag: the writer did not come to its end.
                0 => SegmentError::Truncated(0),
                _ => SegmentError::Truncated(number - 1),
            });
        };
        plain.resize(length, 0);
        if self.opens(number, segment, position, plain) {
            // Content that fills its segments ends with a full one, so an empty last segment is never written.
            if length == 0 && number > 0 {
                return Err(SegmentError::Extended(number - 1));
            }
            self.counter += 1;
            return Ok(());
        }
        // The same segment under the other mark tells a cut or an addition at its edge from an alteration.
        let error = match position {
            Position::Last if self.opens(number, segment, Position::Inner, plain) => {
                SegmentError::Truncated(number)
            }
            Position::Inner if self.opens(number, segment, Position::Last, plain) => {
                SegmentError::Extended(number)
            }
            _ => SegmentError::Altered(number),
        };
        plain.clear();
        Err(error)
    }

    fn opens(&self, number: u32, segment: &[u8], position: Position, plain: &mut [u8]) -> bool {
        let (ciphertext, tag) = segment.split_at(segment.len() - SEGMENT_OVERHEAD);
        let nonce = self.nonce(number, position);
        let header = Aad::from(&self.header);
        self.key
            .open_separate_gather(nonce, header, ciphertext, tag, plain)
            .is_ok()
    }

    fn number(&self) -> Result<u32, SegmentError> {
        u32::try_from(self.counter).map_err(|_| SegmentError::Counter)
    }

    fn nonce(&self, number: u32, position: Position) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..PREFIX_SIZE].copy_from_slice(&self.prefix);
        nonce[PREFIX_SIZE..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = position as u8;
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::aead::{AeadInPlace, KeyInit};
    use proptest::prelude::*;

    fn key() -> SegmentKey {
        Zeroizing::new([42; 32])
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn seal(plain: &[u8], header: &[u8]) -> Vec<u8> {
        let mut writer = SegmentWriter::with_prefix(Vec::new(), &key(), header, [9; 7]).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn open(sealed: &[u8], header: &[u8]) -> Result<Vec<u8>, SegmentError> {
        SegmentReader::new(sealed, &key(), header)
            .and_then(|reader| reader.read_all(1 << 30))
            .map(|content| content.to_vec())
            .map_err(|error| SegmentError::of(&error).unwrap())
    }

    /// STREAM by RustCrypto's `aes-gcm`, written from the paper and not from the code above.
    fn seal_by_rust_crypto(plain: &[u8], header: &[u8]) -> Vec<u8> {
        let cipher = aes_gcm::Aes256Gcm::new(key().as_slice().into());
        let mut out = vec![9; 7];
        let segments: Vec<&[u8]> = match plain.len() {
            0 => vec![&[]],
            _ => plain.chunks(SEGMENT_SIZE).collect(),
        };
        for (i, segment) in segments.iter().enumerate() {
            let last = u8::from(i + 1 == segments.len());
            let nonce = [&[9; 7][..], &(i as u32).to_be_bytes(), &[last]].concat();
            let mut bytes = segment.to_vec();
            let tag = cipher
                .encrypt_in_place_detached(nonce.as_slice().into(), header, &mut bytes)
                .unwrap();
            out.extend_from_slice(&bytes);
            out.extend_from_slice(&tag);
        }
        out
    }

    #[test]
    fn two_implementations_write_the_same_bytes() {
        for length in [
            0,
            1,
            5_000,
            SEGMENT_SIZE - 1,
            SEGMENT_SIZE,
            SEGMENT_SIZE + 1,
            2 * SEGMENT_SIZE,
        ] {
            let plain = content(length);
            let sealed = seal(&plain, b"header");
            assert!(sealed == seal_by_rust_crypto(&plain, b"header"), "{length}");
            assert!(open(&sealed, b"header").unwrap() == plain, "{length}");
        }
    }

    #[test]
    fn reading_and_writing_in_pieces_gives_the_same() {
        let plain = content(2 * SEGMENT_SIZE + 77);
        let mut writer = SegmentWriter::with_prefix(Vec::new(), &key(), b"", [9; 7]).unwrap();
        for piece in plain.chunks(300_007) {
            writer.write_all(piece).unwrap();
        }
        let sealed = writer.finish().unwrap();
        assert!(sealed == seal(&plain, b""));
        let mut reader = SegmentReader::new(sealed.as_slice(), &key(), b"").unwrap();
        let (mut opened, mut piece) = (Vec::new(), vec![0; 123_457]);
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => break,
                count => opened.extend_from_slice(&piece[..count]),
            }
        }
        assert!(opened == plain);
    }

    #[test]
    fn another_header_and_another_key_are_refused() {
        let sealed = seal(b"content", b"header");
        assert_eq!(open(&sealed, b"heades"), Err(SegmentError::Altered(0)));
        let other = Zeroizing::new([43; 32]);
        let reader = SegmentReader::new(sealed.as_slice(), &other, b"header").unwrap();
        let error = reader.read_all(100).unwrap_err();
        assert_eq!(SegmentError::of(&error), Some(SegmentError::Altered(0)));
    }

    #[test]
    fn every_flipped_byte_of_a_short_stream_is_refused() {
        let sealed = seal(b"content", b"header");
        for position in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[position] ^= 0x40;
            assert_eq!(
                open(&bad, b"header"),
                Err(SegmentError::Altered(0)),
                "{position}"
            );
        }
    }

    #[test]
    fn a_cut_at_any_place_is_refused_and_at_an_edge_called_one() {
        let sealed = seal(&content(SEGMENT_SIZE + 50), b"");
        let edge = 7 + SEGMENT_SIZE + SEGMENT_OVERHEAD;
        assert_eq!(open(&sealed[..edge], b""), Err(SegmentError::Truncated(0)));
        for length in [0, 3, 7, 20] {
            assert_eq!(
                open(&sealed[..length], b""),
                Err(SegmentError::Truncated(0))
            );
        }
        assert_eq!(
            open(&sealed[..edge + 5], b""),
            Err(SegmentError::Truncated(0))
        );
        for length in [100, edge - 1, edge + 16, sealed.len() - 1] {
            assert!(
                matches!(open(&sealed[..length], b""), Err(SegmentError::Altered(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn swapped_repeated_and_appended_segments_are_refused() {
        let sealed = seal(&content(2 * SEGMENT_SIZE + 50), b"");
        let whole = SEGMENT_SIZE + SEGMENT_OVERHEAD;
        let (prefix, body) = sealed.split_at(7);
        let (first, second, last) = (&body[..whole], &body[whole..2 * whole], &body[2 * whole..]);
        for (segments, expect) in [
            ([second, first, last, &[]], SegmentError::Altered(0)),
            ([first, first, last, &[]], SegmentError::Altered(1)),
            ([first, last, &[], &[]], SegmentError::Altered(1)),
            ([first, second, last, last], SegmentError::Altered(2)),
        ] {
            let bad = [&[prefix][..], &segments].concat().concat();
            assert_eq!(open(&bad, b""), Err(expect));
        }
        let full = seal(&content(SEGMENT_SIZE), b"");
        let extended = [&full[..], &[0]].concat();
        assert_eq!(open(&extended, b""), Err(SegmentError::Extended(0)));
    }

    #[test]
    fn an_empty_last_segment_after_content_is_refused_though_it_verifies() {
        let mut cipher = Cipher::new(&key(), b"", [9; 7]);
        let (mut first, mut empty) = (content(SEGMENT_SIZE), Vec::new());
        cipher.seal(&mut first, Position::Inner).unwrap();
        cipher.seal(&mut empty, Position::Last).unwrap();
        let sealed = [&[9; 7][..], &first, &empty].concat();
        assert_eq!(open(&sealed, b""), Err(SegmentError::Extended(0)));
    }

    #[test]
    fn content_over_the_limit_is_refused_before_it_is_held() {
        let sealed = seal(&content(1_000), b"");
        let reader = SegmentReader::new(sealed.as_slice(), &key(), b"").unwrap();
        let error = reader.read_all(999).unwrap_err();
        assert_eq!(
            SegmentError::of(&error),
            Some(SegmentError::TooLong { limit: 999 })
        );
    }

    #[test]
    fn a_reader_that_failed_keeps_failing() {
        let mut sealed = seal(&content(SEGMENT_SIZE + 50), b"");
        sealed[50] ^= 1;
        let mut reader = SegmentReader::new(sealed.as_slice(), &key(), b"").unwrap();
        let mut out = [0; 10];
        for _ in 0..3 {
            assert!(reader.read(&mut out).is_err());
        }
    }

    #[test]
    fn the_counter_ends_before_a_nonce_comes_twice() {
        let mut cipher = Cipher::new(&key(), b"", [9; 7]);
        cipher.counter = u64::from(u32::MAX);
        cipher.seal(&mut vec![1], Position::Inner).unwrap();
        assert_eq!(
            cipher.seal(&mut vec![1], Position::Last),
            Err(SegmentError::Counter)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes, b"").is_err());
        }
    }
}
