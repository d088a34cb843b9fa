//! Checkpoints (C2SP `tlog-checkpoint`) and the members' cosignatures on them (C2SP `tlog-cosignature`, version 1).
//!
//! The ledger has no key of its own: what a majority of its members cosigned is the ledger's word, and two checkpoints that disagree are proof against those who signed both.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::note::{NoteError, NoteSignature, SignedNote, key_id};
use crate::{Digest, Identity, PartyKey, PartyName};

/// The signature type of timestamped Ed25519 cosignatures (C2SP `signed-note`, signature types).
const COSIGNATURE_TYPE: u8 = 0x04;

/// An origin is written into every checkpoint; longer than a domain name and a path it need not be.
const ORIGIN_LENGTH_LIMIT: usize = 128;

/// The name of one ledger, which no other ledger has: `tributary-ledger/…`.
///
/// ```
/// use tributary_protocol::ledger::Origin;
/// assert!("tributary-ledger/hospital-a/7f3a".parse::<Origin>().is_ok());
/// assert!("two words".parse::<Origin>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// The head of the ledger at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// The Merkle tree hash over them.
    pub root: Digest,
}

/// A checkpoint with cosignatures that nobody has verified yet; see [`Members::verify`].
///
/// Serialised as the text of the note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
}

/// The members of a ledger and their keys: whom a verifier trusts by majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    origin: Origin,
    keys: BTreeMap<PartyName, PartyKey>,
}

/// A checkpoint that says nothing, or not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not an origin.
    #[error(
        "expected a ledger's origin of 1 to {ORIGIN_LENGTH_LIMIT} lower-case letters, digits, dots, hyphens and slashes, got `{0}`"
    )]
    Origin(String),
    /// Not the three lines of a checkpoint.
    #[error("expected a checkpoint of three lines: origin, size in decimal, root hash in base64")]
    Body,
    /// A cosignature dated before 1970.
    #[error("expected a time after 1970 to cosign at")]
    Time,
    /// Another ledger's checkpoint.
    #[error("expected a checkpoint of the ledger `{expected}`, got one of `{got}`")]
    OtherLedger {
        /// The origin that was asked for.
        expected: Origin,
        /// The origin in the checkpoint.
        got: Origin,
    },
    /// A member's signature does not verify.
    #[error(
        "the cosignature of `{0}` does not verify: the checkpoint was altered, or `{0}` has another key than expected"
    )]
    Signature(PartyName),
    /// Too few members signed.
    #[error("expected cosignatures of at least {needed} of {members} ledger members, got {got}")]
    NoMajority {
        /// Members that must have signed.
        needed: usize,
        /// Members there are.
        members: usize,
        /// Members that did sign.
        got: usize,
    },
    /// A ledger without members.
    #[error("expected at least one ledger member")]
    NoMembers,
}

impl Origin {
    /// The origin of the ledger that `host` keeps, with eight digits of its key so that no two hosts of one name collide.
    pub fn of_host(host: &PartyName, key: &PartyKey) -> Self {
        Self(format!(
            "tributary-ledger/{host}/{}",
            hex::encode(&key.as_bytes()[..4])
        ))
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./-".contains(&b);
        if (1..=ORIGIN_LENGTH_LIMIT).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CheckpointError::Origin(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = CheckpointError;

    fn try_from(text: String) -> Result<Self, CheckpointError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> String {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Checkpoint {
    /// The note's text: origin, size, root.
    pub fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(self.root.as_bytes())
        )
    }

    /// The checkpoint cosigned by one member, at `now`.
    pub fn cosigned(
        self,
        member: &PartyName,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<SignedCheckpoint, CheckpointError> {
        let signature = self.cosignature(member, identity, now)?;
        let note = SignedNote::new(self.body(), vec![signature])?;
        Ok(SignedCheckpoint {
            checkpoint: self,
            note,
        })
    }

    fn cosignature(
        &self,
        member: &PartyName,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<NoteSignature, CheckpointError> {
        let time = u64::try_from(now.timestamp()).map_err(|_| CheckpointError::Time)?;
        let mut bytes = time.to_be_bytes().to_vec();
        bytes.extend_from_slice(&identity.sign(&cosigned_message(time, &self.body())));
        Ok(NoteSignature {
            name: member.to_string(),
            key_id: key_id(member.as_str(), COSIGNATURE_TYPE, &identity.public()),
            bytes,
        })
    }

    fn parse(body: &str) -> Result<Self, CheckpointError> {
        let mut lines = body
            .strip_suffix('\n')
            .ok_or(CheckpointError::Body)?
            .split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Body);
        };
        let root = BASE64
            .decode(root)
            .ok()
            .and_then(|root| root.try_into().ok());
        let checkpoint = Self {
            origin: origin.parse()?,
            size: size.parse().map_err(|_| CheckpointError::Body)?,
            root: Digest::from_bytes(root.ok_or(CheckpointError::Body)?),
        };
        // `+5` and `05` are numbers to Rust and not to the specification.
        if checkpoint.body() == body {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Body)
        }
    }
}

impl SignedCheckpoint {
    /// Reads the text of a note.
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        Ok(Self {
            checkpoint: Checkpoint::parse(note.text())?,
            note,
        })
    }

    /// Adds the cosignature of another member.
    pub fn cosign(
        &mut self,
        member: &PartyName,
        identity: &Identity,
        now: DateTime<Utc>,
    ) -> Result<(), CheckpointError> {
        let signature = self.checkpoint.cosignature(member, identity, now)?;
        let mut signatures = self.note.signatures().to_vec();
        signatures.retain(|s| (&s.name, s.key_id) != (&signature.name, signature.key_id));
        signatures.push(signature);
        self.note = SignedNote::new(self.checkpoint.body(), signatures)?;
        Ok(())
    }

    /// What the checkpoint claims. Trust it after [`Members::verify`] only.
    pub fn claimed(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl TryFrom<String> for SignedCheckpoint {
    type Error = CheckpointError;

    fn try_from(note: String) -> Result<Self, CheckpointError> {
        Self::parse(&note)
    }
}

impl From<SignedCheckpoint> for String {
    fn from(checkpoint: SignedCheckpoint) -> String {
        checkpoint.to_string()
    }
}

impl Members {
    /// The members of the ledger `origin`.
    pub fn new(
        origin: Origin,
        keys: BTreeMap<PartyName, PartyKey>,
    ) -> Result<Self, CheckpointError> {
        if keys.is_empty() {
            return Err(CheckpointError::NoMembers);
        }
        Ok(Self { origin, keys })
    }

    /// The one member of the ledger that an agent keeps embedded.
    pub fn single(host: PartyName, key: PartyKey) -> Self {
        Self {
            origin: Origin::of_host(&host, &key),
            keys: BTreeMap::from([(host, key)]),
        }
    }

    /// Which ledger.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Names and keys.
    pub fn keys(&self) -> &BTreeMap<PartyName, PartyKey> {
        &self.keys
    }

    /// How many cosignatures a checkpoint needs: more than half.
    pub fn majority(&self) -> usize {
        self.keys.len() / 2 + 1
    }

    /// Checks that a majority of the members cosigned, and returns who did and when.
    ///
    /// Signatures of strangers are passed over, as `signed-note` demands; a signature under a member's name and key id must verify.
    pub fn verify(
        &self,
        signed: &SignedCheckpoint,
    ) -> Result<BTreeMap<PartyName, DateTime<Utc>>, CheckpointError> {
        let checkpoint = &signed.checkpoint;
        if checkpoint.origin != self.origin {
            return Err(CheckpointError::OtherLedger {
                expected: self.origin.clone(),
                got: checkpoint.origin.clone(),
            });
        }
        let mut cosigners = BTreeMap::new();
        for (member, key) in &self.keys {
            let expected_id = key_id(member.as_str(), COSIGNATURE_TYPE, key);
            for signature in signed.note.signatures() {
                if signature.name != member.as_str() || signature.key_id != expected_id {
                    continue;
                }
                let time = cosigned_at(key, signature, signed.note.text())
                    .ok_or_else(|| CheckpointError::Signature(member.clone()))?;
                cosigners.insert(member.clone(), time);
            }
        }
        if cosigners.len() < self.majority() {
            return Err(CheckpointError::NoMajority {
                needed: self.majority(),
                members: self.keys.len(),
                got: cosigners.len(),
            });
        }
        Ok(cosigners)
    }
}

/// The time of a cosignature that verifies: `timestamped_signature { u64 timestamp; u8 signature[64]; }`.
fn cosigned_at(key: &PartyKey, signature: &NoteSignature, body: &str) -> Option<DateTime<Utc>> {
    let (time, signature) = signature.bytes.split_first_chunk::<8>()?;
    let signature: &[u8; 64] = signature.try_into().ok()?;
    let time = u64::from_be_bytes(*time);
    key.verify(&cosigned_message(time, body), signature).ok()?;
    DateTime::from_timestamp(i64::try_from(time).ok()?, 0)
}

/// What is signed: `cosignature/v1`, the time, and the checkpoint's text.
fn cosigned_message(time: u64, body: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn name(text: &str) -> PartyName {
        text.parse().unwrap()
    }

    fn checkpoint(origin: &Origin, size: u64) -> Checkpoint {
        Checkpoint {
            origin: origin.clone(),
            size,
            root: Digest::of(&size.to_be_bytes()),
        }
    }

    fn federation(count: usize) -> (Members, Vec<(PartyName, Identity)>) {
        let identities: Vec<_> = (0..count)
            .map(|i| (name(&format!("agent-{i}")), Identity::generate()))
            .collect();
        let keys = identities
            .iter()
            .map(|(name, identity)| (name.clone(), identity.public()))
            .collect();
        let origin = "tributary-ledger/test".parse().unwrap();
        (Members::new(origin, keys).unwrap(), identities)
    }

    #[test]
    fn the_example_of_the_specification_has_this_shape() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let signed = SignedCheckpoint::parse(text).unwrap();
        assert_eq!(signed.claimed().size, 20_852_163);
        assert_eq!(signed.to_string(), text);
    }

    #[test]
    fn a_majority_of_cosignatures_is_enough_and_fewer_are_not() {
        for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let (members, identities) = federation(count);
            assert_eq!(members.majority(), needed);
            let (first, rest) = identities.split_first().unwrap();
            let mut signed = checkpoint(members.origin(), 7)
                .cosigned(&first.0, &first.1, now())
                .unwrap();
            for (signatures, (member, identity)) in (1..).zip(rest) {
                let verified = members.verify(&signed);
                assert_eq!(
                    verified.is_ok(),
                    signatures >= needed,
                    "{signatures} of {count}"
                );
                signed.cosign(member, identity, now()).unwrap();
            }
            let cosigners = members.verify(&signed).unwrap();
            assert_eq!(cosigners.len(), count);
            assert!(cosigners.values().all(|time| *time == now()));
        }
    }

    #[test]
    fn one_member_that_signs_thrice_is_one_member() {
        let (members, identities) = federation(3);
        let (member, identity) = &identities[0];
        let once = checkpoint(members.origin(), 7)
            .cosigned(member, identity, now())
            .unwrap();
        let line = once.to_string().lines().last().unwrap().to_owned();
        let thrice = SignedCheckpoint::parse(&format!("{once}{line}\n{line}\n")).unwrap();
        assert!(matches!(
            members.verify(&thrice),
            Err(CheckpointError::NoMajority {
                got: 1,
                needed: 2,
                ..
            })
        ));
    }

    #[test]
    fn strangers_other_ledgers_and_borrowed_names_do_not_count() {
        let (members, identities) = federation(1);
        let stranger = Identity::generate();
        let by_stranger = checkpoint(members.origin(), 1)
            .cosigned(&name("stranger"), &stranger, now())
            .unwrap();
        assert!(matches!(
            members.verify(&by_stranger),
            Err(CheckpointError::NoMajority { got: 0, .. })
        ));
        let borrowed = checkpoint(members.origin(), 1)
            .cosigned(&identities[0].0, &stranger, now())
            .unwrap();
        assert!(matches!(
            members.verify(&borrowed),
            Err(CheckpointError::NoMajority { got: 0, .. })
        ));
        let elsewhere = checkpoint(&"tributary-ledger/other".parse().unwrap(), 1)
            .cosigned(&identities[0].0, &identities[0].1, now())
            .unwrap();
        assert!(matches!(
            members.verify(&elsewhere),
            Err(CheckpointError::OtherLedger { .. })
        ));
        assert!(Members::new(members.origin().clone(), BTreeMap::new()).is_err());
    }

    #[test]
    fn a_signature_of_another_checkpoint_or_time_does_not_verify() {
        let (members, identities) = federation(1);
        let (member, identity) = &identities[0];
        let good = checkpoint(members.origin(), 1)
            .cosigned(member, identity, now())
            .unwrap();
        let other = checkpoint(members.origin(), 2);
        let moved = SignedCheckpoint {
            note: SignedNote::new(other.body(), good.note.signatures().to_vec()).unwrap(),
            checkpoint: other,
        };
        assert!(matches!(
            members.verify(&moved),
            Err(CheckpointError::Signature(_))
        ));
        let mut signatures = good.note.signatures().to_vec();
        signatures[0].bytes[7] ^= 1;
        let redated = SignedCheckpoint {
            note: SignedNote::new(good.checkpoint.body(), signatures).unwrap(),
            checkpoint: good.checkpoint.clone(),
        };
        assert!(matches!(
            members.verify(&redated),
            Err(CheckpointError::Signature(_))
        ));
    }

    #[test]
    fn every_altered_byte_of_a_checkpoint_is_refused() {
        let (members, identities) = federation(1);
        let (member, identity) = &identities[0];
        let good = checkpoint(members.origin(), 1234)
            .cosigned(member, identity, now())
            .unwrap()
            .to_string();
        for position in 0..good.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bytes = good.clone().into_bytes();
                bytes[position] ^= flip;
                let accepted = String::from_utf8(bytes)
                    .ok()
                    .and_then(|text| SignedCheckpoint::parse(&text).ok())
                    .is_some_and(|signed| members.verify(&signed).is_ok());
                assert!(!accepted, "byte {position} ^ {flip:#x}");
            }
        }
    }

    #[test]
    fn other_spellings_of_a_body_are_refused() {
        let good = checkpoint(&"o".parse().unwrap(), 5).body();
        assert!(Checkpoint::parse(&good).is_ok());
        for bad in [
            good.replace("\n5\n", "\n05\n"),
            good.replace("\n5\n", "\n+5\n"),
            good.replace("\n5\n", "\n-5\n"),
            good.replace("o\n", "\n"),
            format!("{good}extension\n"),
            good.trim_end().to_owned(),
            good.replace('=', ""),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_checkpoint_is_read_as_it_was_written(size: u64, root: [u8; 32], seconds in 0i64..4_000_000_000) {
            let (members, identities) = federation(1);
            let (member, identity) = &identities[0];
            let head = Checkpoint { origin: members.origin().clone(), size, root: Digest::from_bytes(root) };
            let time = DateTime::from_timestamp(seconds, 0).unwrap();
            let signed = head.clone().cosigned(member, identity, time).unwrap();
            let read = SignedCheckpoint::parse(&signed.to_string()).unwrap();
            prop_assert_eq!(read.claimed(), &head);
            prop_assert_eq!(members.verify(&read).unwrap()[member], time);
        }
    }
}
