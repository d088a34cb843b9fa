//! What a verifier holds itself to judge evidence by, besides what comes with it.

mod folder;
mod setback;
mod watched;

use std::{collections::BTreeMap, path::Path};

pub use folder::CollateralError;
pub use watched::CollateralFolder;

use crate::{
    claims::Fmspc,
    policy::SimulatedRootKey,
    simulated::RevocationList,
    snp::{ChainCache, SnpStore},
    tdx::{TdxCollateral, TdxStore},
};

/// Certificates, revocation lists and vendors' statements, read once from a folder.
///
/// An appraisal takes it by reference and opens no file. AMD's keys for Milan, Genoa and Turin and Intel's root
/// are built in, so the empty collateral judges evidence that brings the rest along.
///
/// It also remembers which chains of certificates were signed as they must be; share one among all appraisals.
///
/// ```
/// # use tributary_attest::Collateral;
/// let folder = tempfile::tempdir()?;
/// let collateral = Collateral::load(folder.path())?;
/// assert_eq!(collateral.to_string(), "an empty collateral folder");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Collateral {
    snp: SnpStore,
    snp_chains: ChainCache,
    tdx: TdxStore,
    simulated: BTreeMap<SimulatedRootKey, RevocationList>,
}

impl Collateral {
    /// Nothing but what is built in.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a folder as `docs/collateral.md` lays it out.
    ///
    /// # Errors
    /// [`CollateralError`], which names the file that cannot be read, is malformed, is signed by nobody that is
    /// trusted, or is not in the layout.
    pub fn load(folder: &Path) -> Result<Self, CollateralError> {
        folder::load(folder)
    }

    /// Takes one file's content as if it lay at `place` below a folder, such as `sev-snp/Milan/vcek.crl`.
    ///
    /// # Errors
    /// As [`Collateral::load`], with the place for the path.
    pub fn put(&mut self, place: &str, content: &[u8]) -> Result<(), CollateralError> {
        folder::put(self, place, content)
    }

    pub(crate) fn snp(&self) -> &SnpStore {
        &self.snp
    }

    pub(crate) fn snp_chains(&self) -> &ChainCache {
        &self.snp_chains
    }

    pub(crate) fn tdx(&self, fmspc: Fmspc) -> Option<&TdxCollateral> {
        self.tdx.get(&fmspc)
    }

    pub(crate) fn simulated(&self, root: &SimulatedRootKey) -> Option<&RevocationList> {
        self.simulated.get(root)
    }

    /// Collateral whose roots a test made.
    #[cfg(test)]
    pub(crate) fn for_tests(snp: SnpStore) -> Self {
        Self {
            snp,
            ..Self::default()
        }
    }
}

/// How much of what there is, for a line in a log.
impl std::fmt::Display for Collateral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (veks, lists, tdx) = (
            self.snp.veks().len(),
            self.snp.lists().len(),
            self.tdx.len(),
        );
        let simulated = self.simulated.len();
        if (veks, lists, tdx, simulated) == (0, 0, 0, 0) {
            return f.write_str("an empty collateral folder");
        }
        write!(
            f,
            "collateral with {veks} SEV-SNP certificates, {lists} revocation lists and {tdx} TDX platforms"
        )?;
        match simulated {
            0 => Ok(()),
            lists => write!(f, ", and revocation lists of {lists} simulated roots"),
        }
    }
}
