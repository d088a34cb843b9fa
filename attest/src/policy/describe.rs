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
