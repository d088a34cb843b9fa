//! What makes a policy one: each list's bounds, and how fields fit each other.

mod lists;
mod snp;
mod tdx;

use chrono::TimeDelta;

use self::{
    lists::{check_list, check_stated, check_zeros},
    snp::check_snp,
    tdx::check_tdx,
};
use super::{Policy, criterion::CodeRule, error::PolicyError};
use crate::tee::Tee;

impl Policy {
    /// The most bytes of a policy's JSON: with all lists at their limit and every entry as long as can be it takes less.
    pub const MAX_JSON: usize = 8 * 1024 * 1024;

    /// Reads a policy's JSON. Whether it makes sense is another matter: see [`Policy::check`].
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`] and [`PolicyError::Json`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > Self::MAX_JSON {
            return Err(PolicyError::TooLarge { got: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| PolicyError::Json(error.to_string()))
    }

    /// Whether the policy makes sense.
    ///
    /// The appraisal calls it too, so that a policy nobody checked accepts nothing.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that makes no sense.
    pub fn check(&self) -> Result<(), PolicyError> {
        check_list("tees", &self.tees)?;
        self.check_roots()?;
        self.check_sections()?;
        check_stated("measurements", &self.measurements)?;
        check_stated("signers", &self.signers)?;
        check_zeros("signers", &self.signers, |signer| signer.is_zero())?;
        self.check_code()?;
        self.sev_snp.as_ref().map_or(Ok(()), check_snp)?;
        self.tdx.as_ref().map_or(Ok(()), check_tdx)
    }

    fn check_roots(&self) -> Result<(), PolicyError> {
        if self.tees.contains(&Tee::Simulated) {
            check_list("simulated_roots", &self.simulated_roots)?;
        } else if !self.simulated_roots.is_empty() {
            return Err(PolicyError::RootsWithoutSimulated);
        }
        if self.simulated_roots.len() > Self::MAX_ROOTS {
            return Err(PolicyError::TooManyEntries {
                field: "simulated_roots",
                max: Self::MAX_ROOTS,
                got: self.simulated_roots.len(),
            });
        }
        self.simulated_roots
            .iter()
            .find(|root| root.verifying_key().is_none())
            .map_or(Ok(()), |root| {
                Err(PolicyError::UnusableRoot { root: *root })
            })
    }

    fn check_sections(&self) -> Result<(), PolicyError> {
        let sections = [
            (Tee::SevSnp, "sev_snp", self.sev_snp.is_some()),
            (Tee::Tdx, "tdx", self.tdx.is_some()),
        ];
        let simulated = self.tees.contains(&Tee::Simulated);
        for (tee, section, there) in sections {
            if self.tees.contains(&tee) && !there {
                return Err(PolicyError::NoSection { tee, section });
            }
            if there && !self.tees.contains(&tee) && !simulated {
                return Err(PolicyError::SectionWithoutTee { section, tee });
            }
        }
        if simulated && !sections.iter().any(|(_, _, there)| *there) {
            return Err(PolicyError::NoSection {
                tee: Tee::Simulated,
                section: "sev_snp` or `tdx",
            });
        }
        Ok(())
    }

    fn check_code(&self) -> Result<(), PolicyError> {
        if self.code == CodeRule::MeasurementAndSigner {
            return Ok(());
        }
        let field = match (self.measurements.stated(), self.signers.stated()) {
            (Some(_), Some(_)) => return Ok(()),
            (None, _) => "measurements",
            (Some(_), None) => "signers",
        };
        Err(PolicyError::EitherWithAny { field })
    }
}

/// How far the peer's clock may be ahead of ours.
pub(crate) const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        criterion::Criterion, root::SimulatedRootKey, snp::SnpPolicy, tdx::TdxPolicy,
    };
    use crate::{ChipId, IdKeyDigest, Measurement, SignerDigest, SimulatedRoot};

    fn policy() -> Policy {
        let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
        Policy {
            tdx: Some(TdxPolicy::baseline()),
            ..Policy::simulated(root, [Measurement::of_bytes(b"program")])
        }
    }

    fn check(change: impl FnOnce(&mut Policy), expected: &str) {
        let mut policy = policy();
        change(&mut policy);
        let error = policy.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    fn snp(change: impl FnOnce(&mut SnpPolicy), expected: &str) {
        check(|p| change(p.sev_snp.as_mut().unwrap()), expected);
    }

    #[test]
    fn every_list_refuses_to_be_empty_or_to_repeat_itself() {
        policy().check().unwrap();
        let stated = every_list_stated();
        let lists: Vec<String> = lists(&stated, "");
        assert_eq!(lists.len(), 24, "{lists:?}");
        for list in lists {
            let mut empty = stated.clone();
            *empty.pointer_mut(&list).unwrap() = serde_json::json!([]);
            let error = read(empty).check();
            if list == "/tdx/advisory_ids" {
                error.unwrap();
            } else {
                let error = error.unwrap_err().to_string();
                let field = list[1..].replace('/', ".");
                assert!(
                    error.contains(&format!("`{field}` is an empty list")),
                    "{error}"
                );
            }
            let mut twice = stated.clone();
            let entries = twice.pointer_mut(&list).unwrap().as_array_mut().unwrap();
            entries.push(entries[0].clone());
            let error = read(twice).check().unwrap_err().to_string();
            assert!(error.contains("twice: remove one"), "{list}: {error}");
        }
    }

    fn every_list_stated() -> serde_json::Value {
        let mut policy = policy();
        policy.signers = Criterion::Stated(vec![SignerDigest::new([1; 48])]);
        let mut json = serde_json::to_value(policy).unwrap();
        let digest = "01".repeat(48);
        for (path, value) in [
            ("/sev_snp/id_keys", digest.as_str()),
            ("/sev_snp/author_keys", &digest),
            ("/sev_snp/signing_keys", "vcek"),
            ("/sev_snp/chip_ids", &"01".repeat(64)),
            ("/tdx/mrtd", &digest),
            ("/tdx/rtmr0", &digest),
            ("/tdx/rtmr1", &digest),
            ("/tdx/rtmr2", &digest),
            ("/tdx/rtmr3", &digest),
            ("/tdx/mr_config_id", &digest),
            ("/tdx/mr_owner", &digest),
            ("/tdx/mr_owner_config", &digest),
            ("/tdx/xfam", &"01".repeat(8)),
            ("/tdx/td_attributes", &"01".repeat(8)),
            ("/tdx/mr_seam", &digest),
            ("/tdx/mr_signer_seam", &digest),
            ("/tdx/advisory_ids", "INTEL-SA-1"),
            ("/tdx/platform_instance_ids", &"01".repeat(16)),
        ] {
            *json.pointer_mut(path).unwrap() = serde_json::json!([value]);
        }
        read(json.clone()).check().unwrap();
        json
    }

    fn lists(value: &serde_json::Value, path: &str) -> Vec<String> {
        match value {
            serde_json::Value::Array(_) => vec![path.to_owned()],
            serde_json::Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| lists(value, &format!("{path}/{name}")))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn read(json: serde_json::Value) -> Policy {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn too_many_entries_are_refused() {
        let many = vec![Measurement::of_bytes(b""); Policy::MAX_ENTRIES + 1];
        check(
            |p| p.measurements = Criterion::Stated(many),
            "at most 4096 entries, got 4097",
        );
        let roots = (0..=16).map(|i| SimulatedRoot::from_seed(&[i; 32]).public_key());
        let roots: Vec<_> = roots.collect();
        let sixteen = roots[..16].to_vec();
        check(
            |p| p.simulated_roots = roots,
            "`simulated_roots` may have at most 16 entries, got 17",
        );
        let most = Policy {
            simulated_roots: sixteen,
            ..policy()
        };
        most.check().unwrap();
    }

    #[test]
    fn zeros_are_nobody_and_cannot_be_demanded() {
        check(
            |p| p.signers = Criterion::Stated(vec![SignerDigest::new([0; 48])]),
            "`signers` lists zeros",
        );
        snp(
            |s| s.id_keys = Criterion::Stated(vec![IdKeyDigest::new([0; 48])]),
            "`sev_snp.id_keys` lists zeros",
        );
        snp(
            |s| s.author_keys = Criterion::Stated(vec![crate::AuthorKeyDigest::new([0; 48])]),
            "`sev_snp.author_keys` lists zeros",
        );
        snp(
            |s| s.chip_ids = Criterion::Stated(vec![ChipId::new([1; 64]), ChipId::new([0; 64])]),
            "`sev_snp.chip_ids` lists zeros",
        );
    }

    #[test]
    fn a_root_that_is_no_key_is_refused() {
        // The neutral element: with it as key, one signature fits every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        for bytes in [neutral, [0xff; 32]] {
            let root = SimulatedRootKey::new(bytes);
            check(
                |p| p.simulated_roots = vec![root],
                "no usable Ed25519 public key",
            );
        }
    }

    #[test]
    fn roots_go_with_simulated_and_sections_with_their_kind() {
        check(
            |p| {
                p.sev_snp = None;
                p.tdx = None;
            },
            "`tees` names simulated, and there is no section `sev_snp` or `tdx`",
        );
        // Simulated platforms play the kinds that have a section: one is enough.
        for only in [
            Policy {
                tdx: None,
                ..policy()
            },
            Policy {
                sev_snp: None,
                ..policy()
            },
        ] {
            only.check().unwrap();
        }
        let hardware = |tee| Policy {
            tees: vec![tee],
            simulated_roots: vec![],
            maximum_age_seconds: Criterion::Any,
            ..policy()
        };
        let sections = |mut policy: Policy| {
            policy.tees.push(Tee::Simulated);
            policy.check_sections()
        };
        for (tee, own, other) in [
            (Tee::SevSnp, "sev_snp", "tdx"),
            (Tee::Tdx, "tdx", "sev_snp"),
        ] {
            let error = hardware(tee).check_sections().unwrap_err().to_string();
            assert!(
                error.contains(&format!("a section `{other}` while")),
                "{error}"
            );
            let mut none = hardware(tee);
            none.sev_snp = None;
            none.tdx = None;
            let error = none.check_sections().unwrap_err().to_string();
            assert!(error.contains(&format!("no section `{own}`")), "{error}");
            // With simulated beside it, the other kind's section is for the simulated platforms.
            sections(hardware(tee)).unwrap();
            assert!(sections(none).is_err());
        }
        let roots = Policy {
            simulated_roots: policy().simulated_roots,
            ..hardware(Tee::SevSnp)
        };
        assert_eq!(roots.check_roots(), Err(PolicyError::RootsWithoutSimulated));
    }

    #[test]
    fn either_of_two_needs_both() {
        let signers = Criterion::Stated(vec![SignerDigest::new([1; 48])]);
        check(
            |p| p.code = CodeRule::MeasurementOrSigner,
            "measurement-or-signer while `signers` is \"any\"",
        );
        check(
            |p| {
                p.code = CodeRule::MeasurementOrSigner;
                p.measurements = Criterion::Any;
                p.signers = signers.clone();
            },
            "measurement-or-signer while `measurements` is \"any\"",
        );
        let both = Policy {
            code: CodeRule::MeasurementOrSigner,
            signers,
            ..policy()
        };
        both.check().unwrap();
    }

    #[test]
    fn every_field_must_be_stated_and_no_other() {
        let whole = serde_json::to_value(policy()).unwrap();
        let mut count = 0;
        for (path, object) in objects(&whole, "") {
            for field in object.as_object().unwrap().keys() {
                count += 1;
                let mut part = whole.clone();
                remove(&mut part, &path, field);
                let read_back = serde_json::from_value::<Policy>(part);
                if path.is_empty() && ["sev_snp", "tdx"].contains(&field.as_str()) {
                    read_back.unwrap();
                } else {
                    let error = read_back.unwrap_err().to_string();
                    assert!(error.contains(field), "{path}/{field}: {error}");
                }
                let mut null = whole.clone();
                null.pointer_mut(&path).unwrap()[field] = serde_json::Value::Null;
                assert!(serde_json::from_value::<Policy>(null).is_err(), "{field}");
            }
            let mut more = whole.clone();
            more.pointer_mut(&path).unwrap()["surprise"] = "any".into();
            let error = serde_json::from_value::<Policy>(more)
                .unwrap_err()
                .to_string();
            assert!(error.contains("unknown field `surprise`"), "{error}");
        }
        assert_eq!(count, 12 + 14 + 9 + 7 + 16);
    }

    fn objects(value: &serde_json::Value, path: &str) -> Vec<(String, serde_json::Value)> {
        let Some(fields) = value.as_object() else {
            return Vec::new();
        };
        let mut found = vec![(path.to_owned(), value.clone())];
        for (name, value) in fields {
            found.extend(objects(value, &format!("{path}/{name}")));
        }
        found
    }

    fn remove(whole: &mut serde_json::Value, path: &str, field: &str) {
        let object = whole.pointer_mut(path).unwrap().as_object_mut().unwrap();
        object.remove(field).unwrap();
    }

    #[test]
    fn debug_has_no_any() {
        let mut json = serde_json::to_value(policy()).unwrap();
        json["debug"] = "any".into();
        assert!(serde_json::from_value::<Policy>(json).is_err());
    }

    #[test]
    fn a_wrong_entry_keeps_its_own_message() {
        let mut json = serde_json::to_value(policy()).unwrap();
        json["measurements"] = serde_json::json!(["abcd"]);
        let error = serde_json::from_value::<Policy>(json.clone())
            .unwrap_err()
            .to_string();
        assert!(error.contains("a measurement must be 48 bytes"), "{error}");
        json["measurements"] = "abcd".into();
        assert!(serde_json::from_value::<Policy>(json).is_err());
    }
}
