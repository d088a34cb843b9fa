//! The roots of simulated platforms.

use crate::fixed_bytes::fixed_bytes;

fixed_bytes!(
    /// The public Ed25519 key of a federation's root for simulated platforms.
    SimulatedRootKey,
    32,
    "a simulated root"
);

impl SimulatedRootKey {
    /// The key in a form that verifies, unless it is no point of the curve, one of small order, or spelt in
    /// another than the canonical way (RFC 8032, section 5.1.3), which the library lets through.
    pub(crate) fn verifying_key(&self) -> Option<ed25519_dalek::VerifyingKey> {
        ed25519_dalek::VerifyingKey::from_bytes(self.as_bytes())
            .ok()
            .filter(|key| !key.is_weak())
            .filter(|key| key.to_edwards().compress().as_bytes() == self.as_bytes())
    }
}
