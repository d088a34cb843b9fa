//! The messages of the handshake on the wire.

use serde::{Deserialize, Serialize};
use tributary_attest::Evidence;

use super::{
    keys::Nonce,
    refusal::{HandshakeError, PeerRefusal, REFUSAL_TEXT_LIMIT, Refusal, RefusalCode},
};
use crate::{Digest, NoiseKey, PartyKey, PartyName, Role};

/// Before each message: its length, 4 bytes, big-endian.
pub const FRAME_HEADER: usize = 4;

/// No message of the handshake is longer: the largest evidence, a signature and their framing.
pub const FRAME_LIMIT: usize = Evidence::MAX_ENCODED + 1024;

/// An authorisation is a DSSE envelope with one small statement; a thousand bytes are usual.
pub(crate) const AUTHORISATION_LIMIT: usize = 16 << 10;

/// What a frame's header announces, where it may be read.
pub(crate) fn frame_length(header: [u8; FRAME_HEADER]) -> Result<usize, Refusal> {
    let length = u32::from_be_bytes(header) as usize;
    if (1..=FRAME_LIMIT).contains(&length) {
        return Ok(length);
    }
    Err(too_large("a message", FRAME_LIMIT, length))
}

/// One side's opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) nonce: Nonce,
    pub(crate) role: Role,
    pub(crate) party: PartyName,
    pub(crate) contract: Digest,
    pub(crate) credential: Credential,
    pub(crate) noise: Option<NoiseKey>,
}

/// With which key a side will prove its party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// The key that the contract names.
    ContractKey(PartyKey),
    /// Another key, which the consumer's envelope authorises.
    Authorisation(Vec<u8>),
}

/// One side's proof: of its machine, and of its party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Not yet decoded: the party's signature covers the bytes. Empty where none was sent.
    pub(crate) evidence: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// A message of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    Proof(Proof),
    Accept,
    Refuse(PeerRefusal),
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => frame(&Wire::Hello {
                nonce: *hello.nonce.as_bytes(),
                role: role_code(hello.role),
                party: hello.party.as_str(),
                contract: *hello.contract.as_bytes(),
                credential: match &hello.credential {
                    Credential::ContractKey(key) => WireCredential::ContractKey(*key.as_bytes()),
                    Credential::Authorisation(envelope) => WireCredential::Authorisation(envelope),
                },
                noise: hello.noise.as_ref().map_or(&[], |key| key.as_bytes()),
            }),
            Self::Proof(proof) => frame(&Wire::Proof {
                evidence: &proof.evidence,
                signature: &proof.signature,
            }),
            Self::Accept => frame(&Wire::Accept),
            Self::Refuse(refusal) => frame(&Wire::Refuse {
                code: refusal.number(),
                text: refusal.text(),
            }),
        }
    }

    /// Reads the body of one frame; bytes left over are refused.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > FRAME_LIMIT {
            return Err(too_large("a message", FRAME_LIMIT, body.len()));
        }
        // Strings and byte strings are borrowed from the frame: a length that lies allocates nothing.
        let (wire, rest) = postcard::take_from_bytes::<Wire<'_>>(body)
            .map_err(|error| malformed("a message of the handshake", error))?;
        if !rest.is_empty() {
            return Err(Refusal::trailing_bytes(rest.len()));
        }
        wire.check()
    }
}

impl Refusal {
    /// The frame that tells the peer.
    pub fn frame(&self) -> Vec<u8> {
        let text = self.text_for_peer();
        Message::Refuse(PeerRefusal::new(self.code.number(), &text)).encode()
    }

    /// For bytes that follow a complete message or the last one.
    pub(crate) fn trailing_bytes(count: usize) -> Self {
        Self::new(
            RefusalCode::TrailingBytes,
            "the end of the message",
            format_args!("{count} or more bytes behind it"),
            "use the same protocol version on both sides",
        )
    }
}

impl HandshakeError {
    /// What a message that came out of turn means: the peer's refusal, or a fault of the peer.
    pub(crate) fn out_of_turn(expected: &str, got: Message) -> Self {
        let name = match got {
            Message::Refuse(refusal) => return Self::RefusedByPeer(refusal),
            Message::Hello(_) => "Hello",
            Message::Proof(_) => "Proof",
            Message::Accept => "Accept",
        };
        Self::Refused(Refusal::new(
            RefusalCode::WrongOrder,
            expected,
            name,
            "use the same protocol version on both sides",
        ))
    }
}

/// The postcard form. Roles have codes of their own, so that the order of an enum is no protocol.
#[derive(Serialize, Deserialize)]
enum Wire<'a> {
    Hello {
        nonce: [u8; 32],
        role: u8,
        party: &'a str,
        contract: [u8; 32],
        #[serde(borrow)]
        credential: WireCredential<'a>,
        #[serde(with = "serde_bytes")]
        noise: &'a [u8],
    },
    Proof {
        #[serde(with = "serde_bytes")]
        evidence: &'a [u8],
        #[serde(with = "serde_bytes")]
        signature: &'a [u8],
    },
    Accept,
    Refuse {
        code: u16,
        text: &'a str,
    },
}

#[derive(Serialize, Deserialize)]
enum WireCredential<'a> {
    ContractKey([u8; 32]),
    Authorisation(#[serde(with = "serde_bytes")] &'a [u8]),
}

impl Wire<'_> {
    fn check(self) -> Result<Message, Refusal> {
        Ok(match self {
            Self::Hello {
                nonce,
                role,
                party,
                contract,
                credential,
                noise,
            } => Message::Hello(Hello {
                nonce: Nonce::from_bytes(nonce),
                role: role_of(role)?,
                party: party
                    .parse()
                    .map_err(|error| malformed("a party's name", error))?,
                contract: Digest::from_bytes(contract),
                credential: credential.check()?,
                noise: noise_of(noise)?,
            }),
            Self::Proof {
                evidence,
                signature,
            } => {
                if evidence.len() > Evidence::MAX_ENCODED {
                    return Err(too_large("evidence", Evidence::MAX_ENCODED, evidence.len()));
                }
                let signature = signature.try_into().map_err(|_| {
                    malformed(
                        "a signature of 64 bytes",
                        format_args!("{} bytes", signature.len()),
                    )
                })?;
                Message::Proof(Proof {
                    evidence: evidence.to_vec(),
                    signature,
                })
            }
            Self::Accept => Message::Accept,
            Self::Refuse { code, text } => {
                if text.len() > REFUSAL_TEXT_LIMIT {
                    return Err(too_large(
                        "a refusal's text",
                        REFUSAL_TEXT_LIMIT,
                        text.len(),
                    ));
                }
                Message::Refuse(PeerRefusal::new(code, text))
            }
        })
    }
}

impl WireCredential<'_> {
    fn check(self) -> Result<Credential, Refusal> {
        match self {
            Self::ContractKey(bytes) => PartyKey::from_bytes(bytes)
                .map(Credential::ContractKey)
                .map_err(|error| malformed("a party's key", error)),
            Self::Authorisation(envelope) if envelope.len() <= AUTHORISATION_LIMIT => {
                Ok(Credential::Authorisation(envelope.to_vec()))
            }
            Self::Authorisation(envelope) => Err(too_large(
                "an authorisation",
                AUTHORISATION_LIMIT,
                envelope.len(),
            )),
        }
    }
}

const fn role_code(role: Role) -> u8 {
    match role {
        Role::Provider => 1,
        Role::Aggregator => 2,
        Role::Consumer => 3,
    }
}

fn role_of(code: u8) -> Result<Role, Refusal> {
    [Role::Provider, Role::Aggregator, Role::Consumer]
        .into_iter()
        .find(|role| role_code(*role) == code)
        .ok_or_else(|| malformed("a role of 1, 2 or 3", code))
}

fn noise_of(bytes: &[u8]) -> Result<Option<NoiseKey>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key: Option<[u8; 32]> = bytes.try_into().ok();
    key.and_then(NoiseKey::from_bytes)
        .map(Some)
        .ok_or_else(|| malformed("no Noise key or one of 32 bytes", "another"))
}

fn frame(wire: &Wire<'_>) -> Vec<u8> {
    // postcard fails only where a type cannot be sized, which no variant above does.
    #[allow(clippy::expect_used)]
    let body = postcard::to_allocvec(wire).expect("every message has an encoding");
    let mut out = Vec::with_capacity(FRAME_HEADER + body.len());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

fn malformed(expected: &str, got: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        RefusalCode::Malformed,
        expected,
        got,
        "use the same protocol version on both sides",
    )
}

fn too_large(what: &str, limit: usize, got: usize) -> Refusal {
    Refusal::new(
        RefusalCode::TooLarge,
        format_args!("{what} of 1 to {limit} bytes"),
        format_args!("{got} bytes"),
        "use the same protocol version on both sides",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Identity;

    fn body(message: &Message) -> Vec<u8> {
        let frame = message.encode();
        let header = frame[..FRAME_HEADER].try_into().unwrap();
        assert_eq!(frame_length(header).unwrap(), frame.len() - FRAME_HEADER);
        frame[FRAME_HEADER..].to_vec()
    }

    fn hello(credential: Credential) -> Message {
        Message::Hello(Hello {
            nonce: Nonce::from_bytes([1; 32]),
            role: Role::Aggregator,
            party: "consumer".parse().unwrap(),
            contract: Digest::of(b"contract"),
            credential,
            noise: NoiseKey::from_bytes([5; 32]),
        })
    }

    fn samples() -> Vec<Message> {
        vec![
            hello(Credential::ContractKey(Identity::generate().public())),
            hello(Credential::Authorisation(vec![7; 300])),
            Message::Proof(Proof {
                evidence: vec![1, 2, 3],
                signature: [9; 64],
            }),
            Message::Proof(Proof {
                evidence: vec![1; Evidence::MAX_ENCODED],
                signature: [9; 64],
            }),
            Message::Accept,
            Message::Refuse(PeerRefusal::new(3, "wrong")),
        ]
    }

    #[test]
    fn every_message_reads_back() {
        for message in samples() {
            assert_eq!(Message::decode(&body(&message)).unwrap(), message);
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        for message in samples() {
            let bytes = body(&message);
            for end in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
                assert!(Message::decode(&bytes[..end]).is_err());
            }
            let mut longer = bytes;
            longer.push(0);
            let refusal = Message::decode(&longer).unwrap_err();
            assert!([RefusalCode::TrailingBytes, RefusalCode::TooLarge].contains(&refusal.code));
        }
    }

    #[test]
    fn limits_hold() {
        let check = |message: Message, code| {
            assert_eq!(Message::decode(&body(&message)).unwrap_err().code, code);
        };
        check(
            Message::Proof(Proof {
                evidence: vec![0; Evidence::MAX_ENCODED + 1],
                signature: [0; 64],
            }),
            RefusalCode::TooLarge,
        );
        check(
            hello(Credential::Authorisation(vec![0; AUTHORISATION_LIMIT + 1])),
            RefusalCode::TooLarge,
        );
        for length in [0, FRAME_LIMIT as u32 + 1, u32::MAX] {
            assert_eq!(
                frame_length(length.to_be_bytes()).unwrap_err().code,
                RefusalCode::TooLarge
            );
        }
        let refusal = Message::decode(&vec![0; FRAME_LIMIT + 1]).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::TooLarge);
    }

    #[test]
    fn unknown_roles_and_zero_noise_keys_are_refused() {
        assert!(role_of(0).is_err() && role_of(4).is_err());
        assert!(noise_of(&[0; 32]).is_err() && noise_of(&[1; 31]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&body(&message)).unwrap(), message);
            }
        }
    }
}
