//! Records: entries as the log holds them, each chained to the one before and signed by the keeper.
//!
//! raft-engine's checksums find accidents. The chain finds an entry that was taken out, moved or brought from an older copy,
//! and the signature one that somebody else wrote.

use sha2::{Digest as _, Sha256};
use tributary_protocol::ledger::{ENTRY_SIZE_LIMIT, Entry, Origin};
use tributary_protocol::{Digest, Identity, PartyKey};

use super::open_error::LedgerOpenError;

/// Index, previous link, signature.
const HEADER_LENGTH: usize = 8 + 32 + 64;

/// The largest entry and the header before it.
const RECORD_SIZE_LIMIT: usize = HEADER_LENGTH + ENTRY_SIZE_LIMIT;

/// Keeps signatures of records from passing as signatures of anything else.
const SIGNATURE_LABEL: &[u8] = b"tributary-ledger-record/v1\n";

/// The end of a chain of records: how many there are, and the hash that the next one must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    length: u64,
    link: Digest,
}

impl Chain {
    /// The chain of an empty ledger. Its first link names the ledger, so that records of two ledgers do not mix.
    pub(super) fn of(origin: &Origin) -> Self {
        Self {
            length: 0,
            link: Digest::of(origin.as_str().as_bytes()),
        }
    }

    /// Number of records.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// The record that holds `entry` next, and the chain with it.
    pub(super) fn extend(&self, entry: &Entry, identity: &Identity) -> (Vec<u8>, Self) {
        let entry = entry.encode();
        let index = self.length + 1;
        let link = self.next_link(index, &entry);
        let mut record = Vec::with_capacity(HEADER_LENGTH + entry.len());
        record.extend_from_slice(&index.to_be_bytes());
        record.extend_from_slice(self.link.as_bytes());
        record.extend_from_slice(&identity.sign(&signed_bytes(&link)));
        record.extend_from_slice(&entry);
        let chain = Self {
            length: index,
            link,
        };
        (record, chain)
    }

    /// Reads the record that must come next, and goes on to it.
    pub(super) fn follow(
        &mut self,
        record: &[u8],
        key: &PartyKey,
    ) -> Result<Entry, LedgerOpenError> {
        let index = self.length + 1;
        let refuse = |what| LedgerOpenError::Record { index, what };
        if record.len() > RECORD_SIZE_LIMIT {
            return Err(refuse("it is larger than any record"));
        }
        let (stated, rest) = record
            .split_first_chunk::<8>()
            .ok_or(refuse("it is cut short"))?;
        let (previous, rest) = rest
            .split_first_chunk::<32>()
            .ok_or(refuse("it is cut short"))?;
        let (signature, entry) = rest
            .split_first_chunk::<64>()
            .ok_or(refuse("it is cut short"))?;
        if u64::from_be_bytes(*stated) != index {
            return Err(refuse("it states another place"));
        }
        if previous != self.link.as_bytes() {
            return Err(refuse("it does not follow the record before it"));
        }
        let link = self.next_link(index, entry);
        key.verify(&signed_bytes(&link), signature)
            .map_err(|_| refuse("it is not signed by this agent"))?;
        let entry =
            Entry::decode(entry).map_err(|source| LedgerOpenError::Entry { index, source })?;
        *self = Self {
            length: index,
            link,
        };
        Ok(entry)
    }

    fn next_link(&self, index: u64, entry: &[u8]) -> Digest {
        let hash = Sha256::new()
            .chain_update(self.link.as_bytes())
            .chain_update(index.to_be_bytes())
            .chain_update(entry)
            .finalize();
        Digest::from_bytes(hash.into())
    }
}

/// The place that a record states; 0, which no record has, for one without.
pub(super) fn stated_index(record: &[u8]) -> u64 {
    record
        .first_chunk::<8>()
        .map_or(0, |index| u64::from_be_bytes(*index))
}

fn signed_bytes(link: &Digest) -> Vec<u8> {
    [SIGNATURE_LABEL, link.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tributary_protocol::ledger::Event;
    use tributary_protocol::{RunNumber, SequenceNumber};

    use super::*;

    fn entry(receipt: u8) -> Entry {
        Entry::new(
            "tdc".parse().unwrap(),
            DateTime::UNIX_EPOCH,
            Event::RunClosed {
                contract: SequenceNumber::FIRST,
                run: RunNumber::FIRST,
                receipt: Digest::of(&[receipt]),
            },
        )
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn records_are_read_in_the_order_in_which_they_were_written() {
        let identity = Identity::generate();
        let start = Chain::of(&origin("a"));
        let (first, chain) = start.extend(&entry(1), &identity);
        let (second, chain) = chain.extend(&entry(2), &identity);
        let mut read = start;
        assert_eq!(read.follow(&first, &identity.public()).unwrap(), entry(1));
        assert_eq!(read.follow(&second, &identity.public()).unwrap(), entry(2));
        assert_eq!(read, chain);
        assert_eq!((stated_index(&second), stated_index(&[1])), (2, 0));
    }

    #[test]
    fn swapped_repeated_foreign_and_altered_records_are_refused() {
        let identity = Identity::generate();
        let key = identity.public();
        let start = Chain::of(&origin("a"));
        let (first, chain) = start.extend(&entry(1), &identity);
        let (second, _) = chain.extend(&entry(2), &identity);
        assert!(start.clone().follow(&second, &key).is_err());
        assert!(chain.clone().follow(&first, &key).is_err());
        assert!(Chain::of(&origin("b")).follow(&first, &key).is_err());
        assert!(
            start
                .clone()
                .follow(&first, &Identity::generate().public())
                .is_err()
        );
        let mut renumbered = second.clone();
        renumbered[7] = 1;
        assert!(start.clone().follow(&renumbered, &key).is_err());
        for position in 0..first.len() {
            let mut bad = first.clone();
            bad[position] ^= 1;
            assert!(start.clone().follow(&bad, &key).is_err(), "byte {position}");
            assert!(start.clone().follow(&first[..position], &key).is_err());
        }
    }
}
