//! What evidence and signatures of a handshake are made over.

use sha2::{Digest as _, Sha512};
use tributary_attest::ReportData;

use super::keys::{Nonce, TlsKey};
use crate::{Digest, NoiseKey, PartyName, Role};

/// The label of the TLS exporter (RFC 8446, section 7.5); its context is both nonces, the dialer's first.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-tributary-attest";

const EVIDENCE_LABEL: &[u8] = b"tributary evidence v1";
const PARTY_LABEL: &[u8] = b"tributary party proof v1";

/// What both sides of one connection have in common.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    /// Differs between any two connections, so that evidence cannot be relayed.
    pub(crate) exporter: [u8; 32],
    pub(crate) dialer_nonce: Nonce,
    pub(crate) responder_nonce: Nonce,
    pub(crate) contract: Digest,
}

/// What is said by one side only; it makes the two sides' data differ, since the exporter is symmetric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker<'a> {
    pub(crate) role: Role,
    pub(crate) tls: &'a TlsKey,
    pub(crate) peer_tls: &'a TlsKey,
    pub(crate) noise: Option<&'a NoiseKey>,
}

impl Transcript {
    /// The report data of the speaker's evidence.
    pub(crate) fn report_data(&self, speaker: Speaker<'_>) -> ReportData {
        ReportData::new(self.hash(EVIDENCE_LABEL, speaker, &[]))
    }

    /// The message that the speaker's party signs; it vouches for the evidence too, byte for byte.
    pub(crate) fn party_message(
        &self,
        speaker: Speaker<'_>,
        party: &PartyName,
        evidence: &[u8],
    ) -> Vec<u8> {
        let evidence = Digest::of(evidence);
        let extra: [&[u8]; 2] = [party.as_str().as_bytes(), evidence.as_bytes()];
        // The label in clear keeps the message apart from whatever else a contract key signs.
        [PARTY_LABEL, &self.hash(PARTY_LABEL, speaker, &extra)].concat()
    }

    fn hash(&self, label: &[u8], speaker: Speaker<'_>, extra: &[&[u8]]) -> [u8; 64] {
        let noise: &[u8] = speaker.noise.map_or(&[], |key| key.as_bytes());
        let fields: [&[u8]; 9] = [
            label,
            speaker.role.as_str().as_bytes(),
            &self.exporter,
            self.dialer_nonce.as_bytes(),
            self.responder_nonce.as_bytes(),
            speaker.tls.spki(),
            speaker.peer_tls.spki(),
            noise,
            self.contract.as_bytes(),
        ];
        let mut hash = Sha512::new();
        for field in fields.iter().chain(extra) {
            // Lengths keep fields of varying length from running into each other.
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_report_data_and_the_party_message() {
        let base = Transcript {
            exporter: [1; 32],
            dialer_nonce: Nonce::from_bytes([2; 32]),
            responder_nonce: Nonce::from_bytes([3; 32]),
            contract: Digest::of(b"contract"),
        };
        let (own, peer, third) = (TlsKey::of_test(4), TlsKey::of_test(5), TlsKey::of_test(6));
        let noise = NoiseKey::from_bytes([7; 32]).unwrap();
        let speaker = Speaker {
            role: Role::Aggregator,
            tls: &own,
            peer_tls: &peer,
            noise: Some(&noise),
        };

        let mut variants = vec![(base.clone(), speaker)];
        variants.push((
            Transcript {
                exporter: [9; 32],
                ..base.clone()
            },
            speaker,
        ));
        variants.push((
            Transcript {
                dialer_nonce: Nonce::from_bytes([9; 32]),
                ..base.clone()
            },
            speaker,
        ));
        variants.push((
            Transcript {
                responder_nonce: Nonce::from_bytes([9; 32]),
                ..base.clone()
            },
            speaker,
        ));
        variants.push((
            Transcript {
                contract: Digest::of(b"other"),
                ..base.clone()
            },
            speaker,
        ));
        let swapped = Transcript {
            dialer_nonce: base.responder_nonce,
            responder_nonce: base.dialer_nonce,
            ..base.clone()
        };
        variants.push((swapped, speaker));
        for other in [
            Speaker {
                role: Role::Provider,
                ..speaker
            },
            Speaker {
                tls: &third,
                ..speaker
            },
            Speaker {
                peer_tls: &third,
                ..speaker
            },
            Speaker {
                tls: &peer,
                peer_tls: &own,
                ..speaker
            },
            Speaker {
                noise: None,
                ..speaker
            },
        ] {
            variants.push((base.clone(), other));
        }

        let party: PartyName = "hospital".parse().unwrap();
        let mut seen = std::collections::HashSet::new();
        for (transcript, speaker) in &variants {
            assert!(seen.insert(transcript.report_data(*speaker).as_bytes().to_vec()));
            assert!(seen.insert(transcript.party_message(*speaker, &party, b"evidence")));
        }
        assert!(seen.insert(base.party_message(speaker, &"bank".parse().unwrap(), b"evidence")));
        assert!(seen.insert(base.party_message(speaker, &party, b"other evidence")));
    }
}
