//! Platforms that a simulated root has taken back.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, Utc};
use ed25519_dalek::SigningKey;

use super::certificate::{Certificate, SIGNATURE, read_time, sign_with_label, verify_with_label};
use crate::{
    policy::SimulatedRootKey,
    wire::{Reader, WireError},
};

/// A root's list of the platforms that it no longer vouches for, so that a federation without hardware can rehearse what
/// a revocation does. Encoding, integers big-endian, times in seconds since 1970:
///
/// ```text
/// "TRBSIML" | version 1 (1) | root key (32) | this update (8) | next update (8)
///           | count (2), at most 4096 | platform keys (32 each), ascending | Ed25519 signature (64)
/// ```
///
/// The root signs a label and all bytes before the signature. Like a vendor's list it counts from its update to its next
/// one, and evidence is refused where the list at hand does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevocationList {
    pub(crate) root: SimulatedRootKey,
    pub(crate) this_update: DateTime<Utc>,
    pub(crate) next_update: DateTime<Utc>,
    pub(crate) platforms: BTreeSet<[u8; 32]>,
}

impl RevocationList {
    /// Most platforms on a list: more than a rehearsal has.
    pub(crate) const MAX_PLATFORMS: usize = 4096;
    /// The most bytes of an encoding.
    pub(crate) const MAX_ENCODED: usize = HEAD + Self::MAX_PLATFORMS * KEY + SIGNATURE;

    /// The encoding, signed by the root; times lose what is less than a second.
    pub(crate) fn sign(&self, root: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.platforms.len() * KEY + SIGNATURE);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(self.root.as_bytes());
        for time in [self.this_update, self.next_update] {
            out.extend_from_slice(&time.trunc_subsecs(0).timestamp().to_be_bytes());
        }
        debug_assert!(self.platforms.len() <= Self::MAX_PLATFORMS);
        out.extend_from_slice(&(self.platforms.len() as u16).to_be_bytes());
        self.platforms
            .iter()
            .for_each(|key| out.extend_from_slice(key));
        sign_with_label(root, LABEL, &mut out);
        out
    }

    /// Reads a list and holds it against the root that it names; whether anybody trusts that root is the policy's matter.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated root's list", MAGIC)?;
        let version = reader.u8("the list's version")?;
        if version != VERSION {
            return Err(WireError::value("the list's version", VERSION, version));
        }
        let root = SimulatedRootKey::new(reader.array("the root's key")?);
        let this_update = read_time(&mut reader, "the list's update")?;
        let next_update = read_time(&mut reader, "the list's next update")?;
        if next_update <= this_update {
            let expected = format!("later than its update, {this_update}");
            return Err(WireError::value(
                "the list's next update",
                expected,
                next_update,
            ));
        }
        let platforms = read_platforms(&mut reader)?;
        reader.take("the list's signature", SIGNATURE)?;
        reader.finish("the list")?;
        let signed = root
            .verifying_key()
            .is_some_and(|key| verify_with_label(&key, LABEL, bytes));
        if !signed {
            let expected = format!("by {root}");
            return Err(WireError::value(
                "the list's signature",
                expected,
                "another",
            ));
        }
        Ok(Self {
            root,
            this_update,
            next_update,
            platforms,
        })
    }

    pub(crate) fn lists(&self, certificate: &Certificate) -> bool {
        self.platforms.contains(&certificate.platform_key)
    }

    pub(crate) fn is_current(&self, now: DateTime<Utc>) -> bool {
        (self.this_update..=self.next_update).contains(&now)
    }

    /// For a person who must know why a list was not taken.
    pub(crate) fn period(&self) -> String {
        format!("{} to {}", self.this_update, self.next_update)
    }
}

/// Ascending, so that one list has one encoding.
fn read_platforms(reader: &mut Reader<'_>) -> Result<BTreeSet<[u8; 32]>, WireError> {
    let count = usize::from(reader.u16("the number of platforms")?);
    let max = RevocationList::MAX_PLATFORMS;
    if count > max {
        let expected = format!("at most {max}");
        return Err(WireError::value("the number of platforms", expected, count));
    }
    let mut platforms = BTreeSet::new();
    for _ in 0..count {
        let key = reader.array("a platform's key")?;
        if platforms.last().is_some_and(|last| *last >= key) {
            let got = hex::encode(key);
            return Err(WireError::value(
                "a platform's key",
                "greater than the one before",
                got,
            ));
        }
        platforms.insert(key);
    }
    Ok(platforms)
}

const MAGIC: &[u8] = b"TRBSIML";
const VERSION: u8 = 1;
const LABEL: &[u8] = b"tributary simulated revocation list v1\0";
const KEY: usize = 32;
/// All before the platforms.
const HEAD: usize = MAGIC.len() + 1 + 32 + 8 + 8 + 2;

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn list(platforms: impl IntoIterator<Item = [u8; 32]>) -> (SigningKey, RevocationList) {
        let key = SigningKey::from_bytes(&[1; 32]);
        let this_update = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let list = RevocationList {
            root: SimulatedRootKey::new(key.verifying_key().to_bytes()),
            this_update,
            next_update: this_update + TimeDelta::days(30),
            platforms: platforms.into_iter().collect(),
        };
        (key, list)
    }

    proptest! {
        #[test]
        fn what_is_signed_reads_back(keys in prop::collection::vec(any::<[u8; 32]>(), 0..5)) {
            let (key, list) = list(keys);
            let encoded = list.sign(&key);
            prop_assert!(encoded.len() <= RevocationList::MAX_ENCODED);
            prop_assert_eq!(RevocationList::parse(&encoded), Ok(list));
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = RevocationList::parse(&tail);
            let _ = RevocationList::parse(&[b"TRBSIML\x01", tail.as_slice()].concat());
        }
    }

    #[test]
    fn a_changed_byte_or_a_missing_end_is_refused() {
        let (key, list) = list([[3; 32], [7; 32]]);
        let encoded = list.sign(&key);
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 1;
            assert!(RevocationList::parse(&changed).is_err(), "byte {at}");
            assert!(RevocationList::parse(&encoded[..at]).is_err(), "{at} bytes");
        }
        assert!(RevocationList::parse(&[encoded.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn a_list_that_would_never_be_old_and_too_many_platforms_are_refused() {
        let (key, mut list) = list([]);
        list.next_update = list.this_update;
        let error = RevocationList::parse(&list.sign(&key)).unwrap_err();
        assert!(
            error.to_string().contains("later than its update"),
            "{error}"
        );
        let mut many = list.sign(&key);
        many[HEAD - 2..HEAD].copy_from_slice(&4097_u16.to_be_bytes());
        many[HEAD - 10..HEAD - 2].copy_from_slice(&i64::from(u32::MAX).to_be_bytes());
        let error = RevocationList::parse(&many).unwrap_err();
        assert!(error.to_string().contains("4096"), "{error}");
    }

    #[test]
    fn platforms_out_of_order_or_twice_are_refused_even_where_signed() {
        let (key, list) = list([[3; 32], [7; 32]]);
        let encoded = list.sign(&key);
        for second in [[3; 32], [2; 32]] {
            let mut changed = encoded[..encoded.len() - SIGNATURE].to_vec();
            changed[HEAD + KEY..].copy_from_slice(&second);
            sign_with_label(&key, LABEL, &mut changed);
            let error = RevocationList::parse(&changed).unwrap_err();
            assert!(
                error.to_string().contains("greater than the one before"),
                "{error}"
            );
        }
    }
}
