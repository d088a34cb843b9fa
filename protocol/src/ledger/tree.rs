//! The Merkle tree of RFC 6962, section 2.1, with inclusion and consistency proofs.
//!
//! A verifier needs none of the tree: [`verify_inclusion`] and [`verify_consistency`] work from roots and proofs alone.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// A tree of 2^63 leaves has a proof of 63 hashes and, for consistency, one more.
pub const PROOF_LENGTH_LIMIT: usize = 64;

/// An append-only Merkle tree that keeps every node, so that roots and proofs cost a logarithm.
///
/// ```
/// use tributary_protocol::ledger::{MerkleTree, leaf_hash, verify_inclusion};
/// let mut tree = MerkleTree::default();
/// for leaf in [b"a", b"b", b"c"] {
///     tree.push(leaf_hash(leaf));
/// }
/// let proof = tree.prove_inclusion(1, 3).unwrap();
/// assert!(verify_inclusion(&leaf_hash(b"b"), 1, 3, &proof, &tree.root()).is_ok());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MerkleTree {
    /// `levels[k][i]` is the hash of the complete subtree over leaves `i·2^k .. (i+1)·2^k`.
    levels: Vec<Vec<Digest>>,
}

/// A proof that does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf lies outside the tree.
    #[error("expected a leaf index below the tree's size {size}, got {index}")]
    Index {
        /// The index asked about.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("expected an older tree of at most {newer} leaves, got {older}")]
    Sizes {
        /// Leaves of the older tree.
        older: u64,
        /// Leaves of the newer tree.
        newer: u64,
    },
    /// Too many or too few hashes.
    #[error("expected a proof of another length than {0} hashes for these sizes")]
    Length(usize),
    /// The hashes do not lead to the root.
    #[error("the proof leads to another root than the checkpoint states")]
    Root,
}

impl MerkleTree {
    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// True where the tree has no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the hash of a leaf, as [`leaf_hash`] computes it.
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            if nodes.len() % 2 == 1 {
                break;
            }
            node = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
    }

    /// The Merkle tree hash over all leaves.
    pub fn root(&self) -> Digest {
        self.range_hash(0, self.len())
    }

    /// The root when the tree had `size` leaves; `None` where it never had so many.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        (size <= self.len()).then(|| self.range_hash(0, size))
    }

    /// PATH(index, D[size]) of RFC 6962, section 2.1.1.
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ProofError> {
        if index >= size || size > self.len() {
            return Err(ProofError::Index { index, size });
        }
        let (mut low, mut high) = (0, size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range_hash(middle, high));
                high = middle;
            } else {
                path.push(self.range_hash(low, middle));
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// PROOF(older, D[newer]) of RFC 6962, section 2.1.2; empty where `older` is 0 or `newer`.
    pub fn prove_consistency(&self, older: u64, newer: u64) -> Result<Vec<Digest>, ProofError> {
        if older > newer || newer > self.len() {
            return Err(ProofError::Sizes { older, newer });
        }
        if older == 0 || older == newer {
            return Ok(Vec::new());
        }
        let (mut low, mut high) = (0, newer);
        let mut path = Vec::new();
        // `low == 0` is the RFC's flag b: the subtree is one that the verifier already knows as its old root.
        while older != high {
            let middle = low + split(high - low);
            if older <= middle {
                path.push(self.range_hash(middle, high));
                high = middle;
            } else {
                path.push(self.range_hash(low, middle));
                low = middle;
            }
        }
        if low != 0 {
            path.push(self.range_hash(low, high));
        }
        path.reverse();
        Ok(path)
    }

    /// MTH(D[low:high]) for a range that occurs as a node of a tree of the RFC.
    fn range_hash(&self, low: u64, high: u64) -> Digest {
        let size = high - low;
        if size == 0 {
            return Digest::of(b"");
        }
        if size.is_power_of_two() {
            let level = size.trailing_zeros() as usize;
            return self.levels[level][(low >> level) as usize];
        }
        let middle = low + split(size);
        node_hash(
            &self.range_hash(low, middle),
            &self.range_hash(middle, high),
        )
    }
}

/// MTH({d}) = SHA-256(0x00 ‖ d).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::from_bytes(
        Sha256::new()
            .chain_update([0])
            .chain_update(leaf)
            .finalize()
            .into(),
    )
}

/// Checks that the leaf with hash `leaf` is the one at `index` of the tree with `size` leaves and this `root` (RFC 9162, section 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A node at the right edge without a sibling moves up unchanged.
            while node % 2 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length(proof.len()));
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Checks that the tree of `newer` leaves only appended to the tree of `older` leaves (RFC 9162, section 2.1.4.2).
pub fn verify_consistency(
    older: u64,
    newer: u64,
    proof: &[Digest],
    older_root: &Digest,
    newer_root: &Digest,
) -> Result<(), ProofError> {
    if older > newer {
        return Err(ProofError::Sizes { older, newer });
    }
    if older == newer || older == 0 {
        if !proof.is_empty() {
            return Err(ProofError::Length(proof.len()));
        }
        let expected = if older == 0 {
            Digest::of(b"")
        } else {
            *newer_root
        };
        return if *older_root == expected {
            Ok(())
        } else {
            Err(ProofError::Root)
        };
    }
    // Where the old tree is complete its root is the proof's first node, and left out.
    let (mut older_hash, rest) = if older.is_power_of_two() {
        (*older_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length(0))?;
        (*first, rest)
    };
    let mut newer_hash = older_hash;
    let (mut node, mut last) = (older - 1, newer - 1);
    while node % 2 == 1 {
        node >>= 1;
        last >>= 1;
    }
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length(proof.len()));
        }
        if node % 2 == 1 || node == last {
            older_hash = node_hash(sibling, &older_hash);
            newer_hash = node_hash(sibling, &newer_hash);
            while node % 2 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            newer_hash = node_hash(&newer_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length(proof.len()));
    }
    if older_hash == *older_root && newer_hash == *newer_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// SHA-256(0x01 ‖ left ‖ right); the prefix keeps nodes from passing as leaves.
fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hash = Sha256::new()
        .chain_update([1])
        .chain_update(left.as_bytes())
        .chain_update(right.as_bytes())
        .finalize();
    Digest::from_bytes(hash.into())
}

/// The largest power of two below `size`, for `size` of at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The leaves of the test data that Certificate Transparency's implementations share.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];

    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hash(text: &str) -> Digest {
        format!("sha256:{text}").parse().unwrap()
    }

    fn known_tree() -> MerkleTree {
        let mut tree = MerkleTree::default();
        for leaf in LEAVES {
            tree.push(leaf_hash(&hex::decode(leaf).unwrap()));
        }
        tree
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let tree = known_tree();
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(tree.root_at(size as u64).unwrap(), hash(root), "{size}");
        }
        assert!(tree.root_at(9).is_none());
    }

    #[test]
    fn inclusion_proofs_are_those_of_certificate_transparency() {
        let tree = known_tree();
        let cases: [(u64, u64, &[&str]); 5] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                3,
                &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
            ),
            (
                1,
                5,
                &[
                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (index, size, expected) in cases {
            let proof = tree.prove_inclusion(index, size).unwrap();
            let expected: Vec<_> = expected.iter().map(|h| hash(h)).collect();
            assert_eq!(proof, expected, "leaf {index} of {size}");
        }
    }

    #[test]
    fn consistency_proofs_are_those_of_certificate_transparency() {
        let tree = known_tree();
        let cases: [(u64, u64, &[&str]); 5] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
            (
                6,
                7,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
        ];
        for (older, newer, expected) in cases {
            let proof = tree.prove_consistency(older, newer).unwrap();
            let expected: Vec<_> = expected.iter().map(|h| hash(h)).collect();
            assert_eq!(proof, expected, "{older} to {newer}");
        }
    }

    /// MTH and PATH as the recursions of RFC 6962 write them.
    fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    fn naive_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (mut path, other) = if index < k {
            (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (
                naive_path(index - k, &leaves[k..]),
                naive_root(&leaves[..k]),
            )
        };
        path.push(other);
        path
    }

    fn naive_subproof(older: usize, leaves: &[Digest], known: bool) -> Vec<Digest> {
        if older == leaves.len() {
            return if known {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (mut path, other) = if older <= k {
            (
                naive_subproof(older, &leaves[..k], known),
                naive_root(&leaves[k..]),
            )
        } else {
            (
                naive_subproof(older - k, &leaves[k..], false),
                naive_root(&leaves[..k]),
            )
        };
        path.push(other);
        path
    }

    fn leaves(count: usize) -> (Vec<Digest>, MerkleTree) {
        let leaves: Vec<_> = (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut tree = MerkleTree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        (leaves, tree)
    }

    proptest! {
        #[test]
        fn inclusion_equals_the_recursion_of_the_rfc((count, index) in (1usize..200).prop_flat_map(|n| (Just(n), 0..n))) {
            let (leaves, tree) = leaves(count);
            prop_assert_eq!(tree.root(), naive_root(&leaves));
            let proof = tree.prove_inclusion(index as u64, count as u64).unwrap();
            prop_assert_eq!(&proof, &naive_path(index, &leaves));
            prop_assert!(verify_inclusion(&leaves[index], index as u64, count as u64, &proof, &tree.root()).is_ok());
        }

        #[test]
        fn consistency_equals_the_recursion_of_the_rfc((newer, older) in (1usize..200).prop_flat_map(|n| (Just(n), 1..=n))) {
            let (leaves, tree) = leaves(newer);
            let proof = tree.prove_consistency(older as u64, newer as u64).unwrap();
            prop_assert_eq!(&proof, &naive_subproof(older, &leaves, true));
            let older_root = naive_root(&leaves[..older]);
            prop_assert!(verify_consistency(older as u64, newer as u64, &proof, &older_root, &tree.root()).is_ok());
        }

        #[test]
        fn a_proof_for_another_place_is_refused((count, index, other) in (2usize..64).prop_flat_map(|n| (Just(n), 0..n, 0..n))) {
            prop_assume!(index != other);
            let (leaves, tree) = leaves(count);
            let proof = tree.prove_inclusion(index as u64, count as u64).unwrap();
            prop_assert!(verify_inclusion(&leaves[index], other as u64, count as u64, &proof, &tree.root()).is_err());
            prop_assert!(verify_inclusion(&leaves[other], index as u64, count as u64, &proof, &tree.root()).is_err());
        }

        #[test]
        fn altered_proofs_are_refused((newer, older) in (2usize..64).prop_flat_map(|n| (Just(n), 1..n)), bit in 0usize..256, at: prop::sample::Index) {
            let (leaves, tree) = leaves(newer);
            let older_root = naive_root(&leaves[..older]);
            let proof = tree.prove_consistency(older as u64, newer as u64).unwrap();
            let verify = |proof: &[Digest]| verify_consistency(older as u64, newer as u64, proof, &older_root, &tree.root());
            let mut longer = proof.clone();
            longer.push(older_root);
            prop_assert!(verify(&longer).is_err());
            prop_assert!(verify(&proof[1..]).is_err());
            prop_assert!(verify(&proof[..proof.len() - 1]).is_err());
            let mut flipped = proof.clone();
            let at = at.index(proof.len());
            let mut bytes = *flipped[at].as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped[at] = Digest::from_bytes(bytes);
            prop_assert!(verify(&flipped).is_err());
        }

        #[test]
        fn verifiers_never_panic(index: u64, size: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let proof: Vec<_> = proof.into_iter().map(Digest::from_bytes).collect();
            let root = Digest::of(b"root");
            prop_assert!(verify_inclusion(&root, index, size, &proof, &root).is_err() || proof.is_empty());
            let _ = verify_consistency(index, size, &proof, &root, &root);
        }
    }

    #[test]
    fn a_shrunken_tree_is_not_a_continuation() {
        let (_, tree) = leaves(5);
        let root = tree.root();
        assert!(matches!(
            tree.prove_consistency(5, 4),
            Err(ProofError::Sizes { .. })
        ));
        assert!(matches!(
            verify_consistency(5, 4, &[], &root, &root),
            Err(ProofError::Sizes { .. })
        ));
        assert!(verify_consistency(0, 5, &[], &Digest::of(b""), &root).is_ok());
        assert!(verify_consistency(0, 5, &[], &Digest::of(b"x"), &root).is_err());
        assert!(verify_consistency(5, 5, &[], &Digest::of(b"x"), &root).is_err());
        assert!(verify_consistency(5, 5, &[root], &root, &root).is_err());
    }
}
