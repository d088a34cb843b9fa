//! From a key that signs reports up to AMD's root.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use super::{certificate::SnpCertificate, product::amd_name};
use crate::claims::{SnpProduct, SnpSigningKey};

/// What AMD calls the key between its root and the keys that sign reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intermediate {
    /// Signs VCEKs.
    Ask,
    /// Signs VLEKs.
    Asvk,
}

impl Intermediate {
    pub(crate) const fn that_signs(key: SnpSigningKey) -> Self {
        match key {
            SnpSigningKey::Vcek => Self::Ask,
            SnpSigningKey::Vlek => Self::Asvk,
        }
    }

    pub(crate) fn common_name(self, product: SnpProduct) -> String {
        let product = amd_name(product);
        match self {
            Self::Ask => format!("SEV-{product}"),
            Self::Asvk => format!("SEV-VLEK-{product}"),
        }
    }
}

/// Chains whose signatures were found good before, so that the next report under the same certificates
/// costs one signature instead of three.
///
/// The key is all bytes of all certificates, and only the signatures are remembered: names, validity,
/// revocation and what the certificates say are looked at each time.
#[derive(Debug, Default)]
pub(crate) struct ChainCache(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    chains: HashSet<Key>,
    order: VecDeque<Key>,
}

type Key = [Vec<u8>; 3];

impl ChainCache {
    /// The most chains: one for each machine of a large federation. The oldest makes room.
    pub(crate) const MAX_CHAINS: usize = 1024;

    /// Whether `root` signed itself and `issuer`, and `issuer` signed `leaf`.
    pub(crate) fn is_signed(
        &self,
        root: &SnpCertificate,
        issuer: &SnpCertificate,
        leaf: &SnpCertificate,
    ) -> bool {
        let key = [root, issuer, leaf].map(|certificate| certificate.der().to_vec());
        if self.lock(|remembered| remembered.chains.contains(&key)) {
            return true;
        }
        let signed =
            root.is_signed_by(root) && issuer.is_signed_by(root) && leaf.is_signed_by(issuer);
        if signed {
            self.lock(|remembered| remembered.insert(key));
        }
        signed
    }

    /// What a thread left that panicked holds whole chains all the same: each change is one step.
    fn lock<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Remembered {
    fn insert(&mut self, key: Key) {
        if !self.chains.insert(key.clone()) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > ChainCache::MAX_CHAINS
            && let Some(oldest) = self.order.pop_front()
        {
            self.chains.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_chain_makes_room() {
        let mut remembered = Remembered::default();
        let key = |n: usize| [vec![], vec![], n.to_be_bytes().to_vec()];
        for n in 0..=ChainCache::MAX_CHAINS {
            remembered.insert(key(n));
            remembered.insert(key(n));
        }
        assert_eq!(remembered.chains.len(), ChainCache::MAX_CHAINS);
        assert_eq!(remembered.order.len(), ChainCache::MAX_CHAINS);
        assert!(!remembered.chains.contains(&key(0)) && remembered.chains.contains(&key(1)));
    }
}
