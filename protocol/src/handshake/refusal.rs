//! Why a handshake ends without a channel.

use std::fmt;

/// A refusal's text is cut to this on sending: it must fit a CONNECTION_CLOSE frame in one packet of 1,200 bytes.
pub(crate) const REFUSAL_TEXT_LIMIT: usize = 900;

/// Why no channel came of a handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// This side refuses the peer.
    #[error("refused the peer: {0}")]
    Refused(#[from] Refusal),
    /// The peer refuses this side.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(PeerRefusal),
}

impl HandshakeError {
    /// The code of the refusal, whoever refuses; `None` where the peer's code is not known here.
    pub fn code(&self) -> Option<RefusalCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::RefusedByPeer(refusal) => refusal.code(),
        }
    }
}

/// What this side refuses a peer for. Its text goes to the peer as it stands, so it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, which stays.
    pub code: RefusalCode,
    /// What this side expected.
    pub expected: String,
    /// What came.
    pub got: String,
    /// What would mend it.
    pub mend: String,
    /// Each check of the appraisal, where that is what refuses.
    pub appraisal: Option<Box<tributary_attest::Refusal>>,
}

impl Refusal {
    pub(crate) fn new(
        code: RefusalCode,
        expected: impl fmt::Display,
        got: impl fmt::Display,
        mend: impl fmt::Display,
    ) -> Self {
        Self {
            code,
            expected: expected.to_string(),
            got: got.to_string(),
            mend: mend.to_string(),
            appraisal: None,
        }
    }

    /// The text that the peer gets, cut to its limit.
    pub(crate) fn text_for_peer(&self) -> String {
        printable(&format!(
            "expected {}, got {}; to mend it, {}",
            self.expected, self.got, self.mend
        ))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            expected,
            got,
            mend,
            ..
        } = self;
        write!(
            f,
            "{code}: expected {expected}, got {got}; to mend it, {mend}"
        )
    }
}

impl std::error::Error for Refusal {}

/// What the peer says when it refuses this side. Written by the peer: a claim, shown and never acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRefusal {
    code: u16,
    text: String,
}

impl PeerRefusal {
    pub(crate) fn new(code: u16, text: &str) -> Self {
        Self {
            code,
            text: printable(text),
        }
    }

    /// The code as a number.
    pub fn number(&self) -> u16 {
        self.code
    }

    /// The code, where this side knows it.
    pub fn code(&self) -> Option<RefusalCode> {
        RefusalCode::from_number(self.code)
    }

    /// The peer's text; without control characters, since terminals obey them.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{code}: {}", self.text),
            None => write!(f, "code {}: {}", self.code, self.text),
        }
    }
}

fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > REFUSAL_TEXT_LIMIT {
            break;
        }
        out.push(c);
    }
    out
}

/// What a refusal is about, which decides who can mend it and the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// The peer speaks another protocol, or the handshake was tampered with.
    Protocol,
    /// The contract, its parties and their keys.
    Contract,
    /// The contract has been revoked.
    Revocation,
    /// Evidence and its appraisal.
    Attestation,
    /// The own machine or configuration of the side that refuses.
    Local,
    /// Time ran out.
    Timeout,
}

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $concern:ident;)*) => {
        /// What a handshake is refused for. Numbers and names are part of the protocol and are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RefusalCode {
            $($(#[$doc])* $name,)*
        }

        impl RefusalCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name on screens and in logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code of a number, where this version knows it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// What it is about.
            pub const fn concern(self) -> Concern {
                match self { $(Self::$name => Concern::$concern,)* }
            }
        }
    };
}

refusal_codes! {
    /// Bytes that are no message.
    Malformed = 1, "malformed-message", Protocol;
    /// A frame or field over its limit.
    TooLarge = 2, "message-too-large", Protocol;
    /// A message that may not come at this point.
    WrongOrder = 3, "wrong-order", Protocol;
    /// Bytes after the last message.
    TrailingBytes = 4, "trailing-bytes", Protocol;
    /// The first stream does not begin with a handshake.
    NotAHandshake = 5, "not-a-handshake", Protocol;
    /// A stream opened before ACCEPT.
    EarlyStream = 6, "early-stream", Protocol;
    /// A handshake where none may be: while another is under way, or on a channel that is not attested.
    SecondHandshake = 7, "second-handshake", Protocol;
    /// This side's own nonce, key or evidence came back.
    Reflection = 8, "reflection", Protocol;
    /// The handshake took too long.
    Timeout = 9, "handshake-timeout", Timeout;
    /// No contract of that digest here.
    UnknownContract = 20, "unknown-contract", Contract;
    /// The peer answers for another contract.
    ContractMismatch = 21, "contract-mismatch", Contract;
    /// Before or after the contract's validity.
    ContractNotInForce = 22, "contract-not-in-force", Contract;
    /// The contract has been revoked.
    ContractRevoked = 23, "contract-revoked", Revocation;
    /// The contract names no such party.
    UnknownParty = 24, "unknown-party", Contract;
    /// The contract gives the party another role.
    RoleMismatch = 25, "role-mismatch", Contract;
    /// Two roles that have nothing to say to each other.
    RolePair = 26, "role-pair", Contract;
    /// This provider takes no connections of consumers.
    ConsumerNotAdmitted = 27, "consumer-not-admitted", Contract;
    /// Not the key that the contract names for the party.
    PartyKeyMismatch = 28, "party-key-mismatch", Contract;
    /// The consumer's authorisation does not hold.
    AuthorisationRefused = 29, "authorisation-refused", Contract;
    /// The signature over this connection's transcript was not made by the party's key.
    PartySignature = 30, "party-signature", Contract;
    /// A Noise key missing where one is needed, or present where none belongs.
    NoiseKey = 31, "noise-key", Contract;
    /// A renewed attestation names another party, role or key than the first.
    IdentityChanged = 32, "identity-changed", Contract;
    /// The contract does not name the side that refuses.
    NotAPartyHere = 33, "not-a-party-here", Local;
    /// No evidence where the role owes it.
    EvidenceMissing = 40, "evidence-missing", Attestation;
    /// Evidence from a role that has none to give.
    EvidenceUnexpected = 41, "evidence-unexpected", Attestation;
    /// Bytes that are no evidence.
    EvidenceMalformed = 42, "evidence-malformed", Attestation;
    /// Evidence made for another connection, another moment, another side or another contract.
    EvidenceNotForThisChannel = 43, "evidence-not-for-this-channel", Attestation;
    /// The appraisal refuses the evidence.
    EvidenceRefused = 44, "evidence-refused", Attestation;
    /// The side that refuses cannot make evidence about itself.
    NoEvidenceHere = 45, "no-evidence-here", Local;
    /// The attestation is older than the contract allows.
    AttestationOverdue = 46, "attestation-overdue", Attestation;
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_have_one_number_and_one_name_each() {
        let numbers: HashSet<_> = RefusalCode::ALL.iter().map(|c| c.number()).collect();
        let names: HashSet<_> = RefusalCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(numbers.len(), RefusalCode::ALL.len());
        assert_eq!(names.len(), RefusalCode::ALL.len());
        for &code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_number(code.number()), Some(code));
        }
        assert_eq!(RefusalCode::from_number(0), None);
    }

    #[test]
    fn a_peers_text_cannot_steer_a_terminal_and_is_cut_at_a_character() {
        let refusal = PeerRefusal::new(3, "\x1b[2Jgone\n\u{9b}31m");
        assert_eq!(refusal.text(), " [2Jgone  31m");
        let long = PeerRefusal::new(999, &"é".repeat(2000));
        assert_eq!(long.text().len(), REFUSAL_TEXT_LIMIT);
        assert_eq!(long.code(), None);
    }

    #[test]
    fn a_refusal_says_expected_got_and_how_to_mend() {
        let refusal = Refusal::new(
            RefusalCode::RolePair,
            "a provider",
            "a consumer",
            "dial an agent",
        );
        assert_eq!(
            HandshakeError::from(refusal).to_string(),
            "refused the peer: role-pair: expected a provider, got a consumer; to mend it, dial an agent"
        );
        assert_eq!(
            HandshakeError::RefusedByPeer(PeerRefusal::new(26, "no")).to_string(),
            "refused by the peer: role-pair: no"
        );
    }
}
