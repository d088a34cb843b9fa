//! A policy in lines that a person reads before signing.

use serde_json::Value;

use super::Policy;

/// One criterion of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The criterion's path, such as `sev_snp.vmpls`.
    pub criterion: String,
    /// What is demanded; none where the policy says `any`.
    pub demanded: Option<String>,
}

impl Policy {
    /// Every criterion with what it demands. Nothing can be missing: the lines are made of the fields of the policy's
    /// file.
    ///
    /// ```
    /// # use tributary_attest::Policy;
    /// let demands = Policy::default_for_verify().demands();
    /// let vmpls = demands.iter().find(|demand| demand.criterion == "sev_snp.vmpls").unwrap();
    /// assert_eq!(vmpls.demanded.as_deref(), Some("0"));
    /// assert!(demands.iter().any(|demand| demand.criterion == "measurements" && demand.demanded.is_none()));
    /// ```
    pub fn demands(&self) -> Vec<Demand> {
        let mut demands = Vec::new();
        // Text, numbers and lists: there is nothing in a policy that JSON has no form for.
        let whole = serde_json::to_value(self).unwrap_or_default();
        walk(&whole, "", &mut demands);
        demands
    }
}

impl Policy {
    /// The same in lines for a screen: first what is demanded, one criterion a line, then what says `any`.
    pub fn words(&self) -> Vec<String> {
        let (demanded, open): (Vec<Demand>, Vec<Demand>) = self
            .demands()
            .into_iter()
            .partition(|demand| demand.demanded.is_some());
        let mut lines: Vec<String> = demanded
            .into_iter()
            .map(|demand| {
                format!(
                    "{}: {}",
                    demand.criterion,
                    demand.demanded.unwrap_or_default()
                )
            })
            .collect();
        let open: Vec<String> = open.into_iter().map(|demand| demand.criterion).collect();
        if !open.is_empty() {
            lines.push(format!("any, not looked at: {}", open.join(", ")));
        }
        lines
    }
}

fn walk(value: &Value, path: &str, demands: &mut Vec<Demand>) {
    match value {
        // The minimum of a firmware reads better in one line than in five.
        Value::Object(fields) if !path.ends_with("_tcb") => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(value, &path, demands);
            }
        }
        value => demands.push(Demand {
            criterion: path.to_owned(),
            demanded: (value != "any").then(|| words(value)),
        }),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(entries) if entries.is_empty() => "none".to_owned(),
        Value::Array(entries) => {
            let entries: Vec<String> = entries.iter().map(words).collect();
            entries.join(", ")
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name} {}", words(value)))
                .collect();
            fields.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Measurement, SimulatedRoot, SnpTcbFloors, TdxPolicy};

    #[test]
    fn every_criterion_is_in_the_words_once() {
        let root = SimulatedRoot::from_seed(&[1; 32]).public_key();
        let program = Measurement::of_bytes(b"program");
        let mut policy = Policy {
            tdx: Some(TdxPolicy::baseline()),
            ..Policy::simulated(root, [program])
        };
        let snp = policy.sev_snp.as_mut().unwrap();
        snp.minimum_reported_tcb = crate::Criterion::Stated(SnpTcbFloors {
            milan: "bootloader=1,tee=2,snp=3,microcode=4".parse().ok(),
            ..SnpTcbFloors::default()
        });
        policy.tdx.as_mut().unwrap().advisory_ids = crate::Criterion::Stated(vec![]);
        let demands = policy.demands();
        assert_eq!(demands.len(), 10 + 12 + 9 + 7 + 16);
        let words = policy.words();
        for line in [
            format!("measurements: {program}"),
            "tier: INSECURE".to_owned(),
            "sev_snp.guest_policy.migration_agent: forbidden".to_owned(),
            "sev_snp.minimum_reported_tcb: milan bootloader 1, microcode 4, snp 3, tee 2"
                .to_owned(),
            "tdx.advisory_ids: none".to_owned(),
        ] {
            assert!(words.contains(&line), "{line} in {words:#?}");
        }
        let open = words.last().unwrap();
        assert!(open.starts_with("any, not looked at: "), "{open}");
        for demand in demands {
            let stated = words
                .iter()
                .filter(|line| line.starts_with(&format!("{}: ", demand.criterion)))
                .count();
            let listed = open.contains(&format!(" {},", demand.criterion))
                || open.ends_with(&format!(" {}", demand.criterion));
            assert_eq!(
                (stated == 1, listed),
                (demand.demanded.is_some(), demand.demanded.is_none())
            );
        }
    }
}
