//! What a provider hands to a consumer who wants to write a contract: who it is, and the signed manifest of a dataset.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dsse::{ENVELOPE_SIZE_LIMIT, Envelope};
use crate::identity::PartyKey;
use crate::manifest::{ColumnName, Manifest, ManifestError};
use crate::party::PartyName;

/// The longest offer that is read, in bytes: the largest envelope, indented, and a few lines around it.
pub const OFFER_SIZE_LIMIT: usize = ENVELOPE_SIZE_LIMIT + (64 << 10);

/// A dataset that its owner offers: the owner's name and key, and the manifest, signed by that key.
///
/// It says nothing about whose key it is: consumer and provider compare the key over another way before they sign.
///
/// ```
/// use tributary_protocol::{Identity, Manifest, Offer, OfferError};
/// # use tributary_protocol::{Column, ColumnType, DatasetSchema, Digest, ManifestParts, Part, WrappedKey};
/// # let part: Part = serde_json::from_value(serde_json::json!({
/// #     "number": 1, "file": "part-1.parquet", "sha256": Digest::of(b"part"), "bytes": 4, "rows": 7,
/// #     "key": {"vault_key": 1, "nonce": "00".repeat(12), "sealed": "00".repeat(48)},
/// # }))?;
/// # let kind = ColumnType::Label { classes: 10 };
/// # let manifest = Manifest::new(ManifestParts {
/// #     dataset: "digits".parse()?,
/// #     owner: "alice".parse()?,
/// #     id: serde_json::from_value("00".repeat(16).into())?,
/// #     version: serde_json::from_value(1.into())?,
/// #     previous: None,
/// #     schema: DatasetSchema::new(vec![Column { name: "label".parse()?, kind }])?,
/// #     parts: vec![part],
/// #     created: chrono::DateTime::UNIX_EPOCH,
/// # })?;
/// let alice = Identity::generate();
/// let offer = Offer::new(alice.public(), manifest.sign(&alice))?;
/// let read = Offer::parse(&offer.to_json())?;
/// assert_eq!(read.party().as_str(), "alice");
/// assert_eq!(read.manifest().rows(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    key: PartyKey,
    envelope: Envelope,
    manifest: Manifest,
    entities: Option<OfferedEntities>,
}

/// How many entities the records of an offer belong to, by the column that names them.
///
/// The owner's key does not sign it: its agent refuses a contract with another number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedEntities {
    /// The column.
    pub column: ColumnName,
    /// How many.
    pub count: u64,
}

/// Why an offer was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Longer than [`OFFER_SIZE_LIMIT`].
    #[error("expected an offer of at most {OFFER_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// Not the JSON of an offer.
    #[error("expected the JSON of an offer, as `agent dataset offer` writes it")]
    Json(#[source] serde_json::Error),
    /// A version that this program does not know.
    #[error("expected an offer of version {FORMAT_VERSION}, got version {0}")]
    Version(u32),
    /// The manifest is not one, or the offer's key did not sign it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Entities that the records cannot have.
    #[error(
        "the offer counts {got} entities by the column `{column}`: expected a column of the dataset, and 1 to {records} entities"
    )]
    Entities {
        /// The column.
        column: ColumnName,
        /// The count.
        got: u64,
        /// The records of the dataset.
        records: u64,
    },
    /// The manifest is of another party.
    #[error(
        "the offer is of {expected}, and its manifest is of {got}: ask {expected} for its own offer"
    )]
    Owner {
        /// The party that the offer names.
        expected: PartyName,
        /// The owner that the manifest names.
        got: PartyName,
    },
}

impl Offer {
    /// The offer of a dataset whose manifest is in `envelope`, signed by its owner's `key`.
    ///
    /// # Errors
    /// Where the envelope does not hold a manifest that `key` signed.
    pub fn new(key: PartyKey, envelope: Envelope) -> Result<Self, OfferError> {
        let manifest = Manifest::verify(&envelope, &key)?;
        Ok(Self {
            key,
            envelope,
            manifest,
            entities: None,
        })
    }

    /// The same with a count of entities.
    ///
    /// # Errors
    /// Where the dataset has no such column, or fewer records.
    pub fn with_entities(self, entities: OfferedEntities) -> Result<Self, OfferError> {
        let records = self.manifest.rows();
        let known = self.manifest.schema().column(&entities.column).is_some();
        if !known || !(1..=records).contains(&entities.count) {
            return Err(OfferError::Entities {
                column: entities.column,
                got: entities.count,
                records,
            });
        }
        Ok(Self {
            entities: Some(entities),
            ..self
        })
    }

    /// Reads an offer and verifies that the key in it signed the manifest.
    ///
    /// # Errors
    /// Where it is malformed, altered, or the manifest is of another party.
    pub fn parse(bytes: &[u8]) -> Result<Self, OfferError> {
        if bytes.len() > OFFER_SIZE_LIMIT {
            return Err(OfferError::TooLarge(bytes.len()));
        }
        let raw: RawOffer = serde_json::from_slice(bytes).map_err(OfferError::Json)?;
        if raw.offer != FORMAT_VERSION {
            return Err(OfferError::Version(raw.offer));
        }
        let mut offer = Self::new(raw.key, raw.manifest)?;
        if let Some(entities) = raw.entities {
            offer = offer.with_entities(entities)?;
        }
        if offer.party() != &raw.party {
            let got = offer.party().clone();
            return Err(OfferError::Owner {
                expected: raw.party,
                got,
            });
        }
        Ok(offer)
    }

    /// The offer as its file, with a newline at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawOffer {
            offer: FORMAT_VERSION,
            party: self.party().clone(),
            key: self.key,
            manifest: self.envelope.clone(),
            entities: self.entities.clone(),
        };
        // A struct of strings and numbers always has a JSON form.
        let mut json = serde_json::to_vec_pretty(&raw).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// The provider.
    pub fn party(&self) -> &PartyName {
        self.manifest.owner()
    }

    /// The provider's key, with which it will sign the contract, too.
    pub fn key(&self) -> PartyKey {
        self.key
    }

    /// What is offered.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many entities the records belong to, where the provider counted them.
    pub fn entities(&self) -> Option<&OfferedEntities> {
        self.entities.as_ref()
    }

    /// The digest by which a contract names exactly this data.
    pub fn manifest_digest(&self) -> Digest {
        self.envelope.payload_digest()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOffer {
    offer: u32,
    party: PartyName,
    key: PartyKey,
    manifest: Envelope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entities: Option<OfferedEntities>,
}

const FORMAT_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::Identity;
    use crate::manifest::{Column, ColumnType, DatasetSchema, ManifestParts};

    fn offer(owner: &Identity) -> Offer {
        let part = json!({
            "number": 1, "file": "part-1.parquet", "sha256": Digest::of(b"part"), "bytes": 4, "rows": 7,
            "key": {"vault_key": 1, "nonce": "00".repeat(12), "sealed": "00".repeat(48)},
        });
        let kind = ColumnType::Label { classes: 10 };
        let manifest = Manifest::new(ManifestParts {
            dataset: "digits".parse().unwrap(),
            owner: "alice".parse().unwrap(),
            id: serde_json::from_value("00".repeat(16).into()).unwrap(),
            version: serde_json::from_value(1.into()).unwrap(),
            previous: None,
            schema: DatasetSchema::new(vec![Column {
                name: "label".parse().unwrap(),
                kind,
            }])
            .unwrap(),
            parts: vec![serde_json::from_value(part).unwrap()],
            created: DateTime::UNIX_EPOCH,
        })
        .unwrap();
        Offer::new(owner.public(), manifest.sign(owner)).unwrap()
    }

    fn altered(offer: &Offer, alter: impl FnOnce(&mut Value)) -> Result<Offer, OfferError> {
        let mut value = serde_json::from_slice(&offer.to_json()).unwrap();
        alter(&mut value);
        Offer::parse(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn an_offer_is_read_as_it_was_written() {
        let alice = Identity::generate();
        let offer = offer(&alice);
        let read = Offer::parse(&offer.to_json()).unwrap();
        assert_eq!(read, offer);
        assert_eq!(read.key(), alice.public());
        assert_eq!(read.manifest_digest(), offer.manifest_digest());
    }

    #[test]
    fn entities_are_offered_by_a_column_of_the_dataset_and_no_more_than_records() {
        let entities = |column: &str, count| OfferedEntities {
            column: column.parse().unwrap(),
            count,
        };
        let offer = offer(&Identity::generate());
        let counted = offer.clone().with_entities(entities("label", 7)).unwrap();
        let read = Offer::parse(&counted.to_json()).unwrap();
        assert_eq!(read.entities(), Some(&entities("label", 7)));
        for (column, count) in [("label", 0), ("label", 8), ("patient", 3)] {
            let refused = offer.clone().with_entities(entities(column, count));
            assert!(matches!(refused, Err(OfferError::Entities { .. })));
            let refused = altered(&counted, |value| {
                value["entities"] = json!({"column": column, "count": count});
            });
            assert!(matches!(refused, Err(OfferError::Entities { .. })));
        }
    }

    #[test]
    fn a_manifest_that_the_offers_key_did_not_sign_is_refused() {
        let mallory = Identity::generate().public();
        let outcome = altered(&offer(&Identity::generate()), |value| {
            value["key"] = json!(mallory)
        });
        assert!(
            matches!(outcome, Err(OfferError::Manifest(ManifestError::Signature(key))) if key == mallory)
        );
    }

    #[test]
    fn a_manifest_of_another_party_is_refused() {
        let outcome = altered(&offer(&Identity::generate()), |value| {
            value["party"] = json!("bob")
        });
        assert!(matches!(outcome, Err(OfferError::Owner { .. })));
    }

    #[test]
    fn unknown_fields_versions_and_sizes_are_refused() {
        let offer = offer(&Identity::generate());
        let refused = altered(&offer, |value| value["extra"] = json!(1));
        assert!(matches!(refused, Err(OfferError::Json(_))));
        let refused = altered(&offer, |value| value["offer"] = json!(2));
        assert!(matches!(refused, Err(OfferError::Version(2))));
        let refused = Offer::parse(&vec![b' '; OFFER_SIZE_LIMIT + 1]);
        assert!(matches!(refused, Err(OfferError::TooLarge(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            proptest::prop_assert!(Offer::parse(&bytes).is_err());
        }
    }
}
