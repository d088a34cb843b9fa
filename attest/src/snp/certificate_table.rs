//! The table of certificates that a host hands to its guest beside a report.

use crate::wire::{Reader, WireError};

/// What a host put beside a report: certificates, each under a GUID.
///
/// Layout (AMD 56421, "SNP Extended Guest Request"): entries of GUID (16), offset (4) and length (4),
/// little-endian, up to one of zeros; offsets count from the table's start. The host wrote it, so
/// nothing in it is believed: certificates are taken out, and judged elsewhere.
///
/// ```
/// # use tributary_attest::CertificateTable;
/// let nothing = CertificateTable::parse(&[0; 24])?;
/// assert!(nothing.endorsements().is_empty());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateTable {
    entries: Vec<(CertificateKind, Vec<u8>)>,
}

/// What an entry of the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateKind {
    /// The product's root key.
    Ark,
    /// The key that signs chips' or providers' keys.
    Ask,
    /// The chip's key.
    Vcek,
    /// The provider's key.
    Vlek,
    /// A revocation list.
    Crl,
    /// Something of the host's own.
    Other([u8; 16]),
}

impl CertificateTable {
    /// The most bytes of a table: a host may give no more pages than these (AMD 56421 lets the guest choose).
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The most entries: one of each kind, and some of the host's own.
    pub const MAX_ENTRIES: usize = 16;

    /// Reads a table. No bytes at all are a table without entries: the host has none.
    ///
    /// # Errors
    /// A message where the table has no end, too many entries, one twice, or entries that lie
    /// outside of it, in its head, or upon each other.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::read(bytes).map_err(|error| error.to_string())
    }

    /// The entries in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = (CertificateKind, &[u8])> {
        self.entries
            .iter()
            .map(|(kind, data)| (*kind, data.as_slice()))
    }

    /// The certificates that vouch for the report's signer, as [`Evidence`](crate::Evidence) carries them.
    pub fn endorsements(&self) -> Vec<Vec<u8>> {
        self.entries
            .iter()
            .filter(|(kind, _)| !matches!(kind, CertificateKind::Crl | CertificateKind::Other(_)))
            .map(|(_, data)| data.clone())
            .collect()
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(WireError::Length {
                what: "a table of certificates",
                min: 0,
                max: Self::MAX_BYTES,
                got: bytes.len(),
            });
        }
        if bytes.is_empty() {
            return Ok(Self { entries: vec![] });
        }
        let head = read_head(bytes)?;
        let head_len = (head.len() + 1) * ENTRY;
        check_ranges(&head, head_len)?;
        let entries = head
            .into_iter()
            .map(|entry| {
                let data = bytes
                    .get(entry.offset..entry.offset.saturating_add(entry.len))
                    .ok_or(WireError::Truncated {
                        what: "an entry of the table of certificates",
                        needed: entry.offset.saturating_add(entry.len),
                        got: bytes.len(),
                    })?;
                Ok((entry.kind, data.to_vec()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }
}

impl CertificateKind {
    fn of_guid(guid: [u8; 16]) -> Self {
        match guid {
            ARK => Self::Ark,
            ASK => Self::Ask,
            VCEK => Self::Vcek,
            VLEK => Self::Vlek,
            CRL => Self::Crl,
            other => Self::Other(other),
        }
    }
}

struct Entry {
    kind: CertificateKind,
    offset: usize,
    len: usize,
}

fn read_head(bytes: &[u8]) -> Result<Vec<Entry>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut head: Vec<Entry> = Vec::new();
    loop {
        let guid: [u8; 16] = reader.array("a GUID in the table of certificates")?;
        let offset = reader.u32_le("an offset in the table of certificates")? as usize;
        let len = reader.u32_le("a length in the table of certificates")? as usize;
        if guid == [0; 16] {
            if (offset, len) == (0, 0) {
                return Ok(head);
            }
            let got = format!("offset {offset}, length {len}");
            return Err(WireError::value("the table's last entry", "zeros", got));
        }
        let kind = CertificateKind::of_guid(guid);
        if head.iter().any(|entry| entry.kind == kind) {
            let got = format!("{} twice", hex::encode(guid));
            return Err(WireError::value("a GUID", "there once", got));
        }
        if head.len() == CertificateTable::MAX_ENTRIES {
            let most = format!("at most {}", CertificateTable::MAX_ENTRIES);
            return Err(WireError::value("the number of entries", most, "more"));
        }
        head.push(Entry { kind, offset, len });
    }
}

/// Each entry has bytes of its own behind the head, so that no byte means two things.
fn check_ranges(head: &[Entry], head_len: usize) -> Result<(), WireError> {
    for (at, entry) in head.iter().enumerate() {
        let end = entry.offset.saturating_add(entry.len);
        let apart = |other: &Entry| {
            end <= other.offset || other.offset.saturating_add(other.len) <= entry.offset
        };
        if entry.len == 0 || entry.offset < head_len || !head[..at].iter().all(apart) {
            return Err(WireError::value(
                "an entry of the table of certificates",
                "bytes of its own behind the table's head",
                format_args!("offset {}, length {}", entry.offset, entry.len),
            ));
        }
    }
    Ok(())
}

const ENTRY: usize = 24;
const ARK: [u8; 16] = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes();
pub(super) const ASK: [u8; 16] = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes();
pub(super) const VCEK: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();
const VLEK: [u8; 16] = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes();
const CRL: [u8; 16] = 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea_u128.to_be_bytes();

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table with its entries one after the other.
    pub(crate) fn table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
        let mut offset = (entries.len() + 1) * ENTRY;
        let mut head = Vec::new();
        let mut body = Vec::new();
        for (guid, data) in entries {
            head.extend_from_slice(guid);
            head.extend_from_slice(&(offset as u32).to_le_bytes());
            head.extend_from_slice(&(data.len() as u32).to_le_bytes());
            body.extend_from_slice(data);
            offset += data.len();
        }
        head.extend_from_slice(&[0; ENTRY]);
        [head, body].concat()
    }

    #[test]
    fn certificates_are_taken_out_and_the_hosts_own_entries_are_not() {
        let bytes = table(&[
            (VLEK, b"vlek"),
            (ASK, b"asvk"),
            (CRL, b"crl"),
            ([7; 16], b"platform"),
        ]);
        let parsed = CertificateTable::parse(&bytes).unwrap();
        assert_eq!(parsed.entries().count(), 4);
        assert_eq!(parsed.endorsements(), [b"vlek".to_vec(), b"asvk".to_vec()]);
        let padded = [bytes, vec![0; 4000]].concat();
        assert_eq!(CertificateTable::parse(&padded), Ok(parsed));
    }

    #[test]
    fn no_bytes_and_no_entries_are_the_same() {
        let empty = CertificateTable::parse(&[]).unwrap();
        assert_eq!(CertificateTable::parse(&[0; ENTRY]), Ok(empty));
    }

    #[test]
    fn entries_outside_the_table_in_its_head_or_upon_each_other_are_refused() {
        let good = table(&[(VCEK, b"vcek"), (ASK, b"ask!")]);
        CertificateTable::parse(&good).unwrap();
        for (at, value) in [
            (16, 71_u32),   // within the head
            (16, 0),        // within the head
            (16, 77),       // upon the second
            (20, 5),        // into the second
            (20, 0),        // empty
            (16, u32::MAX), // far outside
            (20, u32::MAX), // longer than memory
            (44, 9),        // past the end
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(CertificateTable::parse(&bytes).is_err(), "{at} = {value}");
        }
    }

    #[test]
    fn a_table_without_end_with_too_many_or_equal_entries_is_refused() {
        let good = table(&[(VCEK, b"vcek")]);
        for end in 1..good.len() {
            assert!(CertificateTable::parse(&good[..end]).is_err(), "{end}");
        }
        assert!(CertificateTable::parse(&table(&[(VCEK, b"a"), (VCEK, b"b")])).is_err());
        let guids: Vec<[u8; 16]> = (1..=17).map(|n| [n; 16]).collect();
        let many: Vec<([u8; 16], &[u8])> = guids.iter().map(|g| (*g, b"x".as_slice())).collect();
        assert!(CertificateTable::parse(&table(&many[..16])).is_ok());
        assert!(CertificateTable::parse(&table(&many)).is_err());
        assert!(CertificateTable::parse(&vec![0; CertificateTable::MAX_BYTES + 1]).is_err());
        let mut last = vec![0; ENTRY];
        last[16] = 1;
        assert!(CertificateTable::parse(&last).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = CertificateTable::parse(&bytes);
        }
    }
}
