//! Configuration files that state only what differs.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::secret_file::SimulatedError;

/// The value with the text's changes, as RFC 7396 (JSON Merge Patch), section 2 merges them.
pub(super) fn apply<T: Serialize + DeserializeOwned>(
    value: &T,
    json: &str,
    what: &'static str,
) -> Result<T, SimulatedError> {
    let refuse = |error: serde_json::Error| SimulatedError::Configuration {
        what,
        got: error.to_string(),
    };
    let changes: Value = serde_json::from_str(json).map_err(refuse)?;
    if !changes.is_object() {
        return Err(SimulatedError::Configuration {
            what,
            got: "JSON that is no object".to_owned(),
        });
    }
    let mut merged = serde_json::to_value(value).map_err(refuse)?;
    merge(&mut merged, changes);
    serde_json::from_value(merged).map_err(refuse)
}

fn merge(target: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else {
        *target = changes;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stated_is_changed_and_the_rest_stays() {
        // Cases of RFC 7396, appendix A.
        for (mut target, changes, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            merge(&mut target, changes);
            assert_eq!(target, expected);
        }
    }
}
