//! The handshake that turns a TLS connection between two keys into a channel between two verified parties.
//!
//! It reads and writes no socket and no clock: the shell in `channel` hands in the frames, the time,
//! the connection's exporter and both TLS keys, and sends what comes out. What happens on the wire,
//! the dialer on the left; a frame is its length (4 bytes, big-endian) and a postcard message:
//!
//! ```text
//! Hello   -->                     nonce, role, party, contract, credential, Noise key
//!         <--   Hello, Proof      Proof: evidence (none from a consumer), signature of the party
//! Proof   -->
//! Accept  -->                     once the responder's proof has been appraised
//!         <--   Accept            once the dialer's has been
//! ```
//!
//! In place of any message either side may send `Refuse`, with a code that stays and a text for people.
//! The order is held by types: [`Handshake`] passes through [`AwaitingHello`], [`Greeted`], [`Proving`],
//! [`AwaitingProof`] and [`AwaitingAccept`], each of which has only the steps that may come next.
//!
//! Files, simplest first: `keys`, `refusal`, `terms`, `transcript`, `message`, `party`, `machine`.

mod keys;
mod machine;
mod message;
mod party;
mod refusal;
mod terms;
mod transcript;

pub use keys::{Nonce, TlsKey};
pub use machine::{
    Accepted, AwaitingAccept, AwaitingHello, AwaitingProof, Greeted, Handshake, Outcome, Proving,
};
pub(crate) use message::frame_length;
pub use message::{FRAME_HEADER, FRAME_LIMIT};
pub use party::{
    AuthorisationCheck, ConsumerAccess, LocalFault, LocalParty, PeerIdentity, RefuseAuthorisations,
    SignedAuthorisations,
};
pub use refusal::{Concern, HandshakeError, PeerRefusal, Refusal, RefusalCode};
pub use terms::{Terms, TermsDirectory};
pub use transcript::EXPORTER_LABEL;

#[cfg(test)]
pub(crate) mod tests;
