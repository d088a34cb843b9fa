//! What the parties say: identities, contracts, the ledger's entries and proofs, the handshake, messages, sealed envelopes and the attested channel.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod authorisation;
mod batch;
mod channel;
mod checkpoint;
mod contract;
mod derivation;
mod digest;
mod dsse;
mod handshake;
mod identity;
pub mod ledger;
mod manifest;
mod message;
mod noise_key;
mod numbers;
mod offer;
mod party;
mod party_folder;
mod receipt;
mod sealed;
mod sealing_key;
mod segments;

pub use authorisation::{
    AUTHORISATION_PAYLOAD_TYPE, AUTHORISATION_SIZE_LIMIT, Authorisation, AuthorisationError,
    AuthorisationId,
};
pub use batch::{
    Batch, BatchError, BatchFormat, FRAME_SIZE_LIMIT, Frame, arrow_schema, check_values,
};
pub use channel::{
    Arrival, Attested, BATCH_LIMIT, BatchReceiver, BatchSender, COLLATERAL_LOOK, Channel,
    ChannelError, Clock, CloseCode, CollateralNews, Endpoint, EndpointError, EndpointOptions,
    Established, Identified, MESSAGE_LIMIT, Open, Request, TransportOptions, Unattested,
    follow_collateral,
};
pub use checkpoint::{
    CHECKPOINT_SIZE_LIMIT, CheckpointError, CheckpointKey, OpenedCheckpoint, SealedCheckpoint,
};
pub use contract::{
    AccountantName, AdaptiveClipping, Attestation, Average, CONTRACT_SIZE_LIMIT, CONTRACT_TYPE,
    Clipping, Combine, Contract, ContractError, Course, Dataset, DatasetPlan, DatasetRef,
    Disclosure, Document, ENTITY_INDEX, Entity, EntityIndexError, EntityRule, FormatError, Input,
    Label, LedgerTerms, Loss, Metrics, Model, Optimiser, Party, PartyRole, People, Pipeline, Plan,
    Privacy, Schedule, SignedContract, Unit, Validity, WarmUp, WeightedLoss,
};
pub use digest::{Digest, DigestSyntax};
pub use dsse::{ENVELOPE_SIZE_LIMIT, Envelope, EnvelopeError};
pub use handshake::{
    Accepted, AuthorisationCheck, AwaitingAccept, AwaitingHello, AwaitingProof, Concern,
    ConsumerAccess, EXPORTER_LABEL, FRAME_HEADER, FRAME_LIMIT, Greeted, Handshake, HandshakeError,
    LocalFault, LocalParty, Nonce, Outcome, PeerIdentity, PeerRefusal, Proving, Refusal,
    RefusalCode, RefuseAuthorisations, SignedAuthorisations, Terms, TermsDirectory, TlsKey,
};
pub use identity::{Identity, IdentityError, PartyKey, Passphrase};
pub use manifest::{
    COLUMNS_LIMIT, Column, ColumnName, ColumnType, DatasetId, DatasetSchema, MANIFEST_PAYLOAD_TYPE,
    Manifest, ManifestError, ManifestParts, ManifestVersion, PARTS_LIMIT, Part, PartFile,
    PartNumber, RECORDS_LIMIT, SchemaError, VALUE_SIZE_LIMIT, WrappedKey,
};
pub use message::{
    AgentRequest, AgentResponse, BatchHeader, Joined, JoinedDataset, KeyShare, LEASE_STEPS_LIMIT,
    ServiceRefusal, ServiceRefusalCode,
};
pub use noise_key::{NoiseKey, NoiseKeySyntax, NoiseStatic};
pub use numbers::{NumberSyntax, RunNumber, SequenceNumber};
pub use offer::{OFFER_SIZE_LIMIT, Offer, OfferError, OfferedEntities};
pub use party::{DatasetName, NameSyntax, PartyName, Role};
pub use party_folder::{FolderError, PartyFolder};
pub use receipt::{
    DatasetUse, RECEIPT_LEDGER_LIMIT, RECEIPT_PAYLOAD_TYPE, RECEIPT_PREDICATE_TYPE,
    RECEIPT_SIZE_LIMIT, Receipt, ReceiptDataset, ReceiptError, RunSummary,
};
pub use sealed::{
    ArchiveError, ModelArchive, ModelFile, OpenError, SealError, SealedFor, SealingSecret,
    SealingSecretError, open_model, seal_model,
};
pub use sealing_key::{ML_KEM_768_KEY_LENGTH, SealingKey};
pub use segments::{SEGMENT_OVERHEAD, SEGMENT_SIZE, SegmentError};
