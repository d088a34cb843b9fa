//! The steps of the handshake, each a type that has only the next steps.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tributary_attest::{
    CheckName, Collateral, DatedReportData, Evidence, ReportData, Verdict, appraise_dated,
};

use super::{
    keys::{Nonce, TlsKey},
    message::{Credential, Hello, Message, Proof},
    party::{AuthorisationCheck, ConsumerAccess, LocalParty, PeerIdentity},
    refusal::{HandshakeError, Refusal, RefusalCode},
    terms::{Terms, TermsDirectory},
    transcript::{Speaker, Transcript},
};
use crate::{Digest, NoiseKey, Role};

/// A handshake under way; `S` is what it waits for.
///
/// Each step consumes it. A step that fails gives the [`Refusal`] whose [`Refusal::frame`] tells the peer,
/// and there is no way on from there.
pub struct Handshake<S> {
    own: Own,
    state: S,
}

struct Own {
    local: Arc<LocalParty>,
    side: Side,
    nonce: Nonce,
    /// When the nonce was drawn: no evidence for this handshake is older.
    drawn: DateTime<Utc>,
    tls: TlsKey,
    peer_tls: TlsKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialer,
    Responder,
}

/// Waits for the peer's Hello.
pub struct AwaitingHello {
    /// The dialer chose the contract; a responder learns it.
    contract: Option<Digest>,
    /// Where an attestation is renewed: whom the first one found.
    prior: Option<PeerIdentity>,
}

/// Knows whom the peer claims to be; needs the exporter of the connection.
pub struct Greeted {
    peer: PeerIdentity,
    peer_nonce: Nonce,
    terms: Arc<Terms>,
}

/// Has all that its own proof is made over.
pub struct Proving {
    peer: PeerIdentity,
    terms: Arc<Terms>,
    transcript: Transcript,
}

/// Waits for the peer's proof.
pub struct AwaitingProof {
    proving: Proving,
    own_evidence: Vec<u8>,
}

/// Has accepted the peer; waits to be accepted.
pub struct AwaitingAccept {
    accepted: Accepted,
}

/// What a handshake leads to: both sides have accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Who the peer is.
    pub peer: PeerIdentity,
    /// What was proved, and so what the channel may carry.
    pub outcome: Outcome,
    /// When the peer's proof was judged.
    pub at: DateTime<Utc>,
    /// The terms that it was judged by.
    pub terms: Arc<Terms>,
}

/// What was proved.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Both sides proved their machine and their party.
    Attested(Verdict),
    /// One side is a consumer, which proved its party only. The verdict on the provider, on the consumer's side.
    Identified(Option<Verdict>),
}

impl Handshake<AwaitingHello> {
    /// Opens a handshake about `terms` and gives the Hello to send.
    ///
    /// The nonce comes with the time at which it was drawn. `prior` is the peer's identity where an attested channel attests
    /// anew.
    ///
    /// # Errors
    /// Where the contract does not name this side.
    pub fn dial(
        local: Arc<LocalParty>,
        terms: &Terms,
        [tls, peer_tls]: [TlsKey; 2],
        (nonce, drawn): (Nonce, DateTime<Utc>),
        prior: Option<PeerIdentity>,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        local.check_named_by(terms)?;
        let own = Own {
            local,
            side: Side::Dialer,
            nonce,
            drawn,
            tls,
            peer_tls,
        };
        let hello = own.hello(terms.contract);
        let contract = Some(terms.contract);
        Ok((
            Self {
                own,
                state: AwaitingHello { contract, prior },
            },
            hello,
        ))
    }

    /// Answers a handshake, with a nonce and the time at which it was drawn.
    pub fn respond(
        local: Arc<LocalParty>,
        [tls, peer_tls]: [TlsKey; 2],
        (nonce, drawn): (Nonce, DateTime<Utc>),
        prior: Option<PeerIdentity>,
    ) -> Self {
        let own = Own {
            local,
            side: Side::Responder,
            nonce,
            drawn,
            tls,
            peer_tls,
        };
        Self {
            own,
            state: AwaitingHello {
                contract: None,
                prior,
            },
        }
    }

    /// Takes the body of the peer's first frame.
    ///
    /// # Errors
    /// Where the peer may not speak, or says that this side may not.
    pub fn take_hello(
        self,
        frame: &[u8],
        now: DateTime<Utc>,
        directory: &dyn TermsDirectory,
        authorisations: &dyn AuthorisationCheck,
    ) -> Result<Handshake<Greeted>, HandshakeError> {
        let hello = match Message::decode(frame)? {
            Message::Hello(hello) => hello,
            other => return Err(HandshakeError::out_of_turn("Hello", other)),
        };
        self.own.check_not_reflected(&hello)?;
        let terms = self.terms(&hello, directory)?;
        self.own.local.check_named_by(&terms)?;
        let party_key = terms.key_of(&hello.party, hello.role)?;
        self.own.check_roles(&hello)?;
        if [self.own.local.role, hello.role].contains(&Role::Aggregator) {
            terms.check_in_force(now)?;
        }
        let noise_key = check_noise(&hello)?;
        let (proof_key, authorisation) = match hello.credential {
            Credential::ContractKey(key) if key == party_key => (key, None),
            Credential::ContractKey(key) => {
                return Err(Refusal::new(
                    RefusalCode::PartyKeyMismatch,
                    format_args!(
                        "{party_key}, the key of {} in {}",
                        hello.party, terms.contract
                    ),
                    key,
                    "use the identity with which the party signed the contract",
                )
                .into());
            }
            Credential::Authorisation(envelope) => {
                let refuse = |got: String| {
                    Refusal::new(
                        RefusalCode::AuthorisationRefused,
                        format_args!(
                            "an aggregator's authorisation by {party_key} for {}",
                            terms.contract
                        ),
                        got,
                        "have the consumer authorise this run anew",
                    )
                };
                if hello.role != Role::Aggregator {
                    return Err(refuse(format!("one from a {}", hello.role.as_str())).into());
                }
                let runner = authorisations
                    .runner(&envelope, &party_key, &terms.contract, now)
                    .map_err(refuse)?;
                (runner, Some(envelope))
            }
        };
        let peer = PeerIdentity {
            contract: terms.contract,
            role: hello.role,
            party: hello.party,
            party_key,
            proof_key,
            authorisation,
            tls_key: self.own.peer_tls,
            noise_key,
        };
        check_unchanged(self.state.prior.as_ref(), &peer)?;
        Ok(Handshake {
            own: self.own,
            state: Greeted {
                peer,
                peer_nonce: hello.nonce,
                terms,
            },
        })
    }

    fn terms(&self, hello: &Hello, directory: &dyn TermsDirectory) -> Result<Arc<Terms>, Refusal> {
        let prior = self.state.prior.as_ref().map(|peer| peer.contract);
        if let Some(expected) = self.state.contract.or(prior)
            && expected != hello.contract
        {
            return Err(Refusal::new(
                RefusalCode::ContractMismatch,
                expected,
                hello.contract,
                "name the same contract on both sides",
            ));
        }
        directory.terms(&hello.contract).ok_or_else(|| {
            Refusal::new(
                RefusalCode::UnknownContract,
                "a contract that this side has",
                hello.contract,
                "register the contract with this party first",
            )
        })
    }
}

impl Handshake<Greeted> {
    /// The responder's Hello, to be sent now; a dialer has sent its own.
    pub fn hello(&self) -> Option<Vec<u8>> {
        (self.own.side == Side::Responder).then(|| self.own.hello(self.state.terms.contract))
    }

    /// The context for which to export keying material: both nonces, the dialer's first.
    pub fn exporter_context(&self) -> [u8; 64] {
        let (dialer, responder) = self.own.ordered(self.state.peer_nonce);
        let mut context = [0; 64];
        context[..32].copy_from_slice(dialer.as_bytes());
        context[32..].copy_from_slice(responder.as_bytes());
        context
    }

    /// Ties the handshake to the connection: `exporter` is what TLS exports under
    /// [`EXPORTER_LABEL`](super::EXPORTER_LABEL) and [`Self::exporter_context`].
    pub fn bind(self, exporter: [u8; 32]) -> Handshake<Proving> {
        let (dialer_nonce, responder_nonce) = self.own.ordered(self.state.peer_nonce);
        let transcript = Transcript {
            exporter,
            dialer_nonce,
            responder_nonce,
            contract: self.state.terms.contract,
        };
        Handshake {
            own: self.own,
            state: Proving {
                peer: self.state.peer,
                terms: self.state.terms,
                transcript,
            },
        }
    }
}

impl Handshake<Proving> {
    /// The report data that this side's evidence carries.
    pub fn report_data(&self) -> ReportData {
        self.state.transcript.report_data(self.own.speaker())
    }

    /// Makes this side's proof and gives the frame to send. Asks the platform for evidence, which may block.
    ///
    /// # Errors
    /// Where the platform gives no evidence.
    pub fn prove(self) -> Result<(Handshake<AwaitingProof>, Vec<u8>), HandshakeError> {
        let evidence = match &self.own.local.attester {
            None => Vec::new(),
            Some(attester) => attester
                .attest(&self.report_data())
                .map_err(|error| {
                    Refusal::new(
                        RefusalCode::NoEvidenceHere,
                        format_args!(
                            "evidence of the {} platform of the side that refuses",
                            attester.tee()
                        ),
                        error,
                        "mend that machine's attestation",
                    )
                })?
                .to_bytes(),
        };
        let message = self.state.transcript.party_message(
            self.own.speaker(),
            &self.own.local.party,
            &evidence,
        );
        let signature = self.own.local.identity.sign(&message);
        let proof = Message::Proof(Proof {
            evidence: evidence.clone(),
            signature,
        });
        let state = AwaitingProof {
            proving: self.state,
            own_evidence: evidence,
        };
        Ok((
            Handshake {
                own: self.own,
                state,
            },
            proof.encode(),
        ))
    }
}

impl Handshake<AwaitingProof> {
    /// Judges the body of the peer's second frame and gives the Accept to send.
    ///
    /// # Errors
    /// Where the peer's party or evidence does not convince.
    pub fn take_proof(
        self,
        frame: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(Handshake<AwaitingAccept>, Vec<u8>), HandshakeError> {
        let proof = match Message::decode(frame)? {
            Message::Proof(proof) => proof,
            other => return Err(HandshakeError::out_of_turn("Proof", other)),
        };
        let AwaitingProof {
            proving,
            own_evidence,
        } = self.state;
        if !proof.evidence.is_empty() && proof.evidence == own_evidence {
            return Err(reflected("evidence").into());
        }
        let Proving {
            peer,
            terms,
            transcript,
        } = proving;
        let speaker = Speaker {
            role: peer.role,
            tls: &self.own.peer_tls,
            peer_tls: &self.own.tls,
            noise: peer.noise_key.as_ref(),
        };
        let message = transcript.party_message(speaker, &peer.party, &proof.evidence);
        peer.proof_key
            .verify(&message, &proof.signature)
            .map_err(|error| {
                Refusal::new(
                    RefusalCode::PartySignature,
                    format_args!("a signature over this connection by {}", peer.proof_key),
                    error,
                    "use the party's identity; if it stays, somebody stands between the two sides",
                )
            })?;
        let verdict = judge(
            &proof.evidence,
            peer.role,
            &terms,
            DatedReportData {
                report_data: transcript.report_data(speaker),
                since: self.own.drawn,
            },
            &self.own.local.collateral(),
            now,
        )?;
        let outcome = match verdict {
            Some(verdict) if self.own.local.role != Role::Consumer => Outcome::Attested(verdict),
            verdict => Outcome::Identified(verdict),
        };
        let accepted = Accepted {
            peer,
            outcome,
            at: now,
            terms,
        };
        let state = AwaitingAccept { accepted };
        Ok((
            Handshake {
                own: self.own,
                state,
            },
            Message::Accept.encode(),
        ))
    }
}

impl Handshake<AwaitingAccept> {
    /// Takes the body of the peer's third frame.
    ///
    /// # Errors
    /// Where the peer refuses, or says something else.
    pub fn take_accept(self, frame: &[u8]) -> Result<Accepted, HandshakeError> {
        match Message::decode(frame)? {
            Message::Accept => Ok(self.state.accepted),
            other => Err(HandshakeError::out_of_turn("Accept", other)),
        }
    }
}

impl Own {
    fn hello(&self, contract: Digest) -> Vec<u8> {
        Message::Hello(Hello {
            nonce: self.nonce,
            role: self.local.role,
            party: self.local.party.clone(),
            contract,
            credential: self.local.credential(),
            noise: self.local.noise,
        })
        .encode()
    }

    fn ordered(&self, peer: Nonce) -> (Nonce, Nonce) {
        match self.side {
            Side::Dialer => (self.nonce, peer),
            Side::Responder => (peer, self.nonce),
        }
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker {
            role: self.local.role,
            tls: &self.tls,
            peer_tls: &self.peer_tls,
            noise: self.local.noise.as_ref(),
        }
    }

    /// The transcript alone refuses a reflection too; this says what happened.
    fn check_not_reflected(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.nonce == self.nonce {
            return Err(reflected("nonce"));
        }
        if self.tls == self.peer_tls {
            return Err(reflected("TLS key"));
        }
        Ok(())
    }

    fn check_roles(&self, hello: &Hello) -> Result<(), Refusal> {
        use Role::{Aggregator, Consumer, Provider};
        match (self.local.role, hello.role) {
            (Provider, Provider | Aggregator) | (Aggregator | Consumer, Provider) => Ok(()),
            (Provider, Consumer) => match self.local.consumers {
                ConsumerAccess::Identified => Ok(()),
                ConsumerAccess::Refused => Err(Refusal::new(
                    RefusalCode::ConsumerNotAdmitted,
                    "a provider or an aggregator",
                    "a consumer",
                    "let the provider's configuration admit consumers, or dial another provider",
                )),
            },
            (own, peer) => Err(Refusal::new(
                RefusalCode::RolePair,
                format_args!("a provider to talk to this {}", own.as_str()),
                peer.as_str(),
                "dial a provider's agent",
            )),
        }
    }
}

/// Evidence of those who owe it, nothing from those who have none; never "if there is some".
fn judge(
    bytes: &[u8],
    role: Role,
    terms: &Terms,
    expected: DatedReportData,
    collateral: &Collateral,
    now: DateTime<Utc>,
) -> Result<Option<Verdict>, Refusal> {
    let Some(policy) = terms.policy_for(role) else {
        if bytes.is_empty() {
            return Ok(None);
        }
        return Err(Refusal::new(
            RefusalCode::EvidenceUnexpected,
            format_args!("no evidence from a {}", role.as_str()),
            format_args!("{} bytes", bytes.len()),
            "take the role of an aggregator, or send none",
        ));
    };
    if bytes.is_empty() {
        return Err(Refusal::new(
            RefusalCode::EvidenceMissing,
            format_args!("evidence of the {}", role.as_str()),
            "none",
            "run the peer where it can attest",
        ));
    }
    let evidence = Evidence::from_bytes(bytes).map_err(|error| {
        Refusal::new(
            RefusalCode::EvidenceMalformed,
            "evidence",
            error,
            "use the same protocol version on both sides",
        )
    })?;
    appraise_dated(policy, &evidence, &expected, collateral, now)
        .map(Some)
        .map_err(|refusal| {
            let code = match refusal.check() {
                CheckName::ReportData => RefusalCode::EvidenceNotForThisChannel,
                _ => RefusalCode::EvidenceRefused,
            };
            let got = format!("{} ({})", refusal.got(), refusal.code());
            Refusal {
                appraisal: Some(Box::new(refusal.clone())),
                ..Refusal::new(code, refusal.expected(), got, refusal.mend())
            }
        })
}

fn check_noise(hello: &Hello) -> Result<Option<NoiseKey>, Refusal> {
    if hello.noise.is_some() == (hello.role == Role::Aggregator) {
        return Ok(hello.noise);
    }
    let word = |present| {
        if present {
            "a Noise key"
        } else {
            "no Noise key"
        }
    };
    Err(Refusal::new(
        RefusalCode::NoiseKey,
        format_args!(
            "{} from a {}",
            word(hello.role == Role::Aggregator),
            hello.role.as_str()
        ),
        word(hello.noise.is_some()),
        "use the same protocol version on both sides",
    ))
}

/// A renewal proves the same peer anew; the authorisation alone may be a newer one.
fn check_unchanged(prior: Option<&PeerIdentity>, peer: &PeerIdentity) -> Result<(), Refusal> {
    let who = |peer: &PeerIdentity| {
        (
            peer.role,
            peer.party.clone(),
            peer.party_key,
            peer.noise_key,
        )
    };
    match prior {
        Some(prior) if who(prior) != who(peer) => Err(Refusal::new(
            RefusalCode::IdentityChanged,
            format_args!("{prior} as when the channel opened"),
            format_args!("{peer} with {:?}", peer.noise_key),
            "open a new channel for another identity",
        )),
        _ => Ok(()),
    }
}

fn reflected(what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Reflection,
        format_args!("a {what} of the peer's own"),
        format_args!("this side's {what}"),
        "dial another address; if it stays, somebody echoes this side's messages",
    )
}
