//! Signed notes, as C2SP's `signed-note` defines them: a text and lines of signatures, readable and unambiguous.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::PartyKey;

/// A checkpoint with a cosignature of each of two hundred members takes less than half of this.
pub const NOTE_SIZE_LIMIT: usize = 64 << 10;

/// The specification asks for at least 16.
pub const NOTE_SIGNATURES_LIMIT: usize = 256;

/// How each signature line begins: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// A text with signature lines, whose signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line: who signed, by which key, and the signature in the form its type defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The first four bytes of a hash over name, type and key; see [`key_id`].
    pub key_id: [u8; 4],
    /// The signature; for cosignatures, time and signature.
    pub bytes: Vec<u8>,
}

/// Bytes that are not a signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Too long.
    #[error("expected a signed note of at most {NOTE_SIZE_LIMIT} bytes, got {0}")]
    TooLarge(usize),
    /// Too many signatures.
    #[error("expected a signed note with at most {NOTE_SIGNATURES_LIMIT} signatures")]
    TooManySignatures,
    /// Control characters.
    #[error("expected a signed note without control characters other than newlines")]
    ControlCharacter,
    /// No text or no signatures.
    #[error("expected a text, an empty line and signature lines, each ended by a newline")]
    Shape,
    /// A signature line that is none.
    #[error("expected signature lines of the form `\u{2014} <name> <base64>`")]
    SignatureLine,
}

impl SignedNote {
    /// A note over `text`, which must end in a newline and hold no other control characters.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let note = Self { text, signatures };
        // What is written must be what is read: a text with an empty line or a name with a space is not.
        if Self::parse(&note.to_string())? == note {
            Ok(note)
        } else {
            Err(NoteError::Shape)
        }
    }

    /// Reads a note. The text is not to be trusted before a signature was verified.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_SIZE_LIMIT {
            return Err(NoteError::TooLarge(note.len()));
        }
        if note.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(NoteError::ControlCharacter);
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Shape)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Shape)?;
        if lines.split('\n').count() > NOTE_SIGNATURES_LIMIT {
            return Err(NoteError::TooManySignatures);
        }
        let signatures = lines
            .split('\n')
            .map(|line| NoteSignature::parse(line).ok_or(NoteError::SignatureLine))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// What is signed, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let mut bytes = signature.key_id.to_vec();
            bytes.extend_from_slice(&signature.bytes);
            writeln!(f, "{LINE_START}{} {}", signature.name, BASE64.encode(bytes))?;
        }
        Ok(())
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
            return None;
        }
        let bytes = BASE64.decode(encoded).ok()?;
        let (key_id, bytes) = bytes.split_first_chunk::<4>()?;
        if bytes.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }
}

/// SHA-256(name ‖ 0x0A ‖ signature type ‖ key), cut to four bytes: a hint which key signed, and with which algorithm.
pub fn key_id(name: &str, signature_type: u8, key: &PartyKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', signature_type])
        .chain_update(key.as_bytes())
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of Go's `golang.org/x/mod/sumdb/note`, the format's origin.
    const KNOWN: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const KNOWN_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn the_note_of_go_sumdb_is_read_and_its_signature_verifies() {
        let mut parts = KNOWN_KEY.splitn(3, '+');
        let (name, id, key) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            BASE64.decode(parts.next().unwrap()).unwrap(),
        );
        assert_eq!(key[0], 1, "type 1: Ed25519 over the text");
        let key = PartyKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
        assert_eq!(hex::encode(key_id(name, 1, &key)), id);

        let note = SignedNote::parse(KNOWN).unwrap();
        let [signature] = note.signatures() else {
            panic!()
        };
        assert_eq!(signature.name, name);
        assert_eq!(hex::encode(signature.key_id), id);
        let bytes: &[u8; 64] = signature.bytes.as_slice().try_into().unwrap();
        assert!(key.verify(note.text().as_bytes(), bytes).is_ok());
        assert_eq!(note.to_string(), KNOWN);
    }

    #[test]
    fn what_is_not_a_note_is_refused() {
        let good = "text\n\n\u{2014} name AAAAAAE=\n";
        assert!(SignedNote::parse(good).is_ok());
        for (bad, expected) in [
            ("", NoteError::Shape),
            ("text\n", NoteError::Shape),
            ("text\n\n", NoteError::Shape),
            ("text\n\n\u{2014} name AAAAAAE=", NoteError::Shape),
            ("text\n\n- name AAAAAAE=\n", NoteError::SignatureLine),
            (
                "text\n\n\u{2014} na+me AAAAAAE=\n",
                NoteError::SignatureLine,
            ),
            ("text\n\n\u{2014}  AAAAAAE=\n", NoteError::SignatureLine),
            ("text\n\n\u{2014} name AAAA\n", NoteError::SignatureLine),
            ("text\n\n\u{2014} name AAAAAA==\n", NoteError::SignatureLine),
            ("text\n\n\u{2014} name AAAAAAF=\n", NoteError::SignatureLine),
            (
                "te\txt\n\n\u{2014} name AAAAAAE=\n",
                NoteError::ControlCharacter,
            ),
            (
                "te\r\n\n\u{2014} name AAAAAAE=\n",
                NoteError::ControlCharacter,
            ),
        ] {
            assert_eq!(SignedNote::parse(bad).unwrap_err(), expected, "{bad:?}");
        }
        let long = format!(
            "{}\n\n\u{2014} name AAAAAAE=\n",
            "x".repeat(NOTE_SIZE_LIMIT)
        );
        assert!(matches!(
            SignedNote::parse(&long),
            Err(NoteError::TooLarge(_))
        ));
        let many = format!(
            "x\n\n{}",
            "\u{2014} n AAAAAAE=\n".repeat(NOTE_SIGNATURES_LIMIT + 1)
        );
        assert_eq!(
            SignedNote::parse(&many).unwrap_err(),
            NoteError::TooManySignatures
        );
    }

    #[test]
    fn a_text_that_would_read_differently_is_not_written() {
        let signature = |name: &str| NoteSignature {
            name: name.into(),
            key_id: [0; 4],
            bytes: vec![1],
        };
        assert!(SignedNote::new("a\n\nb\n".into(), vec![signature("n")]).is_ok());
        for (text, name) in [("a", "n"), ("a\n", "n n"), ("a\n", ""), ("a\n", "n\nm")] {
            assert!(
                SignedNote::new(text.into(), vec![signature(name)]).is_err(),
                "{text:?} {name:?}"
            );
        }
        assert!(SignedNote::new("a\n".into(), vec![]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_written_as_it_was_read(text in "(\u{2014} |[a-z+/= ]|\n|\n\n|é){0,40}") {
            if let Ok(note) = SignedNote::parse(&text) {
                prop_assert_eq!(note.to_string(), text);
            }
        }
    }
}
