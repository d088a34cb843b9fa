//! What the ledger remembers: entries, and the one encoding of each, which is hashed into the tree.
//!
//! An entry is a version byte, a kind byte, the author, the time, and the fields of its kind in order:
//! integers big-endian, texts and envelopes prefixed by their length, an absent checkpoint as the byte 0.
//! Two entries are equal exactly where their bytes are.

use chrono::{DateTime, Utc};

use crate::{DatasetRef, Digest, ENVELOPE_SIZE_LIMIT, PartyName, RunNumber, SequenceNumber};

/// The largest envelope and the fields around it.
pub const ENTRY_SIZE_LIMIT: usize = ENVELOPE_SIZE_LIMIT + 1024;

const VERSION: u8 = 1;

/// One thing that happened, who said so, and when by the ledger's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The party that submitted it.
    pub author: PartyName,
    /// When the ledger took it; whole milliseconds.
    pub time: DateTime<Utc>,
    /// What happened.
    pub event: Event,
}

/// The kinds of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A contract that every party signed got its number.
    ContractRegistered {
        /// Its number.
        number: SequenceNumber,
        /// The envelope in JSON, with all signatures.
        envelope: Vec<u8>,
    },
    /// A run began, or was taken up again.
    RunOpened {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The consumer's authorisation: its envelope in JSON.
        authorisation: Vec<u8>,
    },
    /// Steps that an agent may serve from now on. They count as spent whether they are served or not.
    Lease {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The dataset, of the author.
        dataset: DatasetRef,
        /// The first step, counted from 0 in each run.
        first_step: u64,
        /// The step after the last.
        end_step: u64,
    },
    /// Steps that were served.
    Settlement {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// The dataset, of the author.
        dataset: DatasetRef,
        /// The step after the last that was served.
        served: u64,
        /// SHA-256 of the training checkpoint that holds the state after these steps.
        checkpoint: Option<Digest>,
    },
    /// A run ended, and this is the digest of its receipt.
    RunClosed {
        /// The contract.
        contract: SequenceNumber,
        /// The run.
        run: RunNumber,
        /// SHA-256 of the receipt's payload.
        receipt: Digest,
    },
    /// A party took back its signature: nothing more happens under the contract.
    Revocation {
        /// The contract.
        contract: SequenceNumber,
        /// Who revoked.
        by: PartyName,
        /// The signed statement with the reason: an envelope in JSON.
        statement: Vec<u8>,
    },
}

/// Bytes that are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Too long.
    #[error("expected a ledger entry of at most {ENTRY_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// Written by another version of this program.
    #[error("expected a ledger entry of version {VERSION}, got version {0}")]
    Version(u8),
    /// An unknown kind.
    #[error("expected a ledger entry of kind 1 to 6, got kind {0}")]
    Kind(u8),
    /// A field that is cut short, too long or malformed.
    #[error("expected a ledger entry with a well-formed `{0}`")]
    Field(&'static str),
    /// Bytes after the end.
    #[error("expected a ledger entry without {0} bytes after its end")]
    TrailingBytes(usize),
}

impl Entry {
    /// An entry of whole milliseconds, as the encoding holds them.
    pub fn new(author: PartyName, time: DateTime<Utc>, event: Event) -> Self {
        let time = DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time);
        Self {
            author,
            time,
            event,
        }
    }

    /// The leaf: what is hashed, stored and proved.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.event.kind()];
        put_name(&mut out, self.author.as_str());
        out.extend_from_slice(&self.time.timestamp_millis().to_be_bytes());
        match &self.event {
            Event::ContractRegistered { number, envelope } => {
                out.extend_from_slice(&number.get().to_be_bytes());
                put_bytes(&mut out, envelope);
            }
            Event::RunOpened {
                contract,
                run,
                authorisation,
            } => {
                put_run(&mut out, *contract, *run);
                put_bytes(&mut out, authorisation);
            }
            Event::Lease {
                contract,
                run,
                dataset,
                first_step,
                end_step,
            } => {
                put_run(&mut out, *contract, *run);
                put_name(&mut out, dataset.owner.as_str());
                put_name(&mut out, dataset.name.as_str());
                out.extend_from_slice(&first_step.to_be_bytes());
                out.extend_from_slice(&end_step.to_be_bytes());
            }
            Event::Settlement {
                contract,
                run,
                dataset,
                served,
                checkpoint,
            } => {
                put_run(&mut out, *contract, *run);
                put_name(&mut out, dataset.owner.as_str());
                put_name(&mut out, dataset.name.as_str());
                out.extend_from_slice(&served.to_be_bytes());
                match checkpoint {
                    None => out.push(0),
                    Some(digest) => {
                        out.push(1);
                        out.extend_from_slice(digest.as_bytes());
                    }
                }
            }
            Event::RunClosed {
                contract,
                run,
                receipt,
            } => {
                put_run(&mut out, *contract, *run);
                out.extend_from_slice(receipt.as_bytes());
            }
            Event::Revocation {
                contract,
                by,
                statement,
            } => {
                out.extend_from_slice(&contract.get().to_be_bytes());
                put_name(&mut out, by.as_str());
                put_bytes(&mut out, statement);
            }
        }
        out
    }

    /// Reads a leaf.
    pub fn decode(leaf: &[u8]) -> Result<Self, EntryError> {
        if leaf.len() > ENTRY_SIZE_LIMIT {
            return Err(EntryError::TooLarge(leaf.len()));
        }
        let mut input = Input(leaf);
        let [version] = input.array("version")?;
        if version != VERSION {
            return Err(EntryError::Version(version));
        }
        let [kind] = input.array("kind")?;
        let author = input.name("author")?;
        let time = DateTime::from_timestamp_millis(i64::from_be_bytes(input.array("time")?))
            .ok_or(EntryError::Field("time"))?;
        let event = match kind {
            1 => Event::ContractRegistered {
                number: input.contract()?,
                envelope: input.bytes("envelope")?,
            },
            2 => Event::RunOpened {
                contract: input.contract()?,
                run: input.run()?,
                authorisation: input.bytes("authorisation")?,
            },
            3 => Event::Lease {
                contract: input.contract()?,
                run: input.run()?,
                dataset: input.dataset()?,
                first_step: input.u64("first step")?,
                end_step: input.u64("end step")?,
            },
            4 => Event::Settlement {
                contract: input.contract()?,
                run: input.run()?,
                dataset: input.dataset()?,
                served: input.u64("served")?,
                checkpoint: match input.array("checkpoint")? {
                    [0] => None,
                    [1] => Some(Digest::from_bytes(input.array("checkpoint")?)),
                    _ => return Err(EntryError::Field("checkpoint")),
                },
            },
            5 => Event::RunClosed {
                contract: input.contract()?,
                run: input.run()?,
                receipt: Digest::from_bytes(input.array("receipt")?),
            },
            6 => Event::Revocation {
                contract: input.contract()?,
                by: input.name("by")?,
                statement: input.bytes("statement")?,
            },
            other => return Err(EntryError::Kind(other)),
        };
        if !input.0.is_empty() {
            return Err(EntryError::TrailingBytes(input.0.len()));
        }
        Ok(Self {
            author,
            time,
            event,
        })
    }
}

impl Event {
    /// The contract that the entry belongs to.
    pub fn contract(&self) -> SequenceNumber {
        match self {
            Self::ContractRegistered { number, .. } => *number,
            Self::RunOpened { contract, .. }
            | Self::Lease { contract, .. }
            | Self::Settlement { contract, .. }
            | Self::RunClosed { contract, .. }
            | Self::Revocation { contract, .. } => *contract,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::ContractRegistered { .. } => 1,
            Self::RunOpened { .. } => 2,
            Self::Lease { .. } => 3,
            Self::Settlement { .. } => 4,
            Self::RunClosed { .. } => 5,
            Self::Revocation { .. } => 6,
        }
    }
}

fn put_run(out: &mut Vec<u8>, contract: SequenceNumber, run: RunNumber) {
    out.extend_from_slice(&contract.get().to_be_bytes());
    out.extend_from_slice(&run.get().to_be_bytes());
}

/// Names have at most 63 bytes, so one byte holds their length.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// Envelopes have at most 4 MiB, so four bytes hold their length.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], EntryError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(EntryError::Field(field))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], EntryError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(EntryError::Field(field))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, EntryError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    fn contract(&mut self) -> Result<SequenceNumber, EntryError> {
        SequenceNumber::new(self.u64("contract")?).ok_or(EntryError::Field("contract"))
    }

    fn run(&mut self) -> Result<RunNumber, EntryError> {
        RunNumber::new(u32::from_be_bytes(self.array("run")?)).ok_or(EntryError::Field("run"))
    }

    fn dataset(&mut self) -> Result<DatasetRef, EntryError> {
        Ok(DatasetRef {
            owner: self.name("owner")?,
            name: self.name("dataset")?,
        })
    }

    fn name<N: std::str::FromStr>(&mut self, field: &'static str) -> Result<N, EntryError> {
        let [length] = self.array(field)?;
        std::str::from_utf8(self.take(length.into(), field)?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(EntryError::Field(field))
    }

    fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, EntryError> {
        let length = u32::from_be_bytes(self.array(field)?) as usize;
        if length > ENVELOPE_SIZE_LIMIT {
            return Err(EntryError::Field(field));
        }
        Ok(self.take(length, field)?.to_vec())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        let name = || "[a-z0-9][a-z0-9-]{0,62}".prop_map(|n| n.parse::<PartyName>().unwrap());
        let dataset = || {
            (name(), "[a-z0-9][a-z0-9-]{0,62}").prop_map(|(owner, name)| DatasetRef {
                owner,
                name: name.parse().unwrap(),
            })
        };
        let contract = || (1u64..).prop_map(|n| SequenceNumber::new(n).unwrap());
        let run = || (1u32..).prop_map(|n| RunNumber::new(n).unwrap());
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        let digest = || any::<[u8; 32]>().prop_map(Digest::from_bytes);
        let checkpoint = || prop::option::of(digest());
        let event = prop_oneof![
            (contract(), bytes())
                .prop_map(|(number, envelope)| Event::ContractRegistered { number, envelope }),
            (contract(), run(), bytes()).prop_map(|(contract, run, authorisation)| {
                Event::RunOpened {
                    contract,
                    run,
                    authorisation,
                }
            }),
            (contract(), run(), dataset(), any::<u64>(), any::<u64>()).prop_map(
                |(contract, run, dataset, first_step, end_step)| Event::Lease {
                    contract,
                    run,
                    dataset,
                    first_step,
                    end_step
                }
            ),
            (contract(), run(), dataset(), any::<u64>(), checkpoint()).prop_map(
                |(contract, run, dataset, served, checkpoint)| Event::Settlement {
                    contract,
                    run,
                    dataset,
                    served,
                    checkpoint
                }
            ),
            (contract(), run(), digest()).prop_map(|(contract, run, receipt)| Event::RunClosed {
                contract,
                run,
                receipt
            }),
            (contract(), name(), bytes()).prop_map(|(contract, by, statement)| {
                Event::Revocation {
                    contract,
                    by,
                    statement,
                }
            }),
        ];
        (name(), 0i64..4_000_000_000_000, event).prop_map(|(author, millis, event)| {
            Entry::new(
                author,
                DateTime::from_timestamp_millis(millis).unwrap(),
                event,
            )
        })
    }

    #[test]
    fn the_encoding_of_a_lease_is_fixed() {
        let entry = Entry::new(
            "a".parse().unwrap(),
            DateTime::from_timestamp_millis(1).unwrap(),
            Event::Lease {
                contract: SequenceNumber::FIRST,
                run: RunNumber::FIRST,
                dataset: DatasetRef {
                    owner: "a".parse().unwrap(),
                    name: "d".parse().unwrap(),
                },
                first_step: 0,
                end_step: 10,
            },
        );
        assert_eq!(
            hex::encode(entry.encode()),
            "010301610000000000000001000000000000000100000001016101640000000000000000000000000000000a"
        );
    }

    #[test]
    fn what_is_not_an_entry_is_refused() {
        assert_eq!(
            Entry::decode(&[]).unwrap_err(),
            EntryError::Field("version")
        );
        assert_eq!(Entry::decode(&[2, 1]).unwrap_err(), EntryError::Version(2));
        assert!(matches!(
            Entry::decode(&vec![1; ENTRY_SIZE_LIMIT + 1]),
            Err(EntryError::TooLarge(_))
        ));
        let mut unknown = vec![1, 7, 1, b'a'];
        unknown.extend_from_slice(&[0; 8]);
        assert_eq!(Entry::decode(&unknown).unwrap_err(), EntryError::Kind(7));
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(entry in any_entry()) {
            prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn bytes_that_are_read_have_no_other_spelling(entry in any_entry(), at: prop::sample::Index, byte: u8) {
            let mut bytes = entry.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Entry::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn cut_and_lengthened_entries_are_refused(entry in any_entry(), at: prop::sample::Index) {
            let mut bytes = entry.encode();
            prop_assert!(Entry::decode(&bytes[..at.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(Entry::decode(&bytes).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes);
        }
    }
}
