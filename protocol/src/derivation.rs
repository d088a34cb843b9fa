//! Keys from secrets: HKDF-SHA256 (RFC 5869) whose context cannot be read in two ways.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

/// 32 bytes of key from `secret`, for the purpose that `label` names and the context that `parts` spell.
///
/// The label is the salt, so that two purposes never share a pseudorandom key; each part of the context is preceded by
/// its length, so that no two lists of parts give the same bytes.
pub(crate) fn derive_key(label: &str, secret: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut info = Vec::new();
    for part in parts {
        put_prefixed(&mut info, part);
    }
    let mut key = Zeroizing::new([0; 32]);
    let pseudorandom = Salt::new(HKDF_SHA256, label.as_bytes()).extract(secret);
    let filled = pseudorandom
        .expand(&[&info], Length32)
        .and_then(|output| output.fill(key.as_mut_slice()));
    match filled {
        Ok(()) => key,
        // HKDF fails only beyond 255 blocks of output (RFC 5869, section 2.3), and this is one.
        Err(_) => unreachable!("one block of HKDF's output is always there"),
    }
}

/// Appends a part and, before it, its length in eight bytes.
pub(crate) fn put_prefixed(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac_by_hand::hmac;

    /// HMAC-SHA256 (RFC 2104), a second implementation to hold the library against.
    mod hmac_by_hand {
        use sha2::{Digest, Sha256};

        pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
            let mut block = [0; 64];
            if key.len() > 64 {
                block[..32].copy_from_slice(&Sha256::digest(key));
            } else {
                block[..key.len()].copy_from_slice(key);
            }
            let inner = Sha256::new()
                .chain_update(block.map(|b| b ^ 0x36))
                .chain_update(message)
                .finalize();
            Sha256::new()
                .chain_update(block.map(|b| b ^ 0x5c))
                .chain_update(inner)
                .finalize()
                .into()
        }
    }

    #[test]
    fn it_is_hkdf_with_length_prefixed_context() {
        let key = derive_key("a label", b"secret", &[b"ab", b""]);
        let info = [&[0, 0, 0, 0, 0, 0, 0, 2][..], b"ab", &[0; 8], &[1]].concat();
        assert_eq!(*key, hmac(&hmac(b"a label", b"secret"), &info));
    }

    #[test]
    fn label_secret_and_the_cut_of_the_context_each_change_the_key() {
        let keys = [
            derive_key("l", b"s", &[b"ab", b"c"]),
            derive_key("m", b"s", &[b"ab", b"c"]),
            derive_key("l", b"t", &[b"ab", b"c"]),
            derive_key("l", b"s", &[b"a", b"bc"]),
            derive_key("l", b"s", &[b"abc"]),
            derive_key("l", b"s", &[b"ab", b"c", b""]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|other| other != key), "{i}");
        }
    }
}
